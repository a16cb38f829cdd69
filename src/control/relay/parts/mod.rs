//! Takes fields out of forms of several parts as they pass by: a part that callers may not send loses its name and its content, so
//! that the length stays.
//!
//! What two readers could take for different parts is refused: line ends other than CRLF, folded lines, a name that is written in
//! another way than between quotes or as a word, more behind the end.

mod head;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use memchr::memmem::{self, Finder};

use self::head::{CRLF, boundary, name_in};
use super::names::{is_removed, name_of};

/// The longest head of a part, and what is kept of a body to see where a part ends.
const LONGEST_HEAD: usize = 4096;

/// A form is none that everybody reads alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ambiguous;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Before the first delimiter.
    Start,
    /// Behind a delimiter.
    Delimiter,
    Head,
    /// In the content of a part, which goes on or is taken out.
    Content {
        removing: bool,
    },
    End,
}

/// A form of several parts that passes by.
pub(super) struct PartsFilter {
    /// What a delimiter is, with the line end before it.
    delimiter: Finder<'static>,
    held: Vec<u8>,
    at: At,
}

impl PartsFilter {
    /// Begins with what the head says of the form.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Ambiguous> {
        let kind = headers.get(CONTENT_TYPE).ok_or(Ambiguous)?;
        let boundary = boundary(kind.as_bytes()).ok_or(Ambiguous)?;
        let delimiter = [b"\n--", boundary].concat();
        Ok(Self {
            delimiter: Finder::new(&delimiter).into_owned(),
            held: Vec::new(),
            at: At::Start,
        })
    }

    /// Takes a part and returns what goes on, which may be some bytes behind.
    pub(super) fn pass(&mut self, part: &[u8]) -> Result<Bytes, Ambiguous> {
        self.held.extend_from_slice(part);
        let mut out = Vec::with_capacity(self.held.len());
        while self.step(&mut out)? {}
        Ok(out.into())
    }

    /// Makes sure that it was whole.
    pub(super) fn finish(&self) -> Result<(), Ambiguous> {
        let whole = self.at == At::End && self.held.is_empty();
        whole.then_some(()).ok_or(Ambiguous)
    }

    /// Goes on, as far as what is held allows; `false` waits for more.
    fn step(&mut self, out: &mut Vec<u8>) -> Result<bool, Ambiguous> {
        match self.at {
            At::Start => self.start(out),
            At::Delimiter => self.behind_delimiter(out),
            At::Head => self.head(out),
            At::Content { removing } => self.content(removing, out),
            At::End => {
                let blank = self.held.iter().all(|byte| CRLF.contains(byte));
                out.append(&mut self.held);
                blank.then_some(false).ok_or(Ambiguous)
            }
        }
    }

    fn start(&mut self, out: &mut Vec<u8>) -> Result<bool, Ambiguous> {
        // Nothing stands before the first one but a line end.
        let whole = [b"\r", self.delimiter.needle()].concat();
        let bare = whole.get(CRLF.len()..).unwrap_or_default();
        for first in [bare, &whole] {
            if self.held.starts_with(first) {
                self.emit(first.len(), false, out);
                self.at = At::Delimiter;
                return Ok(true);
            }
        }
        let begins = bare.starts_with(&self.held) || whole.starts_with(&self.held);
        begins.then_some(false).ok_or(Ambiguous)
    }

    fn behind_delimiter(&mut self, out: &mut Vec<u8>) -> Result<bool, Ambiguous> {
        self.at = match self.held.as_slice() {
            [] | [_] => return Ok(false),
            [b'-', b'-', ..] => At::End,
            [b'\r', b'\n', ..] => At::Head,
            // A longer boundary, which other readers may take for this one, or white space, which they may not bear.
            _ => return Err(Ambiguous),
        };
        self.emit(2, false, out);
        Ok(true)
    }

    fn head(&mut self, out: &mut Vec<u8>) -> Result<bool, Ambiguous> {
        let Some(end) = memmem::find(&self.held, b"\r\n\r\n") else {
            return match self.held.len() {
                0..=LONGEST_HEAD => Ok(false),
                _ => Err(Ambiguous),
            };
        };
        let (head, content) = self.held.split_at_checked(end + 4).ok_or(Ambiguous)?;
        // Where it follows at once, it ends the part for one reader, and belongs to the content for another.
        let delimiter = self.delimiter.needle().get(1..).unwrap_or_default();
        if delimiter.starts_with(content) {
            return Ok(false);
        }
        if content.starts_with(delimiter) {
            return Err(Ambiguous);
        }
        let head = head.get(..end).unwrap_or_default();
        let (from, to) = name_in(head).ok_or(Ambiguous)?;
        let name = self.held.get_mut(from..to).ok_or(Ambiguous)?;
        let removing = is_of_relay(name);
        if removing {
            name.fill(b'_');
        }
        self.emit(end + 4, false, out);
        self.at = At::Content { removing };
        Ok(true)
    }

    fn content(&mut self, removing: bool, out: &mut Vec<u8>) -> Result<bool, Ambiguous> {
        let length = self.delimiter.needle().len();
        let Some(at) = self.delimiter.find(&self.held) else {
            // A delimiter may have begun, with the carriage return before it.
            let rest = self.held.len().saturating_sub(length);
            self.emit(rest, removing, out);
            return Ok(false);
        };
        let Some((before, b"\r")) = self.held.get(..at).and_then(|held| held.split_last_chunk())
        else {
            return Err(Ambiguous);
        };
        let before = before.len();
        self.emit(before, removing, out);
        // The line end is the delimiter's.
        self.emit(1 + length, false, out);
        self.at = At::Delimiter;
        Ok(true)
    }

    /// Lets so many bytes go on, or as many spaces.
    fn emit(&mut self, length: usize, removing: bool, out: &mut Vec<u8>) {
        let from = out.len();
        out.extend(self.held.drain(..length.min(self.held.len())));
        if removing {
            out.iter_mut().skip(from).for_each(|byte| *byte = b' ');
        }
    }
}

