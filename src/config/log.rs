//! Reads `[log]`, what is logged.

use std::num::NonZeroU32;

use tracing::Level;

use super::kind::{Kind, SWITCH, number, text};
use super::log_fields::{LogField, LogFields};
use super::reader::Table;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// The form of a line.
    pub format: LogFormat,
    /// The least severe level shown.
    pub level: Level,
    /// Whether each exchange has a line.
    pub access: bool,
    /// What such a line holds.
    pub access_fields: LogFields,
    /// Of the exchanges that went well, one in so many has a line.
    pub access_one_in: NonZeroU32,
    /// Whether lines hold openids, and not their digests.
    pub openids: bool,
    /// Whether the lines of the audit log are written whatever the level.
    pub audit: bool,
}

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

const FIELD: Kind<LogField> = Kind {
    expected: "a list of fields among \"request_id\", \"trace_id\", \"method\", \"host\", \"path\", \"call\", \"status\", \
               \"decision\", \"reason\", \"token_fault\", \"route\", \"app\", \"session\", \"openid\", \"server\", \"client\", \
               \"caller\", \"user_agent\", \"received_bytes\", \"sent_bytes\", \"elapsed_ms\", \"upstream_ms\" and \"failed\"",
    read: |value| LogField::from_name(text(value)?),
};

const ONE_IN: Kind<NonZeroU32> = Kind {
    expected: "a whole number from 1 to 1000000",
    read: |value| {
        let count = u32::try_from(number(value)?).ok()?;
        NonZeroU32::new(count).filter(|count| count.get() <= 1_000_000)
    },
};

const OPENID: Kind<bool> = Kind {
    expected: "\"digest\" or \"full\"",
    read: |value| match value.as_str()? {
        "digest" => Some(false),
        "full" => Some(true),
        _ => None,
    },
};

/// Reads the section.
pub(super) fn read(table: &mut Table<'_, '_>) -> Option<Log> {
    let format = table.or("format", r#""text""#, &FORMAT);
    let level = table.or("level", r#""info""#, &LEVEL);
    let access = table.or("access", "true", &SWITCH);
    let fields = table.optional_list("access_fields", &FIELD);
    if fields.as_ref().is_some_and(Vec::is_empty) {
        let message = "must name a field; access = false leaves the lines out";
        table.refuse("access_fields", message.to_owned());
    }
    let one_in = table.or("access_one_in", "1", &ONE_IN);
    let openids = table.or("openid", r#""digest""#, &OPENID);
    let audit = table.or("audit", "true", &SWITCH);
    Some(Log {
        format: format?,
        level: level?,
        access: access?,
        access_fields: fields.map_or(LogFields::USUAL, LogFields::from_iter),
        access_one_in: one_in?,
        openids: openids?,
        audit: audit?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_names_an_unknown_field_is_told_all_that_there_are() {
        let named = FIELD.expected.split('"').skip(1).step_by(2);
        let fields = LogField::ALL.into_iter().map(LogField::name);
        assert_eq!(named.collect::<Vec<_>>(), fields.collect::<Vec<_>>());
    }
}
