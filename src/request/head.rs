//! Checks the bytes of an HTTP/1 head, before a parser that mends or drops what it should refuse sees them.

use std::ops::Range;

use http::Method;
use httparse::{EMPTY_HEADER, Error, Header, Status};

use super::Denial;
use super::admit::{POSES_AS_FRAMING, host_of, is_length, split_query, split_target};
use super::names::poses_as_framing;

/// The most header lines, which is also the most that pingora takes.
const MOST_LINES: usize = 256;

/// The longest target that pingora takes.
const LONGEST_TARGET: usize = 65_534;

/// What must be known of a head to pass it on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Where the body ends.
    pub framing: Framing,
    /// Where a target in absolute form says what `Host` says again.
    pub origin: Option<Range<usize>>,
}

const MALFORMED: Denial = Denial::BadRequest("The request is malformed.");

/// Where a request's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// After as many bytes as the head says, or at once.
    Length,
    /// Behind the last of its chunks.
    Chunks,
}

/// Refuses a head that two parsers could read differently, or that is none.
///
/// `head` ends with the empty line.
pub fn check_head(head: &[u8]) -> Result<Shape, Denial> {
    let (first, lines) = first_line(head).ok_or(MALFORMED)?;
    let request = check_request_line(first)?;
    check_line_ends(head)?;
    let mut fields = [EMPTY_HEADER; MOST_LINES];
    match httparse::parse_headers(lines, &mut fields) {
        Ok(Status::Complete((_, fields))) => Ok(Shape {
            framing: check_fields(fields, &request)?,
            origin: request.origin,
        }),
        Err(Error::TooManyHeaders) => Err(Denial::HeadersTooLarge),
        Ok(Status::Partial) | Err(_) => Err(MALFORMED),
    }
}

/// Refuses the beginning of a head whose first line is there and is none, so that nobody waits for its end.
pub fn check_start(head: &[u8]) -> Result<(), Denial> {
    match first_line(head) {
        Some((first, _)) => check_request_line(first).map(drop),
        None => Ok(()),
    }
}

/// Returns the first line without its end, and what follows it.
fn first_line(head: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = head.iter().position(|&b| b == b'\n')?;
    let (first, rest) = head.split_at(end);
    Some((first.strip_suffix(b"\r").unwrap_or(first), rest.get(1..)?))
}

fn check_line_ends(head: &[u8]) -> Result<(), Denial> {
    let mut before = 0;
    for &byte in head {
        if (byte == b'\n') != (before == b'\r') {
            return Err(Denial::BadRequest("A line does not end with CR and LF."));
        }
        before = byte;
    }
    Ok(())
}

/// What the first line says of how the rest is read.
struct RequestLine<'a> {
    http10: bool,
    /// The authority of a target in absolute form.
    authority: Option<&'a str>,
    /// Where that stands, with its scheme.
    origin: Option<Range<usize>>,
}

fn check_request_line(line: &[u8]) -> Result<RequestLine<'_>, Denial> {
    let mut words = line.split(|&b| b == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Denial::BadRequest(
            "The first line is not a method, a target and a version.",
        ));
    };
    let start = method.len() + 1;
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
    let http10 = match version {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        _ => return Err(Denial::BadRequest("The version is not one of HTTP/1.")),
    };
    let (authority, path_and_query) = split_target(target)?;
    split_query(path_and_query)?;
    let end = start + target.len() - path_and_query.len();
    Ok(RequestLine {
        http10,
        authority,
        origin: authority.map(|_| start..end),
    })
}

fn check_fields(fields: &[Header<'_>], request: &RequestLine<'_>) -> Result<Framing, Denial> {
    let (mut hosts, mut lengths, mut codings) = (0, 0, 0);
    for Header { name, value } in fields {
        if name.eq_ignore_ascii_case("host") {
            hosts += 1;
            check_host(value, request.authority)?;
        } else if name.eq_ignore_ascii_case("content-length") {
            lengths += 1;
            if !is_length(value) {
                return Err(Denial::BadRequest("The Content-Length is not one number."));
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            codings += 1;
            if request.http10 || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Denial::BadRequest(
                    "The only Transfer-Encoding understood is chunked.",
                ));
            }
        } else if poses_as_framing(name) {
            // Refused here, what follows is never read: it may be what somebody else takes for the body.
            return Err(POSES_AS_FRAMING);
        }
    }
    if hosts == 0 && request.authority.is_some() {
        return Err(Denial::BadRequest("There is no Host."));
    }
    if hosts > 1 {
        return Err(Denial::BadRequest("There is more than one Host."));
    }
    if lengths > 1 || codings > 1 {
        return Err(Denial::BadRequest("The body's length is said twice."));
    }
    if lengths + codings > 1 {
        return Err(Denial::BadRequest(
            "Content-Length and Transfer-Encoding exclude each other.",
        ));
    }
    Ok(match codings {
        0 => Framing::Length,
        _ => Framing::Chunks,
    })
}

fn check_host(value: &[u8], authority: Option<&str>) -> Result<(), Denial> {
    let host = std::str::from_utf8(value).map_err(|_| MALFORMED)?;
    if authority.is_some_and(|authority| !authority.eq_ignore_ascii_case(host)) {
        return Err(Denial::BadRequest("The target and the Host disagree."));
    }
    host_of(host).map(drop)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
            assert_eq!(
                check_head(head.as_bytes()).map(|shape| shape.framing),
                Ok(if head.contains("chunked") {
                    Framing::Chunks
                } else {
                    Framing::Length
                }),
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
            "GET / HTTP/1.2\r\nHost: h\r\n\r\n",
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
            "POST / HTTP/1.1\r\nTransfer_Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nCONTENT.length: 3\r\n\r\n",
        ] {
            assert!(check_head(head.as_bytes()).is_err(), "{head:?}");
        }
    }

    #[test]
    fn the_shape_of_a_head_is_known() {
        let shape = |head: &str| check_head(head.as_bytes()).unwrap();
        let plain = shape("GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!((plain.framing, plain.origin), (Framing::Length, None));
        let chunked = shape("GET /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert_eq!(chunked.framing, Framing::Chunks);
        let absolute = shape("GET http://h/x HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(absolute.origin, Some(4..12));
    }

    #[test]
    fn too_many_lines_are_too_large() {
        let head = format!("GET / HTTP/1.1\r\n{}\r\n", "X: a\r\n".repeat(257));
        assert_eq!(check_head(head.as_bytes()), Err(Denial::HeadersTooLarge));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(head in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = check_head(&head);
        }
    }
}
