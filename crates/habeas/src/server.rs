//! A running server: listens, serves, stops cleanly.

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};
use mint::Options;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::data::{DataFolder, FolderLock, ServerFile};
use crate::services::Services;

/// A server on threads of its own. Stops when told to, or when dropped.
pub struct Server {
    /// `http://host:port`.
    pub url: String,
    /// Where the metrics are, if they are served.
    pub metrics_url: Option<String>,
    /// The services behind it.
    pub services: Services,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<Result<()>>>,
    _lock: FolderLock,
}

impl Server {
    /// Opens a data folder and serves it at `listen`. Port 0 takes a free one.
    pub fn start(data: &DataFolder, listen: SocketAddr, options: Options) -> Result<Self> {
        Self::start_with_metrics(data, listen, None, options)
    }

    /// The same, with the mint's metrics at an address of their own: what a machine counts is for those who run it.
    pub fn start_with_metrics(
        data: &DataFolder,
        listen: SocketAddr,
        metrics: Option<SocketAddr>,
        options: Options,
    ) -> Result<Self> {
        let lock = data.lock()?;
        let services = Services::open(data, options)?;
        services.sync()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let bind = |address: SocketAddr, option: &str| {
            let bound = runtime.block_on(TcpListener::bind(address));
            bound.with_context(|| format!("can't listen at {address}: is the port taken? choose another with {option}"))
        };
        let listener = bind(listen, "--listen")?;
        let metrics = metrics.map(|address| bind(address, "--metrics")).transpose()?;
        let url = format!("http://{}", listener.local_addr()?);
        let metrics_url = match &metrics {
            Some(listener) => Some(format!("http://{}/metrics", listener.local_addr()?)),
            None => None,
        };
        data.write_server_file(&ServerFile { url: url.clone(), log_vkey: services.log.vkey().to_owned() })?;
        let (stop, stopped) = watch::channel(false);
        let serving = services.clone();
        let thread = std::thread::Builder::new().name("habeas-server".into()).spawn(move || {
            runtime.block_on(async {
                let books = tokio::spawn(serving.clone().keep_books(stopped.clone()));
                if let Some(listener) = metrics {
                    tokio::spawn(axum::serve(listener, serving.metrics()).into_future());
                }
                let mut until = stopped;
                let finished = async move {
                    while !*until.borrow() {
                        if until.changed().await.is_err() {
                            break;
                        }
                    }
                };
                axum::serve(listener, serving.router()).with_graceful_shutdown(finished).await?;
                let _ = books.await;
                Ok(())
            })
        })?;
        Ok(Server { url, metrics_url, services, stop, thread: Some(thread), _lock: lock })
    }

    /// Answers what is under way, closes the stores and gives up the lock.
    pub fn stop(mut self) -> Result<()> {
        self.finish()
    }

    fn finish(&mut self) -> Result<()> {
        let _ = self.stop.send(true);
        let result = match self.thread.take() {
            Some(thread) => thread.join().map_err(|_| anyhow!("the server failed"))?,
            None => Ok(()),
        };
        self.services.close();
        result
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.finish();
    }
}

/// SIGINT and SIGTERM, caught from the moment that this is made: before anybody is told that the server runs.
pub struct StopSignals {
    runtime: tokio::runtime::Runtime,
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    /// Catches them from now on.
    pub fn catch() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        drop(entered);
        Ok(StopSignals { runtime, interrupt, terminate })
    }

    /// Waits for one.
    pub fn wait(mut self) {
        self.runtime.block_on(async {
            tokio::select! {
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
            }
        });
    }
}
