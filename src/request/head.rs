//! Parses the head of an HTTP/1 request, and refuses what two parsers could read differently.

use std::ops::Range;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use httparse::{EMPTY_HEADER, Error, Header, Status, parse_headers};
use memchr::{memchr, memchr_iter};

use super::admit::{MOST_LINES, host_of, length, same_authority, split_query, split_target};
use super::{Denial, Message};

/// Most heads have no more lines, and a larger table costs each of them its initialisation.
const FEW_LINES: usize = 32;
/// The longest target.
const LONGEST_TARGET: usize = 65_534;

const MALFORMED: Denial = Denial::BadRequest("The request is malformed.");

/// A head that has one reading.
#[derive(Clone, Debug)]
pub struct Head {
    /// The method.
    pub method: Method,
    /// The target in origin form.
    pub target: Bytes,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// The header section.
    pub headers: HeaderMap,
    /// Where each key of `headers` stands in the head, in their order.
    pub names: Vec<Range<u32>>,
    /// Where the body ends.
    pub framing: Framing,
}

impl Head {
    /// Returns what the decision reads.
    pub fn message(&self) -> Message<'_> {
        Message {
            method: &self.method,
            target: &self.target,
            authority: None,
            version: self.version,
            headers: &self.headers,
        }
    }
}

/// Where a request's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// After so many bytes; 0 without a body.
    Length(u64),
    /// Behind the last of its chunks.
    Chunks,
}

/// Looks for the end of a head in `head`, of which the first `seen` bytes were looked at before.
///
/// Returns where the head ends, if it does. Each byte is looked at once.
pub fn end_of_head(head: &[u8], seen: usize) -> Result<Option<usize>, Denial> {
    const LINE_END: Denial = Denial::BadRequest("A line does not end with CR and LF.");
    let from = seen.saturating_sub(1);
    for feed in memchr_iter(b'\n', head.get(from..).unwrap_or(&[])) {
        let feed = from + feed;
        if feed < seen {
            continue;
        }
        let line = head.get(..feed).unwrap_or(&[]);
        if !line.ends_with(b"\r") {
            return Err(LINE_END);
        }
        if line.ends_with(b"\r\n\r") || line == b"\r" {
            return Ok(Some(feed + 1));
        }
    }
    Ok(None)
}

/// Refuses the beginning of a head whose first line is there and is none, so that nobody waits for its end.
pub fn check_start(head: &[u8]) -> Result<(), Denial> {
    match first_line(head) {
        Some(first) => RequestLine::parse(first).map(drop),
        None => Ok(()),
    }
}

/// Parses a head, which ends with the empty line.
pub fn parse_head(head: &Bytes) -> Result<Head, Denial> {
    let first = first_line(head).ok_or(MALFORMED)?;
    let line = RequestLine::parse(first)?;
    let lines = head.get(first.len() + 2..).ok_or(MALFORMED)?;
    let (mut few, mut many);
    few = [EMPTY_HEADER; FEW_LINES];
    let fields = match parse_headers(lines, &mut few) {
        Err(Error::TooManyHeaders) => {
            many = [EMPTY_HEADER; MOST_LINES];
            parse_headers(lines, &mut many)
        }
        parsed => parsed,
    };
    let fields = match fields {
        Ok(Status::Complete((_, fields))) => fields,
        Err(Error::TooManyHeaders) => return Err(Denial::HeadersTooLarge),
        Ok(Status::Partial) | Err(_) => return Err(MALFORMED),
    };
    let mut headers = HeaderMap::with_capacity(fields.len());
    let mut names = Vec::with_capacity(fields.len());
    let mut framing = Fields::default();
    for Header { name, value } in fields {
        let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| MALFORMED)?;
        framing.note(&parsed, value, &line)?;
        let value = HeaderValue::from_maybe_shared(head.slice_ref(value)).map_err(|_| MALFORMED)?;
        if !headers.append(parsed, value) {
            names.push(range_of(head, name.as_bytes()));
        }
    }
    Ok(Head {
        framing: framing.finish(&line)?,
        target: line.origin_form(head),
        version: line.version,
        method: line.method,
        headers,
        names,
    })
}

/// Returns the first line without its end.
fn first_line(head: &[u8]) -> Option<&[u8]> {
    let end = memchr(b'\n', head)?;
    let line = head.get(..end)?;
    Some(line.strip_suffix(b"\r").unwrap_or(line))
}

