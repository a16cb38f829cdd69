//! Checks the bytes of an HTTP/1 head for what is no longer to be seen once it is parsed.

use super::Denial;

/// Refuses a head whose lines two parsers could split differently, and what the parser here has taken out of it.
pub fn check_head(head: &[u8]) -> Result<(), Denial> {
    let mut lines = head.split(|&b| b == b'\n').peekable();
    let (mut first, mut length, mut coding) = (true, false, false);
    while let Some(line) = lines.next() {
        if lines.peek().is_none() {
            // What follows the last line's end.
            break;
        }
        let Some(line) = line
            .strip_suffix(b"\r")
            .filter(|line| !line.contains(&b'\r'))
        else {
            return Err(Denial::BadRequest("A line does not end with CR and LF."));
        };
        if first {
            // Empty lines may come before a request.
            first = line.is_empty();
            if line.contains(&b'#') {
                return Err(Denial::BadRequest("A fragment is not for the server."));
            }
            continue;
        }
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(Denial::BadRequest(
                "A header is continued on a second line.",
            ));
        }
        length |= is_field(line, b"content-length:");
        coding |= is_field(line, b"transfer-encoding:");
    }
    if length && coding {
        return Err(Denial::BadRequest(
            "Content-Length and Transfer-Encoding exclude each other.",
        ));
    }
    Ok(())
}

fn is_field(line: &[u8], name: &[u8]) -> bool {
    line.get(..name.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_with_one_reading_passes() {
        for head in [
            "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
            "\r\nPOST /a?b HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nX-Content-Length: 3\r\n\r\n",
            "GET / HTTP/1.1\r\nX: #not-a-fragment\r\n\r\n",
        ] {
            assert_eq!(check_head(head.as_bytes()), Ok(()), "{head:?}");
        }
    }

    #[test]
    fn a_head_with_two_readings_is_refused() {
        for head in [
            "GET / HTTP/1.1\nHost: h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\n\n",
            "GET / HTTP/1.1\r\nX: a\rb\r\n\r\n",
            "GET / HTTP/1.1\r\nX: a\r\n b\r\n\r\n",
            "GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTRANSFER-ENCODING: chunked\r\nCONTENT-LENGTH: 3\r\n\r\n",
        ] {
            assert!(check_head(head.as_bytes()).is_err(), "{head:?}");
        }
    }
}
