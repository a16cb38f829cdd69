//! Takes members out of a JSON object as it passes by: they become spaces, so that its length stays and nothing of it is kept.

use bytes::Bytes;

use super::names::is_removed;

/// A longer name is none that is taken out, however it is escaped.
const LONGEST_NAME: usize = 512;

/// The body is not the JSON that it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Where in the outermost object it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Start,
    /// Behind `{` or `,`.
    Name,
    InName,
    /// In a name that is too long to be looked at.
    InLongName,
    Colon,
    Value,
    End,
    /// It is no object, and goes on as it is.
    Other,
}

/// An object that passes by.
pub(super) struct JsonFilter {
    at: At,
    /// What is yet to be decided on: a comma and a name.
    held: Vec<u8>,
    depth: u32,
    in_text: bool,
    escaped: bool,
    /// Whether the member at hand is taken out.
    removing: bool,
    /// Whether a member was left, behind which a comma belongs.
    left_one: bool,
}

impl JsonFilter {
    pub(super) fn new() -> Self {
        Self {
            at: At::Start,
            held: Vec::new(),
            depth: 0,
            in_text: false,
            escaped: false,
            removing: false,
            left_one: false,
        }
    }

    /// Takes a part and returns what goes on, which may be a few bytes behind.
    pub(super) fn pass(&mut self, part: &[u8]) -> Result<Bytes, Malformed> {
        let mut out = Vec::with_capacity(part.len() + self.held.len());
        for byte in part {
            self.take(*byte, &mut out)?;
        }
        Ok(out.into())
    }

    /// Makes sure that it was whole.
    pub(super) fn finish(&self) -> Result<(), Malformed> {
        let whole = matches!(self.at, At::Start | At::End | At::Other);
        whole.then_some(()).ok_or(Malformed)
    }

    fn take(&mut self, byte: u8, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let blank = matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        match self.at {
            At::Start => {
                out.push(byte);
                if byte == b'{' {
                    self.at = At::Name;
                } else if !blank && !b"\xef\xbb\xbf".contains(&byte) {
                    self.at = At::Other;
                }
            }
            At::Other => out.push(byte),
            At::Name => {
                self.held.push(byte);
                match byte {
                    b'"' => self.at = At::InName,
                    b'}' => {
                        out.append(&mut self.held);
                        self.at = At::End;
                    }
                    _ if blank && self.held.len() < LONGEST_NAME => {}
                    // White space without end is nobody's.
                    _ => return Err(Malformed),
                }
            }
            At::InName => {
                self.held.push(byte);
                if self.ends_text(byte) {
                    self.decide(out)?;
                } else if self.held.len() > LONGEST_NAME {
                    self.keep_member(out);
                    self.at = At::InLongName;
                }
            }
            At::InLongName => {
                out.push(byte);
                if self.ends_text(byte) {
                    self.at = At::Colon;
                }
            }
            At::Colon => {
                self.emit(byte, out);
                match byte {
                    b':' => self.at = At::Value,
                    _ if blank => {}
                    _ => return Err(Malformed),
                }
            }
            At::Value => self.value(byte, out)?,
            At::End => {
                out.push(byte);
                if !blank {
                    return Err(Malformed);
                }
            }
        }
        Ok(())
    }

    fn value(&mut self, byte: u8, out: &mut Vec<u8>) -> Result<(), Malformed> {
        if self.in_text {
            self.emit(byte, out);
            self.in_text = !self.ends_text(byte);
            return Ok(());
        }
        match byte {
            b'"' => self.in_text = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' if self.depth > 0 => self.depth -= 1,
            b'}' => {
                out.push(byte);
                self.at = At::End;
                return Ok(());
            }
            b']' => return Err(Malformed),
            b',' if self.depth == 0 => {
                self.held.push(byte);
                self.at = At::Name;
                return Ok(());
            }
            _ => {}
        }
        self.emit(byte, out);
        Ok(())
    }

    /// Returns whether a byte of a text is its last.
    fn ends_text(&mut self, byte: u8) -> bool {
        if self.escaped {
            self.escaped = false;
        } else if byte == b'\\' {
            self.escaped = true;
        } else {
            return byte == b'"';
        }
        false
    }

