//! Formats the request lines, which are most of the log, cheaper than the general formatter does.

use std::cell::RefCell;
use std::fmt::{Debug, Write as _};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::queue::Queue;
use crate::config::LogFormat;

/// The target of these lines.
pub(super) const TARGET: &str = "menshen::access";

/// Fields that need no quotes in the text format.
const BARE: [&str; 4] = ["request_id", "method", "server", "client"];

/// Writes events of [`TARGET`] to the queue.
pub(super) struct AccessLines {
    pub(super) queue: Arc<Queue>,
    pub(super) format: LogFormat,
}

impl<S: Subscriber> Layer<S> for AccessLines {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        LINE.with_borrow_mut(|line| {
            line.text.clear();
            let is_json = self.format == LogFormat::Json;
            line.text
                .push_str(if is_json { "{\"timestamp\":\"" } else { "" });
            line.put_time();
            line.text.push_str(if is_json {
                "\",\"level\":\"INFO\",\"target\":\"menshen::access\""
            } else {
                "  INFO menshen::access:"
            });
            let mut visitor = Visitor {
                text: &mut line.text,
                is_json,
            };
            event.record(&mut visitor);
            line.text.push_str(if is_json { "}\n" } else { "\n" });
            self.queue.push(line.text.as_bytes());
        });
    }
}

thread_local! {
    /// Each thread's buffer for a line.
    static LINE: RefCell<Line> = RefCell::default();
}

#[derive(Default)]
struct Line {
    text: String,
    /// The latest second that was formatted, and its text without the fraction.
    second: u64,
    date: String,
}

impl Line {
    #[expect(
        clippy::disallowed_methods,
        reason = "lines carry the machine's time, as all others do"
    )]
    fn put_time(&mut self) {
        let now = SystemTime::now();
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        if since.as_secs() != self.second || self.date.is_empty() {
            self.second = since.as_secs();
            self.date = humantime::format_rfc3339_seconds(now).to_string();
            // The fraction stands before the zone.
            self.date.pop();
        }
        self.text.push_str(&self.date);
        self.text.push('.');
        let mut scale = 100_000;
        for _ in 0..6 {
            let digit = since.subsec_micros() / scale % 10;
            self.text.push(char::from_digit(digit, 10).unwrap_or('0'));
            scale /= 10;
        }
        self.text.push('Z');
    }
}

/// Writes fields.
struct Visitor<'l> {
    text: &'l mut String,
    is_json: bool,
}

impl Visitor<'_> {
    fn name(&mut self, field: &Field) {
        if self.is_json {
            self.text.push_str(",\"");
            self.text.push_str(field.name());
            self.text.push_str("\":");
        } else {
            self.text.push(' ');
            if field.name() != "message" {
                self.text.push_str(field.name());
                self.text.push('=');
            }
        }
    }

    fn put_number(&mut self, field: &Field, mut number: u64) {
        self.name(field);
        let mut digits = [0; 20];
        let mut used = 0;
        for place in digits.iter_mut().rev() {
            *place = b'0' + (number % 10) as u8;
            number /= 10;
            used += 1;
            if number == 0 {
                break;
            }
        }
        let digits = digits.get(digits.len() - used..).unwrap_or_default();
        self.text
            .push_str(std::str::from_utf8(digits).unwrap_or_default());
    }

    /// Writes a text so that it is one value, whatever a client put into it.
    fn put_text(&mut self, field: &Field, value: &str) {
        self.name(field);
        let is_bare = !self.is_json && (field.name() == "message" || BARE.contains(&field.name()));
        let is_plain = |b: u8| (b' '..0x7f).contains(&b) && b != b'"' && b != b'\\';
        if value.bytes().all(is_plain) {
            let quote = if is_bare { "" } else { "\"" };
            self.text.push_str(quote);
            self.text.push_str(value);
            self.text.push_str(quote);
        } else if self.is_json {
            let quoted = serde_json::to_string(value);
            self.text.push_str(quoted.as_deref().unwrap_or("\"\""));
        } else {
            let _ = write!(self.text, "{value:?}");
        }
    }
}

impl Visit for Visitor<'_> {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put_number(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.name(field);
        self.text.push_str(if value { "true" } else { "false" });
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_text(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}");
        self.put_text(field, &text);
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// Returns the line of an event of which a client chose the path.
    fn line(format: LogFormat, path: &str) -> String {
        let queue = Queue::unread();
        let lines = AccessLines {
            queue: Arc::clone(&queue),
            format,
        };
        let subscriber = tracing_subscriber::registry().with(lines);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(
                target: "menshen::access",
                request_id = "a1",
                path,
                status = 200_u64,
                reason = None::<&str>,
                failed = false,
                "exchange"
            );
        });
        queue.queued()
    }

    #[test]
    fn a_line_is_one_line_whatever_a_client_says() {
        let hostile = "/a\"b\\c\nd\u{202e}é<script>";
        let text = line(LogFormat::Text, hostile);
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        assert!(
            text.contains("  INFO menshen::access: exchange request_id=a1 path=\"/a\\\"b\\\\c\\nd"),
            "{text}"
        );
        assert!(text.ends_with(" status=200 failed=false\n"), "{text}");
        let json: serde_json::Value =
            serde_json::from_str(&line(LogFormat::Json, hostile)).unwrap();
        assert_eq!(json["path"], hostile);
        assert_eq!(
            (&json["message"], &json["status"]),
            (&"exchange".into(), &200.into())
        );
        assert!(json.get("reason").is_none());
    }

    #[test]
    fn the_time_is_that_of_other_lines() {
        let text = line(LogFormat::Text, "/");
        let time = text.split(' ').next().unwrap();
        assert_eq!(time.len(), "2026-11-29T17:09:52.873023Z".len(), "{time}");
        assert!(humantime::parse_rfc3339(time).is_ok(), "{time}");
    }
}
