//! What a form of several parts and each of its parts say of themselves: read only where everybody reads it alike.

use memchr::memmem;

/// RFC 2046, section 5.1.1.
const LONGEST_BOUNDARY: usize = 70;
pub(super) const CRLF: &[u8] = b"\r\n";
const FIELD: &[u8] = b"content-disposition";

/// Finds the boundary that is named once.
pub(super) fn boundary(kind: &[u8]) -> Option<&[u8]> {
    let mut found = params(kind)?
        .into_iter()
        .filter(|param| param.is(b"boundary"));
    let (Some(param), None) = (found.next(), found.next()) else {
        return None;
    };
    let boundary = kind.get(param.from..param.to)?;
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(byte);
    let fits = (1..=LONGEST_BOUNDARY).contains(&boundary.len()) && boundary.last() != Some(&b' ');
    (fits && boundary.iter().all(plain)).then_some(boundary)
}

/// Finds where the name stands in the head of a part.
pub(super) fn name_in(head: &[u8]) -> Option<(usize, usize)> {
    let (mut at, mut found) = (0, None);
    for line in split_lines(head)? {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = line.split_at_checked(colon)?;
        if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        if name.eq_ignore_ascii_case(FIELD) {
            let mut names = params(value)?
                .into_iter()
                .filter(|param| param.is(b"name") || param.is(b"name*") || param.is(b"name*0"));
            let (Some(param), None, None) = (names.next(), names.next(), found) else {
                return None;
            };
            if !param.is(b"name") {
                return None;
            }
            found = Some((at + colon + param.from, at + colon + param.to));
        }
        at += line.len() + CRLF.len();
    }
    found
}

/// Splits a head at its line ends, if there are no others in it.
fn split_lines(head: &[u8]) -> Option<Vec<&[u8]>> {
    let mut lines = Vec::new();
    let mut rest = head;
    loop {
        let end = memmem::find(rest, CRLF).unwrap_or(rest.len());
        let (line, behind) = rest.split_at_checked(end)?;
        let odd = |byte: &u8| matches!(byte, b'\r' | b'\n' | 0);
        if line.iter().any(odd) || matches!(line.first(), None | Some(b' ' | b'\t')) {
            return None;
        }
        lines.push(line);
        match behind.strip_prefix(CRLF) {
            Some(behind) => rest = behind,
            None => return Some(lines),
        }
    }
}

/// A parameter, and where its value stands.
struct Param<'v> {
    name: &'v [u8],
    from: usize,
    to: usize,
}

impl Param<'_> {
    fn is(&self, name: &[u8]) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// Reads the parameters behind the first `;`, if each is a word, `=` and a word or a text in quotes without escapes of quotes.
fn params(value: &[u8]) -> Option<Vec<Param<'_>>> {
    let mut found = Vec::new();
    let mut at = match value.iter().position(|byte| *byte == b';') {
        Some(at) => at,
        None => return Some(found),
    };
    loop {
        at = skip_blank(value, at);
        match value.get(at) {
            None => return Some(found),
            Some(b';') => at = skip_blank(value, at + 1),
            Some(_) => return None,
        }
        if at == value.len() {
            return Some(found);
        }
        let length = value.get(at..)?.iter().position(|byte| *byte == b'=')?;
        let name = value.get(at..at + length)?;
        let is_word = |byte: &u8| byte.is_ascii_graphic() && !b"\"\\;=".contains(byte);
        if name.is_empty() || !name.iter().all(is_word) {
            return None;
        }
        at += length + 1;
        let (from, rest) = match value.get(at) {
            Some(b'"') => (at + 1, value.get(at + 1..)?),
            _ => (at, value.get(at..)?),
        };
        let to = if from > at {
            // A quote in an escape ends the text for one reader and not for another.
            let length = rest.iter().position(|byte| *byte == b'"')?;
            let escaped = rest.get(..length)?.last() == Some(&b'\\');
            (!escaped).then_some(from + length)?
        } else {
            let length = rest.iter().position(|byte| !is_word(byte));
            from + length.unwrap_or(rest.len())
        };
        found.push(Param { name, from, to });
        at = if from > at { to + 1 } else { to };
    }
}

fn skip_blank(value: &[u8], at: usize) -> usize {
    let rest = value.get(at..).unwrap_or_default();
    let blank = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t'));
    at + blank.count()
}
