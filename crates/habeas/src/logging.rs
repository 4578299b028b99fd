//! Logs: on standard error, as text for people or one JSON object a line for machines.
//!
//! What a line may hold is decided where it is written: names of keysets, counts, times and paths of this machine; never a token,
//! a secret, a point, a quote's id, a key, or where a caller came from. `RUST_LOG` chooses how much of ours is seen. Libraries
//! would log what passes through them at their lower levels (requests, rows, frames), so nothing of theirs below a warning is
//! ever let through, whatever `RUST_LOG` says.

use std::panic;

use anyhow::{Context, Result};
use clap::ValueEnum;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterExt, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// The crates whose lines `RUST_LOG` may ask for: they are written by the rule above.
const OURS: [&str; 12] = [
    "habeas",
    "cashu",
    "credential",
    "mdoc",
    "mint",
    "registry",
    "storage",
    "terminal",
    "tlog",
    "transparency",
    "treasury",
    "wallet",
];

/// What a line of the log looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people; warnings and worse unless `RUST_LOG` asks for more.
    #[default]
    Text,
    /// One JSON object a line; what happens in operation too.
    Json,
}

/// Starts the log of this process.
///
/// # Errors
/// When `RUST_LOG` can't be read.
pub fn start(format: LogFormat) -> Result<()> {
    let asked = std::env::var("RUST_LOG").ok().filter(|asked| !asked.is_empty());
    let asked = asked.as_deref().unwrap_or(match format {
        LogFormat::Text => "warn",
        LogFormat::Json => "info",
    });
    let filter = EnvFilter::try_new(asked)
        .with_context(|| format!("RUST_LOG='{asked}' can't be read: use a level such as info, or mint=debug"))?;
    tracing_subscriber::registry().with(lines(format, std::io::stderr).with_filter(filter.and(capped()))).init();
    if format == LogFormat::Json {
        // The message of a panic may quote what it stumbled over.
        panic::set_hook(Box::new(|panicked| {
            let place = panicked.location().map(ToString::to_string);
            tracing::error!(place, "panicked");
        }));
    }
    Ok(())
}

fn lines<S, Writer>(format: LogFormat, writer: Writer) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    Writer: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(),
    }
}

/// Lets ours through, and of others warnings and worse.
fn capped<S: Subscriber>() -> impl tracing_subscriber::layer::Filter<S> {
    filter_fn(may_be_seen)
}

fn may_be_seen(event: &Metadata<'_>) -> bool {
    let of = event.target().split("::").next().unwrap_or_default();
    OURS.contains(&of) || *event.level() <= Level::WARN
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What is logged under a `RUST_LOG`, with the cap and without.
    fn logged(asked: &str, cap: bool) -> String {
        let kept = Kept::default();
        let writer = kept.clone();
        let filter = EnvFilter::new(asked);
        let layer = lines(LogFormat::Json, move || writer.clone());
        let layer =
            if cap { layer.with_filter(filter.and(capped())).boxed() } else { layer.with_filter(filter).boxed() };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::trace!(target: "hyper::proto::h1", "read a-request");
            tracing::debug!(target: "tokio_postgres::query", "executing a-row");
            tracing::info!(target: "tungstenite::protocol", "received a-frame");
            tracing::info!(target: "log", "a record of the log crate, a-record");
            tracing::info!(target: "mintish", "another's name that begins like ours, a-name");
            tracing::warn!(target: "fjall::journal", "a warning of a library");
            tracing::trace!(target: "mint::engine", "a line of ours");
            tracing::trace!("and another of ours");
        });
        String::from_utf8(kept.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn what_libraries_log_below_a_warning_is_never_seen() {
        let everything = "trace,hyper=trace,tokio_postgres=trace,tungstenite=trace,log=trace,mintish=trace";
        let hidden = ["a-request", "a-row", "a-frame", "a-record", "a-name"];
        let open = logged(everything, false);
        assert!(hidden.iter().all(|line| open.contains(line)), "without the cap they are seen: {open}");
        for asked in [everything, "trace", "hyper=trace,tokio_postgres=trace,tungstenite=trace,log=info,mint=trace"] {
            let seen = logged(asked, true);
            assert!(hidden.iter().all(|line| !seen.contains(line)), "RUST_LOG={asked}: {seen}");
            assert!(seen.contains("a line of ours"), "RUST_LOG={asked}: {seen}");
        }
        assert!(logged("trace", true).contains("a warning of a library"));
        let seen = logged("warn", true);
        assert!(seen.contains("a warning of a library") && !seen.contains("of ours"), "{seen}");
    }

    #[test]
    fn a_line_is_one_json_object() {
        for line in logged("trace", true).lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(
                line["timestamp"].is_string() && line["level"].is_string() && line["message"].is_string(),
                "{line}"
            );
        }
    }
}