    fn decide(&mut self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let start = self.held.iter().position(|byte| *byte == b'"');
        let name = start.and_then(|start| self.held.get(start..));
        let name: String =
            serde_json::from_slice(name.unwrap_or_default()).map_err(|_| Malformed)?;
        self.removing = is_removed(&name);
        if self.removing {
            out.resize(out.len() + self.held.len(), b' ');
            self.held.clear();
        } else {
            self.keep_member(out);
        }
        self.at = At::Colon;
        Ok(())
    }

    /// Lets a name go on, with the comma before it where something stands before that.
    fn keep_member(&mut self, out: &mut Vec<u8>) {
        self.removing = false;
        if let Some(first) = self.held.first_mut()
            && *first == b','
            && !self.left_one
        {
            *first = b' ';
        }
        self.left_one = true;
        out.append(&mut self.held);
    }

    fn emit(&self, byte: u8, out: &mut Vec<u8>) {
        out.push(if self.removing { b' ' } else { byte });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    fn filtered(text: &str, at: usize) -> Result<String, Malformed> {
        let mut filter = JsonFilter::new();
        let (one, other) = text.as_bytes().split_at(at.min(text.len()));
        let mut out = filter.pass(one)?.to_vec();
        out.extend(filter.pass(other)?);
        filter.finish()?;
        assert_eq!(out.len(), text.len());
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn members_are_taken_out_wherever_they_stand_and_the_rest_stays_to_the_byte() {
        for (text, left) in [
            (r#"{"access_token":"a","x":1}"#, json!({"x": 1})),
            (r#"{"x":1,"secret":"a"}"#, json!({"x": 1})),
            (
                r#"{"x":1, "appid" : {"y":[1,"}"]} ,"z":2}"#,
                json!({"x": 1, "z": 2}),
            ),
            (r#"{"secret":1,"appid":2}"#, json!({})),
            (r#"{"secr\u0065t":"a\"b","x":"\\"}"#, json!({"x": "\\"})),
            (r#"{"a":{"secret":1}}"#, json!({"a": {"secret": 1}})),
            ("{}", json!({})),
            (" {\"x\":\"门神\"}\n", json!({"x": "门神"})),
        ] {
            for at in 0..text.len() {
                let found = filtered(text, at).unwrap();
                let found: Value = serde_json::from_str(&found).unwrap();
                assert_eq!(found, left, "{text} at {at}");
            }
        }
    }

    #[test]
    fn what_is_no_object_goes_on_and_what_is_broken_does_not() {
        for text in ["[1]", "", "a=b", "\"x\""] {
            assert_eq!(filtered(text, 0).as_deref(), Ok(text));
        }
        for text in [
            "{",
            "{\"a\"",
            "{\"a\":1",
            "{\"a\" 1}",
            "{a:1}",
            "{}{}",
            "{\"a\":1]",
        ] {
            assert_eq!(filtered(text, 0), Err(Malformed), "{text}");
        }
    }

    #[test]
    fn a_long_name_is_not_kept() {
        let text = format!("{{\"{}\":1}}", "x".repeat(100_000));
        let mut filter = JsonFilter::new();
        let part = filter.pass(&text.as_bytes()[..50_000]).unwrap();
        assert!(part.len() > 49_000 && filter.held.is_empty());
    }

    proptest! {
        #[test]
        fn any_object_loses_these_members_and_no_others(
            members in proptest::collection::vec(("(secret|appid|[a-c]|\\PC{0,3})", any::<i16>()), 0..6),
            at in 0_usize..100,
        ) {
            let whole: Map<String, Value> =
                members.into_iter().map(|(name, value)| (name, value.into())).collect();
            let text = serde_json::to_string(&whole).unwrap();
            let at = (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            let left: Map<String, Value> = serde_json::from_str(&filtered(&text, at).unwrap()).unwrap();
            let mut expected = whole;
            expected.retain(|name, _| !is_removed(name));
            prop_assert_eq!(left, expected);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let mut filter = JsonFilter::new();
            let _ = filter.pass(&bytes).map(|_| filter.finish());
        }
    }
}