/// Returns whether a name is the relay's to say, in each of the ways in which it may be read.
fn is_of_relay(name: &[u8]) -> bool {
    let bare: Vec<u8> = name.iter().copied().filter(|byte| *byte != b'\\').collect();
    is_removed(&String::from_utf8_lossy(name))
        || is_removed(&String::from_utf8_lossy(&bare))
        || is_removed(&name_of(name))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn filter(kind: &str) -> Result<PartsFilter, Ambiguous> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_str(kind).unwrap());
        PartsFilter::of(&headers)
    }

    fn filtered(form: &[u8], at: usize) -> Result<Vec<u8>, Ambiguous> {
        let mut filter = filter("multipart/form-data; boundary=b0")?;
        let (one, other) = form.split_at(at);
        let mut out = filter.pass(one)?.to_vec();
        out.extend(filter.pass(other)?);
        filter.finish()?;
        assert_eq!(out.len(), form.len());
        Ok(out)
    }

    fn part(head: &str, content: &str) -> String {
        format!("--b0\r\n{head}\r\n\r\n{content}\r\n")
    }

    fn named(name: &str, content: &str) -> String {
        part(&format!("Content-Disposition: form-data; {name}"), content)
    }

    fn form(parts: &[String]) -> Vec<u8> {
        format!("{}--b0--\r\n", parts.concat()).into_bytes()
    }

    #[test]
    fn parts_that_are_the_relays_to_send_lose_their_name_and_content_wherever_the_form_is_cut() {
        let media = named(
            "name=\"media\"; filename=\"secret\"",
            "name=\"secret\"\r\n--b\r\n\r\n",
        );
        let sent = form(&[
            named("name=\"secret\"", "s3"),
            named("name=\"empty\"", ""),
            media.clone(),
            named("name=access_token", "t"),
            named("NAME=\"App\\ID\"; x=y", ""),
            part(
                "a: b\r\ncontent-disposition:form-data;name=\"%73ecret\"",
                "s3\r\ns3",
            ),
            named("name=\"secretary\"", "kept"),
        ]);
        let left = form(&[
            named("name=\"______\"", "  "),
            named("name=\"empty\"", ""),
            media,
            named("name=____________", " "),
            named("NAME=\"______\"; x=y", ""),
            part(
                "a: b\r\ncontent-disposition:form-data;name=\"________\"",
                "      ",
            ),
            named("name=\"secretary\"", "kept"),
        ]);
        for at in 0..sent.len() {
            let out = filtered(&sent, at).unwrap();
            assert_eq!(
                String::from_utf8_lossy(&out),
                String::from_utf8_lossy(&left),
                "at {at}"
            );
        }
    }

    #[test]
    fn what_two_readers_could_take_for_different_parts_is_refused() {
        let fine = named("name=\"media\"", "x");
        for sent in [
            b"".to_vec(),
            b"x".to_vec(),
            fine.clone().into_bytes(),
            [b"\n".as_slice(), &form(std::slice::from_ref(&fine))].concat(),
            [form(std::slice::from_ref(&fine)).as_slice(), b"--b0\r\n"].concat(),
            form(&[format!("preamble\r\n{fine}")]),
            form(&[named("name=\"a\"; name=\"secret\"", "x")]),
            form(&[named("name*=utf-8''secret", "x")]),
            form(&[named("name*0=\"sec\"; name*1=\"ret\"", "x")]),
            form(&[named("name='secret", "x").replace("name='", "name ='")]),
            form(&[named("name=\"a\\\"; b=\"", "x")]),
            form(&[named("filename=\"a\"", "x")]),
            form(&[part(
                "Content-Disposition: form-data;\r\n name=\"secret\"",
                "x",
            )]),
            form(&[part(
                "Content-Disposition: form-data;\n name=\"secret\"",
                "x",
            )]),
            form(&[part(
                "Content-Disposition: form-data; name=\"a\"\r\nContent-Disposition: form-data; name=\"secret\"",
                "x",
            )]),
            form(&[part(
                "Content-Disposition : form-data; name=\"secret\"",
                "x",
            )]),
            form(&[part("X: y", "x")]),
            form(&[fine.replace("--b0\r\n", "--b0\r\n\r\n")]),
            form(&[fine.replace("x\r\n", "")]),
            form(&[fine.replace("--b0\r\n", "--b0 \r\n")]),
            form(&[fine.clone(), fine.replace("--b0\r\n", "--b01\r\n")]),
            form(&[fine.replace("x\r\n", "x\n--b0\nname=\"secret\"\n\nx\r\n")]),
            form(&[part(&format!("a: {}", "x".repeat(LONGEST_HEAD)), "x")]),
        ] {
            let seen = filtered(&sent, 0);
            assert_eq!(seen, Err(Ambiguous), "{}", String::from_utf8_lossy(&sent));
        }
    }

    #[test]
    fn a_boundary_is_named_once_and_in_full() {
        for kind in [
            "multipart/form-data; boundary=\"b 0\"",
            "multipart/form-data;charset=utf-8; Boundary=----WebKitFormBoundaryA1",
        ] {
            assert!(filter(kind).is_ok(), "{kind}");
        }
        for kind in [
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=a; boundary=b",
            "multipart/form-data; boundary=\"a",
            "multipart/form-data; boundary=\"a \"",
            "multipart/form-data; boundary=a b",
            &format!("multipart/form-data; boundary={}", "b".repeat(71)),
        ] {
            assert!(filter(kind).is_err(), "{kind}");
        }
    }

    #[test]
    fn little_is_held_of_a_large_part() {
        let mut filter = filter("multipart/form-data; boundary=b0").unwrap();
        let begins = b"--b0\r\nContent-Disposition: form-data; name=\"media\"\r\n\r\n";
        filter.pass(begins).unwrap();
        for _ in 0..100 {
            assert!(filter.pass(&[b'\n'; 8192]).unwrap().len() > 8000);
            assert!(filter.held.len() < 16);
        }
    }

    proptest! {
        #[test]
        fn a_part_is_passed_on_to_the_byte(content: Vec<u8>, at in 0_usize..200) {
            prop_assume!(memmem::find(&content, b"\n--b0").is_none());
            let mut sent = b"--b0\r\nContent-Disposition: form-data; name=\"media\"\r\n\r\n".to_vec();
            sent.extend(content);
            sent.extend(b"\r\n--b0--\r\n");
            let at = at.min(sent.len());
            prop_assert_eq!(filtered(&sent, at), Ok(sent));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, at in 0_usize..64) {
            let bytes = [b"--b0\r\n".as_slice(), &bytes].concat();
            let _ = filtered(&bytes, at.min(bytes.len()));
        }
    }
}
