//! Sets up logging to stderr through a queue: tracing's lines, and the access lines, which have a way of their own.

use std::panic::{self, PanicHookInfo};
use std::sync::{Arc, OnceLock};

use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt, reload};

pub use self::access::{Share, write as write_access};
pub use self::line::AccessLine;
use self::queue::{Lines, Queue};
pub use self::queue::{Stderr, dropped};
use crate::config::{Log, LogFormat};

mod access;
mod line;
mod queue;

/// The target of the audit log: logins, refusals, sessions that were ended, and changes of keys and of the configuration.
const AUDIT: &str = "menshen::audit";

/// Changes the filters of the logging that was started here.
static SHOW: OnceLock<Box<Show>> = OnceLock::new();

type Show = dyn Fn(&Log) + Send + Sync;

/// Starts logging; a second call changes nothing. Lines logged after the returned value was dropped are lost.
pub fn start(log: &Log) -> std::io::Result<Stderr> {
    let (shown, handle) = reload::Layer::new(shown(log));
    let (queue, stderr) = Queue::start()?;
    let lines = fmt::layer()
        .with_writer(Lines(Arc::clone(&queue)))
        // Errors of the formatter would go to stderr directly, where a stopped reader blocks.
        .log_internal_errors(false);
    let lines = match log.format {
        LogFormat::Text => lines.with_ansi(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let started = tracing_subscriber::registry()
        .with(lines.with_filter(shown))
        .try_init();
    if started.is_ok() {
        access::start(&queue, log);
        let _ = SHOW.set(Box::new(move |log| {
            // It fails only when logging has ended.
            let _ = handle.reload(self::shown(log));
            access::show(log);
        }));
        // The standard library's hook writes to stderr directly.
        panic::set_hook(Box::new(report));
    }
    Ok(stderr)
}

/// Logs a panic in one line.
fn report(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let text = payload.downcast_ref::<String>().map(String::as_str);
    tracing::error!(
        location = panic.location().map(tracing::field::display),
        payload = text.or(payload.downcast_ref::<&str>().copied()),
        "a task panicked"
    );
}

/// Changes the filters, but not the format; nothing if logging was not started here.
pub fn show(log: &Log) {
    if let Some(show) = SHOW.get() {
        show(log);
    }
}

/// Returns the filter of all lines but those of requests, which do not come this way.
fn shown(log: &Log) -> Targets {
    let level = log.level;
    // What must be there afterwards does not depend on what an operator wants to see now.
    let audit = if log.audit {
        Level::INFO.max(level)
    } else {
        level
    };
    // Libraries print whole requests, tokens included, at their finer levels.
    Targets::new()
        .with_default(Level::WARN.min(level))
        .with_target("menshen", level)
        .with_target(AUDIT, audit)
        // We log what these warn of ourselves, once.
        .with_target("redis", Level::ERROR.min(level))
        .with_target("rustls", Level::ERROR.min(level))
        // It has an error for each try to connect to a server that is not trusted.
        .with_target("rustls_platform_verifier", LevelFilter::OFF)
}