/// What the first line says.
struct RequestLine<'a> {
    method: Method,
    /// In origin form, as far as it was sent.
    target: &'a [u8],
    version: Version,
    /// The scheme and the authority of a target in absolute form.
    authority: Option<(&'a str, &'a str)>,
}

impl<'a> RequestLine<'a> {
    fn parse(line: &'a [u8]) -> Result<Self, Denial> {
        let mut words = line.split(|&b| b == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(Denial::BadRequest(
                "The first line is not a method, a target and a version.",
            ));
        };
        let method = Method::from_bytes(method).map_err(|_| MALFORMED)?;
        if method == Method::CONNECT {
            return Err(Denial::MethodNotAllowed(Vec::new()));
        }
        if target.len() > LONGEST_TARGET {
            return Err(Denial::HeadersTooLarge);
        }
        let control = target.iter().any(|&b| b < 0x20 || b == 0x7f);
        if target.is_empty() || control || std::str::from_utf8(target).is_err() {
            return Err(Denial::PathAmbiguous);
        }
        let version = match version {
            b"HTTP/1.1" => Version::HTTP_11,
            b"HTTP/1.0" => Version::HTTP_10,
            // RFC 9112, section 2.3: a higher minor version is read as the highest one that is known.
            [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9'] => Version::HTTP_11,
            _ => return Err(Denial::BadRequest("The version is not one of HTTP/1.")),
        };
        let (authority, target) = split_target(target)?;
        split_query(target)?;
        Ok(Self {
            method,
            target,
            version,
            authority,
        })
    }

    /// Returns the target to decide on; an empty path is `/` (RFC 9110, section 4.2.3).
    fn origin_form(&self, head: &Bytes) -> Bytes {
        if self.target.starts_with(b"/") {
            return head.slice_ref(self.target);
        }
        Bytes::from([b"/", self.target].concat())
    }
}

/// The fields that decide where a message ends and whom it is for, as far as they were seen.
#[derive(Default)]
struct Fields {
    hosts: u32,
    codings: u32,
    length: Option<u64>,
    lengths: u32,
}

impl Fields {
    fn note(
        &mut self,
        name: &HeaderName,
        value: &[u8],
        line: &RequestLine<'_>,
    ) -> Result<(), Denial> {
        if *name == HOST {
            self.hosts += 1;
            check_host(value, line.authority)?;
        } else if *name == CONTENT_LENGTH {
            self.lengths += 1;
            self.length = length(value);
            if self.length.is_none() {
                return Err(Denial::BadRequest("The Content-Length is not one number."));
            }
        } else if *name == TRANSFER_ENCODING {
            self.codings += 1;
            if line.version == Version::HTTP_10 || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Denial::BadRequest(
                    "The only Transfer-Encoding understood is chunked.",
                ));
            }
        }
        Ok(())
    }

    fn finish(self, line: &RequestLine<'_>) -> Result<Framing, Denial> {
        if self.hosts == 0 && line.authority.is_some() {
            return Err(Denial::BadRequest("There is no Host."));
        }
        if self.hosts > 1 {
            return Err(Denial::BadRequest("There is more than one Host."));
        }
        if self.lengths > 1 || self.codings > 1 {
            return Err(Denial::BadRequest("The body's length is said twice."));
        }
        if self.lengths + self.codings > 1 {
            return Err(Denial::BadRequest(
                "Content-Length and Transfer-Encoding exclude each other.",
            ));
        }
        Ok(match self.codings {
            0 => Framing::Length(self.length.unwrap_or(0)),
            _ => Framing::Chunks,
        })
    }
}

fn check_host(value: &[u8], authority: Option<(&str, &str)>) -> Result<(), Denial> {
    let host = std::str::from_utf8(value).map_err(|_| MALFORMED)?;
    if authority.is_some_and(|(scheme, authority)| !same_authority(scheme, authority, host)) {
        return Err(Denial::BadRequest("The target and the Host disagree."));
    }
    host_of(host).map(drop)
}

