//! Writes the access lines, which are most of the log, past tracing: an event of so many fields, each handed to two filters and a
//! formatter as `dyn Value`, took more instructions than all of the line's text.
//!
//! [`write`] asks two words whether there is a line at all, has the caller put fields into the thread's buffer with an
//! [`AccessLine`], and copies the buffer into the queue that all lines take. A line costs what its fields are long: nothing is
//! allocated, no time is formatted anew within the same second, and words of ours are not looked through for what must be escaped.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::Level;

use super::line::AccessLine;
use super::queue::Queue;
use crate::config::{Log, LogFields, LogFormat};

/// What all of these lines name as their target.
const BEGIN_JSON: &str = "\",\"level\":\"INFO\",\"target\":\"menshen::access\",\"message\":\"";
const BEGIN_TEXT: &str = "  INFO menshen::access: ";

/// Where the lines go, and what they hold.
static ACCESSES: OnceLock<Accesses> = OnceLock::new();

thread_local! {
    /// Each thread's buffer for a line.
    static LINE: RefCell<Line> = RefCell::default();
}

/// Which exchanges have a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// One in so many, as configured.
    Some,
    /// Every one: it was refused or went wrong.
    All,
}

/// The access lines of this process.
pub(super) struct Accesses {
    queue: Arc<Queue>,
    is_json: bool,
    /// The wanted fields; 0 where there are no lines.
    fields: AtomicU32,
    one_in: AtomicU32,
    shows_openids: AtomicBool,
}

#[derive(Default)]
struct Line {
    text: String,
    /// The latest second that was formatted, and its text without the fraction.
    second: u64,
    date: String,
}

/// Writes the line of something that ended now, where it has one; `put` writes its fields.
pub fn write(message: &'static str, share: Share, put: impl FnOnce(&mut AccessLine<'_>)) {
    if let Some(accesses) = ACCESSES.get() {
        accesses.write(message, share, put);
    }
}

/// Has the lines go to a queue.
pub(super) fn start(queue: &Arc<Queue>, log: &Log) {
    // Whoever starts logging twice changes nothing.
    let _ = ACCESSES.set(Accesses::new(queue, log));
}

/// Changes what the lines hold, but not their format.
pub(super) fn show(log: &Log) {
    if let Some(accesses) = ACCESSES.get() {
        accesses.show(log);
    }
}

impl Accesses {
    fn new(queue: &Arc<Queue>, log: &Log) -> Self {
        let accesses = Self {
            queue: Arc::clone(queue),
            is_json: log.format == LogFormat::Json,
            fields: AtomicU32::new(0),
            one_in: AtomicU32::new(1),
            shows_openids: AtomicBool::new(false),
        };
        accesses.show(log);
        accesses
    }

    fn show(&self, log: &Log) {
        let is_shown = log.access && log.level >= Level::INFO;
        let fields = if is_shown {
            log.access_fields.bits()
        } else {
            0
        };
        self.one_in
            .store(log.access_one_in.get(), Ordering::Relaxed);
        self.shows_openids.store(log.openids, Ordering::Relaxed);
        self.fields.store(fields, Ordering::Relaxed);
    }

    fn write(&self, message: &str, share: Share, put: impl FnOnce(&mut AccessLine<'_>)) {
        let fields = self.fields.load(Ordering::Relaxed);
        if fields == 0 {
            return;
        }
        let one_in = self.one_in.load(Ordering::Relaxed);
        if share == Share::Some && one_in > 1 && fastrand::u32(..one_in) > 0 {
            return;
        }
        LINE.with_borrow_mut(|line| {
            line.text.clear();
            line.text.push_str(if self.is_json {
                "{\"timestamp\":\""
            } else {
                ""
            });
            line.put_time();
            let (begin, end) = match self.is_json {
                true => (BEGIN_JSON, "\""),
                false => (BEGIN_TEXT, ""),
            };
            line.text.push_str(begin);
            line.text.push_str(message);
            line.text.push_str(end);
            put(&mut AccessLine {
                text: &mut line.text,
                fields: LogFields::from_bits(fields),
                is_json: self.is_json,
                shows_openids: self.shows_openids.load(Ordering::Relaxed),
            });
            line.text.push_str(if self.is_json { "}\n" } else { "\n" });
            self.queue.push(line.text.as_bytes());
        });
    }
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
        let micros = since.subsec_micros();
        let digit = |scale: u32| b'0' + (micros / scale % 10) as u8;
        let fraction = [
            b'.',
            digit(100_000),
            digit(10_000),
            digit(1_000),
            digit(100),
            digit(10),
            digit(1),
            b'Z',
        ];
        self.text
            .push_str(std::str::from_utf8(&fraction).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::config::LogField;

    fn log(format: LogFormat) -> Log {
        Log {
            format,
            level: Level::INFO,
            access: true,
            access_fields: LogFields::USUAL,
            access_one_in: NonZeroU32::MIN,
            openids: false,
            audit: true,
        }
    }

    /// Returns the lines that so many calls write.
    fn lines(log: &Log, share: Share, calls: usize) -> String {
        let queue = Queue::unread();
        let accesses = Accesses::new(&queue, log);
        for _ in 0..calls {
            accesses.write("exchange", share, |line| {
                line.word(LogField::RequestId, "a1");
                line.text(LogField::Path, "/a\"b\nc");
                line.number(LogField::Status, 200);
            });
        }
        queue.queued()
    }

    #[test]
    fn a_line_has_the_form_of_all_others() {
        let text = lines(&log(LogFormat::Text), Share::Some, 1);
        let (time, rest) = text.split_once(' ').unwrap();
        assert_eq!(time.len(), "2026-11-29T17:09:52.873023Z".len(), "{time}");
        assert!(humantime::parse_rfc3339(time).is_ok(), "{time}");
        let expected =
            " INFO menshen::access: exchange request_id=a1 path=\"/a\\\"b\\nc\" status=200\n";
        assert_eq!(rest, expected);
        let json = lines(&log(LogFormat::Json), Share::Some, 1);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert!(humantime::parse_rfc3339(json["timestamp"].as_str().unwrap()).is_ok());
        assert_eq!(json["level"], "INFO");
        assert_eq!(json["target"], "menshen::access");
        assert_eq!(json["message"], "exchange");
        assert_eq!(json["path"], "/a\"b\nc");
    }

    #[test]
    fn what_was_refused_has_its_line_however_few_others_have_one() {
        let mut log = log(LogFormat::Text);
        log.access_one_in = NonZeroU32::new(1_000_000).unwrap();
        assert_eq!(lines(&log, Share::All, 100).lines().count(), 100);
        assert!(lines(&log, Share::Some, 100).lines().count() < 10);
        log.access_one_in = NonZeroU32::new(2).unwrap();
        let some = lines(&log, Share::Some, 10_000).lines().count();
        assert!((4_500..5_500).contains(&some), "{some}");
    }

    #[test]
    fn a_level_above_theirs_leaves_them_out() {
        for level in [Level::WARN, Level::ERROR] {
            let log = Log {
                level,
                ..log(LogFormat::Text)
            };
            assert_eq!(lines(&log, Share::All, 3), "");
        }
        let log = Log {
            access: false,
            ..log(LogFormat::Text)
        };
        assert_eq!(lines(&log, Share::All, 3), "");
    }
}
