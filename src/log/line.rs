//! One access line while it is written: fields become text that is one value each, whatever a client put into them.

use std::fmt::Write as _;

use crate::config::{LogField, LogFields};

/// Makes the keys at compile time, so that each is written in one piece.
macro_rules! keys {
    ($($name:literal),* $(,)?) => {
        [$((concat!(",\"", $name, "\":"), concat!(" ", $name, "="))),*]
    };
}

/// How the fields begin, by their place among all: in JSON and in text.
static KEYS: [(&str, &str); LogField::ALL.len()] = keys![
    "request_id",
    "trace_id",
    "method",
    "host",
    "path",
    "call",
    "status",
    "decision",
    "reason",
    "token_fault",
    "route",
    "app",
    "session",
    "openid",
    "server",
    "client",
    "caller",
    "user_agent",
    "received_bytes",
    "sent_bytes",
    "elapsed_ms",
    "upstream_ms",
    "failed",
];

/// The line of an exchange.
pub struct AccessLine<'l> {
    pub(super) text: &'l mut String,
    pub(super) fields: LogFields,
    pub(super) is_json: bool,
    pub(super) shows_openids: bool,
}

impl AccessLine<'_> {
    /// Returns whether a field is wanted, for those that cost something to find.
    pub fn wants(&self, field: LogField) -> bool {
        self.fields.has(field)
    }

    /// Returns whether openids are written, and not their digests.
    pub fn shows_openids(&self) -> bool {
        self.shows_openids
    }

    /// Writes a word of ours, or a text that was checked to be letters, digits and `-_.:` only.
    pub fn word(&mut self, field: LogField, word: &str) {
        if !self.begin(field) {
            return;
        }
        if self.is_json {
            self.text.push('"');
            self.text.push_str(word);
            self.text.push('"');
        } else {
            self.text.push_str(word);
        }
    }

    /// Writes a text of anybody's.
    pub fn text(&mut self, field: LogField, text: &str) {
        if self.begin(field) {
            self.put(text);
        }
    }

    /// Writes what should be a text, and of which no more than `most` bytes matter.
    pub fn bytes(&mut self, field: LogField, bytes: &[u8], most: usize) {
        if !self.begin(field) {
            return;
        }
        let bytes = bytes.get(..most).unwrap_or(bytes);
        match std::str::from_utf8(bytes) {
            Ok(text) => self.put(text),
            Err(_) => self.put(&String::from_utf8_lossy(bytes)),
        }
    }

    /// Writes a number.
    pub fn number(&mut self, field: LogField, mut number: u64) {
        if !self.begin(field) {
            return;
        }
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

    /// Writes whether something is so.
    pub fn switch(&mut self, field: LogField, is_so: bool) {
        if self.begin(field) {
            self.text.push_str(if is_so { "true" } else { "false" });
        }
    }

    /// Writes a field's name, where it is wanted.
    fn begin(&mut self, field: LogField) -> bool {
        if !self.fields.has(field) {
            return false;
        }
        if let Some((json, text)) = KEYS.get(field as usize) {
            self.text.push_str(if self.is_json { json } else { text });
        }
        true
    }

    fn put(&mut self, text: &str) {
        // Without an early end it is compiled to a few instructions for many bytes.
        let is_plain = |b: u8| (b' '..0x7f).contains(&b) & (b != b'"') & (b != b'\\');
        self.text.push('"');
        if text.bytes().fold(true, |all, byte| all & is_plain(byte)) {
            self.text.push_str(text);
        } else {
            self.put_escaped(text);
        }
        self.text.push('"');
    }

    /// Escapes what would end the value or the line, or what a terminal would obey.
    fn put_escaped(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                '"' | '\\' => {
                    self.text.push('\\');
                    self.text.push(c);
                }
                // The second stands for what is left out, as a ticket in a path.
                ' '..='~' | '…' => self.text.push(c),
                c if c.is_alphanumeric() => self.text.push(c),
                c if self.is_json => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        let _ = write!(self.text, "\\u{unit:04x}");
                    }
                }
                c => {
                    let _ = write!(self.text, "{}", c.escape_default());
                }
            }
        }
    }
}

impl std::fmt::Debug for AccessLine<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AccessLine")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Writes one field.
    fn written(is_json: bool, put: impl FnOnce(&mut AccessLine<'_>)) -> String {
        let mut text = String::new();
        put(&mut AccessLine {
            text: &mut text,
            fields: LogField::ALL.into_iter().collect(),
            is_json,
            shows_openids: false,
        });
        text
    }

    #[test]
    fn each_key_is_the_name_of_its_field() {
        for (field, (json, text)) in LogField::ALL.into_iter().zip(KEYS) {
            assert_eq!(json, format!(",\"{}\":", field.name()));
            assert_eq!(text, format!(" {}=", field.name()));
        }
    }

    #[test]
    fn what_is_not_wanted_is_not_written() {
        let mut text = String::new();
        let mut line = AccessLine {
            text: &mut text,
            fields: [LogField::Path].into_iter().collect(),
            is_json: true,
            shows_openids: false,
        };
        line.word(LogField::Method, "GET");
        line.text(LogField::Path, "/a");
        line.number(LogField::Sent, 3);
        line.switch(LogField::Failed, true);
        line.bytes(LogField::Host, b"h", 9);
        assert_eq!(text, r#","path":"/a""#);
    }

    #[test]
    fn what_a_terminal_or_a_page_would_obey_is_no_more_than_text() {
        let hostile = "<script>\"'\\\r\n\t\u{1b}[2J\u{85}\u{2028}\u{202e}é中";
        let json = written(true, |line| line.text(LogField::Path, hostile));
        let expected = r#","path":"<script>\"'\\\u000d\u000a\u0009\u001b[2J\u0085\u2028\u202eé中""#;
        assert_eq!(json, expected);
        let text = written(false, |line| line.text(LogField::Path, hostile));
        let expected = r#" path="<script>\"'\\\r\n\t\u{1b}[2J\u{85}\u{2028}\u{202e}é中""#;
        assert_eq!(text, expected);
    }

    #[test]
    fn bytes_that_are_no_text_are_cut_and_marked() {
        let json = written(true, |line| {
            line.bytes(LogField::UserAgent, b"a\xffb\"c", 4)
        });
        assert_eq!(json, r#","user_agent":"a\ufffdb\"""#);
        // Cut in the middle of a character.
        let json = written(true, |line| {
            line.bytes(LogField::UserAgent, "aé".as_bytes(), 2)
        });
        assert_eq!(json, r#","user_agent":"a\ufffd""#);
    }

    #[test]
    fn numbers_have_all_their_digits() {
        for number in [0, 7, 10, 1_234_567, u64::MAX] {
            let text = written(false, |line| line.number(LogField::Sent, number));
            assert_eq!(text, format!(" sent_bytes={number}"));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_one_value_on_one_line(bytes: Vec<u8>) {
            let lossy = String::from_utf8_lossy(&bytes).into_owned();
            let put = |is_json| written(is_json, |line| line.bytes(LogField::Path, &bytes, 4096));
            let json = put(true);
            let object = format!("{{{}}}", json.trim_start_matches(','));
            let value: serde_json::Value = serde_json::from_str(&object).unwrap();
            prop_assert_eq!(value["path"].as_str(), Some(lossy.as_str()));
            for line in [json, put(false)] {
                let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
                prop_assert!(!line.contains(breaks), "{}", line);
            }
        }
    }
}