/// Returns where a part of a head stands in it.
fn range_of(head: &[u8], part: &[u8]) -> Range<u32> {
    let start = part.as_ptr() as usize - head.as_ptr() as usize;
    // A head is far shorter than what fits.
    start as u32..(start + part.len()) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Finds the end of a head and parses it, as a connection does.
    fn parsed(head: &str) -> Result<Head, Denial> {
        let end = end_of_head(head.as_bytes(), 0)?;
        assert_eq!(end, Some(head.len()), "{head:?}");
        parse_head(&Bytes::copy_from_slice(head.as_bytes()))
    }

    #[test]
    fn a_head_with_one_reading_passes() {
        for head in [
            "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /你好 HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET / HTTP/1.0\r\n\r\n",
            "POST /a?b HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nX-Content-Length: 3\r\n\r\n",
            "GET / HTTP/1.1\r\nX: #not-a-fragment\r\n\r\n",
            "GET http://H/x HTTP/1.1\r\nHost: h\r\n\r\n",
        ] {
            let expected = if head.contains("chunked") {
                Framing::Chunks
            } else {
                Framing::Length(
                    if head.contains("Length: 3\r\n\r\n") && !head.contains("X-C") {
                        3
                    } else {
                        0
                    },
                )
            };
            assert_eq!(
                parsed(head).map(|head| head.framing),
                Ok(expected),
                "{head:?}"
            );
        }
    }

    #[test]
    fn a_head_with_two_readings_is_refused() {
        for head in [
            "GET / HTTP/1.1\nHost: h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\n\n",
            "GET / HTTP/1.1\r\nX: a\rb\r\n\r\n",
            "GET / HTTP/1.1\r\nX: a\r\n b\r\n\r\n",
            "GET / HTTP/1.1\r\nX : a\r\n\r\n",
            "GET / HTTP/1.1\r\nX: a\0b\r\n\r\n",
            "GET / HTTP/1.1\r\nno colon\r\n\r\n",
            "GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /<b HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /?<b HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET http://h/x HTTP/1.1\r\n\r\n",
            "GET /\tb HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET / HTTP/1.20\r\nHost: h\r\n\r\n",
            "GET http://other/ HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET http://h:81/ HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET http://h:443/ HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET http:///x HTTP/1.1\r\nHost:\r\n\r\n",
            "GET / HTTP/2.0\r\nHost: h\r\n\r\n",
            "GET /\r\n\r\n",
            "G(T / HTTP/1.1\r\n\r\n",
            "CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nhost: h\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: +3\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTRANSFER-ENCODING: chunked\r\nCONTENT-LENGTH: 3\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            assert!(parsed(head).is_err(), "{head:?}");
        }
    }

    #[test]
    fn a_target_in_absolute_form_is_read_in_origin_form() {
        for (target, host, expected) in [
            ("http://h/x", "h", "/x"),
            ("http://H:80/x", "h", "/x"),
            ("http://h", "h:80", "/"),
            ("HTTPS://h:443?x=1", "h", "/?x=1"),
            ("/x", "h", "/x"),
        ] {
            let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert_eq!(parsed(&head).unwrap().target, expected, "{target}");
        }
    }

    #[test]
    fn the_spelling_of_each_name_is_found_again() {
        let head = "GET / HTTP/1.1\r\nHost: h\r\nX-aB: 1\r\nx-Ab: 2\r\nX-C: 3\r\n\r\n";
        let parsed = parsed(head).unwrap();
        let spelled =
            |range: &Range<u32>| head.get(range.start as usize..range.end as usize).unwrap();
        let names: Vec<&str> = parsed.names.iter().map(spelled).collect();
        assert_eq!(names, ["Host", "X-aB", "X-C"]);
        let keys: Vec<&str> = parsed.headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(keys, ["host", "x-ab", "x-c"]);
    }

    #[test]
    fn too_many_lines_are_too_large() {
        let head = |lines| {
            format!(
                "GET / HTTP/1.1\r\nHost: h\r\n{}\r\n",
                "X: a\r\n".repeat(lines)
            )
        };
        assert!(parsed(&head(255)).is_ok());
        assert_eq!(parsed(&head(256)).unwrap_err(), Denial::HeadersTooLarge);
    }

    #[test]
    fn the_end_is_found_wherever_the_reads_were_cut() {
        let head = b"GET / HTTP/1.1\r\nHost: h\r\n\r\nbody";
        let end = head.len() - 4;
        for cut in 0..head.len() {
            let early = end_of_head(&head[..cut], 0);
            assert_eq!(early, Ok((cut >= end).then_some(end)), "{cut}");
            if early == Ok(None) {
                assert_eq!(end_of_head(head, cut), Ok(Some(end)), "{cut}");
            }
        }
        assert!(end_of_head(b"GET / HTTP/1.1\n\nx", 0).is_err());
        assert_eq!(end_of_head(b"GET / HTTP/1.1\r\n", 0), Ok(None));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(head in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_head(&Bytes::from(head));
        }
    }
}
