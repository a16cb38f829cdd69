//! Reads `[log]`, what is logged.

use tracing::Level;

use super::kind::{Kind, SWITCH};
use super::model::{Log, LogFormat};
use super::reader::Table;

const FORMAT: Kind<LogFormat> = Kind {
    expected: "\"text\" or \"json\"",
    read: |value| match value.as_str()? {
        "text" => Some(LogFormat::Text),
        "json" => Some(LogFormat::Json),
        _ => None,
    },
};

const LEVEL: Kind<Level> = Kind {
    expected: "\"error\", \"warn\", \"info\", \"debug\" or \"trace\"",
    read: |value| match value.as_str()? {
        "error" => Some(Level::ERROR),
        "warn" => Some(Level::WARN),
        "info" => Some(Level::INFO),
        "debug" => Some(Level::DEBUG),
        "trace" => Some(Level::TRACE),
        _ => None,
    },
};

/// Reads the section.
pub(super) fn read(table: &mut Table<'_, '_>) -> Option<Log> {
    let format = table.or("format", r#""text""#, &FORMAT);
    let level = table.or("level", r#""info""#, &LEVEL);
    let access = table.or("access", "true", &SWITCH);
    Some(Log {
        format: format?,
        level: level?,
        access: access?,
    })
}
