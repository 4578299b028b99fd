//! A running server: listens, serves, stops cleanly.

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::data::{DataFolder, FolderLock, ServerFile};
use crate::mint_command::RunningServer;
use crate::services::{Options, Services};
use crate::wiring::unix_now;

/// How long a stop waits for answers to be taken. Past it, whoever does not read holds up the stop of everything.
const GRACE: Duration = Duration::from_secs(10);

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
        let (log_vkey, since) = (services.log.vkey().to_owned(), unix_now());
        data.write_server_file(&ServerFile { url: url.clone(), log_vkey, since })?;
        let running = RunningServer { url: url.clone(), since };
        let (stop, stopped) = watch::channel(false);
        let serving = services.clone();
        let thread = std::thread::Builder::new().name("habeas-server".into()).spawn(move || {
            runtime.block_on(async {
                let books = tokio::spawn(serving.clone().keep_books(stopped.clone()));
                if let Some(listener) = metrics {
                    tokio::spawn(axum::serve(listener, serving.metrics()).into_future());
                }
                let mut until = stopped.clone();
                let finished = async move {
                    while !*until.borrow() {
                        if until.changed().await.is_err() {
                            break;
                        }
                    }
                };
                let mut cut = stopped.clone();
                let served = axum::serve(listener, serving.router(running, stopped)).with_graceful_shutdown(finished);
                tokio::select! {
                    served = served.into_future() => served?,
                    () = async {
                        let _ = cut.wait_for(|stop| *stop).await;
                        tokio::time::sleep(GRACE).await;
                    } => tracing::warn!("somebody did not take an answer in time and was cut off"),
                }
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
