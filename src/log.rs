//! Sets up the log lines, which go to stderr.

use std::sync::OnceLock;

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt, reload};

use crate::config::{Log, LogFormat};

/// Changes the level of what was started here.
static SET_LEVEL: OnceLock<Box<dyn Fn(Level) + Send + Sync>> = OnceLock::new();

/// Starts logging; a second call changes nothing.
pub fn start(log: &Log) {
    let (shown, handle) = reload::Layer::new(shown(log.level));
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match log.format {
        LogFormat::Text => lines.with_ansi(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let started = tracing_subscriber::registry()
        .with(lines.with_filter(shown))
        .try_init();
    if started.is_ok() {
        let _ = SET_LEVEL.set(Box::new(move |level| {
            // It fails only when logging has ended.
            let _ = handle.reload(self::shown(level));
        }));
    }
}

/// Changes the least severe level that is shown; nothing where logging was not started here.
pub fn set_level(level: Level) {
    if let Some(set) = SET_LEVEL.get() {
        set(level);
    }
}

fn shown(level: Level) -> Targets {
    // Libraries print whole requests, tokens included, at their finer levels.
    Targets::new()
        .with_default(Level::WARN.min(level))
        .with_target("menshen", level)
        // What it warns of, we say ourselves where it matters.
        .with_target("redis", Level::ERROR.min(level))
}
