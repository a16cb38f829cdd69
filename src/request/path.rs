//! The one reading of a request's path, on which routing decides and which is forwarded.

use std::borrow::Cow;

use super::Denial;

/// A path in normal form: no dot segments, no encoded separators, escapes only where they are needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NormalPath<'a> {
    text: Cow<'a, str>,
    /// Whether a backend might read it differently.
    two_readings: bool,
    has_capitals: bool,
}

impl<'a> NormalPath<'a> {
    /// Normalises a path, or refuses it when two parties could read it in two ways.
    pub fn parse(raw: &'a [u8]) -> Result<Self, Denial> {
        let raw = std::str::from_utf8(raw).map_err(|_| Denial::PathAmbiguous)?;
        if !raw.starts_with('/') {
            return Err(Denial::PathAmbiguous);
        }
        let mut look = Look::at(raw);
        let text = if look.plain {
            Cow::Borrowed(raw)
        } else {
            let text = normalise(raw)?;
            look = Look::at(&text);
            Cow::Owned(text)
        };
        // What Tomcat and others cut off at a semicolon must not hide a dot segment either.
        let is_dots = |segment: &str| matches!(without_parameters(segment), "." | "..");
        if look.dot_begins_segment && text.split('/').any(is_dots) {
            return Err(Denial::PathAmbiguous);
        }
        Ok(Self {
            text,
            two_readings: look.two_readings,
            has_capitals: look.has_capitals,
        })
    }

    /// Returns the path.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Tells whether it was sent as it is, without escapes that hide nothing.
    pub fn is_as_sent(&self) -> bool {
        matches!(self.text, Cow::Borrowed(_))
    }

    /// Tells whether a backend that passes over case reads anything else than what is there.
    pub fn has_capitals(&self) -> bool {
        self.has_capitals
    }

    /// Returns how a backend that merges slashes and cuts path parameters would read it, if differently.
    pub fn other_reading(&self) -> Option<String> {
        if !self.two_readings {
            return None;
        }
        let mut other = String::with_capacity(self.text.len());
        for segment in self.text.split('/') {
            // Cut first: what is empty only then is merged as well, as Tomcat does with "/;x/admin".
            let segment = without_parameters(segment);
            if !segment.is_empty() {
                other.push('/');
                other.push_str(segment);
            }
        }
        if other.is_empty() || self.text.ends_with('/') {
            other.push('/');
        }
        Some(other)
    }
}

/// Cuts what some backends take for parameters of a path segment.
fn without_parameters(segment: &str) -> &str {
    let plain = segment.split(';').next().unwrap_or("");
    plain.split("%3B").next().unwrap_or("")
}

/// What one look at a path tells, which for most paths is that there is nothing more to see.
struct Look {
    plain: bool,
    dot_begins_segment: bool,
    two_readings: bool,
    has_capitals: bool,
}

impl Look {
    fn at(path: &str) -> Self {
        let (mut all, mut any) = (PLAIN, 0);
        let (mut dot_begins_segment, mut two_slashes) = (false, false);
        let mut after_slash = false;
        for byte in path.bytes() {
            let class = CLASSES.get(usize::from(byte)).copied().unwrap_or(0);
            all &= class;
            any |= class;
            dot_begins_segment |= after_slash && byte == b'.';
            two_slashes |= after_slash && byte == b'/';
            after_slash = byte == b'/';
        }
        Self {
            plain: all & PLAIN != 0,
            dot_begins_segment,
            two_readings: two_slashes || any & CUTS != 0,
            has_capitals: any & CAPITAL != 0,
        }
    }
}

/// Means the same to everybody and needs no work.
const PLAIN: u8 = 1;
/// Some backends cut there; some undo the escape of a semicolon first.
const CUTS: u8 = 2;
const CAPITAL: u8 = 4;

/// What each byte is: a table, since every request's path is looked at.
#[expect(
    clippy::indexing_slicing,
    reason = "the compiler does it, and refuses what is out of bounds"
)]
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte: u8 = 0;
    while byte < 0x80 {
        classes[byte as usize] = class_of(byte);
        byte += 1;
    }
    classes
};

const fn class_of(byte: u8) -> u8 {
    match byte {
        b'A'..=b'Z' => PLAIN | CAPITAL,
        b';' => PLAIN | CUTS,
        b'%' => CUTS,
        b'a'..=b'z'
        | b'0'..=b'9'
        | b'-'
        | b'.'
        | b'_'
        | b'~'
        | b'/'
        | b'!'
        | b'$'
        | b'&'
        | b'\''
        | b'('
        | b')'
        | b'*'
        | b'+'
        | b','
        | b'='
        | b':'
        | b'@' => PLAIN,
        _ => 0,
    }
}

fn normalise(raw: &str) -> Result<String, Denial> {
    let mut path = String::with_capacity(raw.len());
    let mut decoded = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        let (value, escaped) = match byte {
            b'%' => (hex(bytes.next())? << 4 | hex(bytes.next())?, true),
            _ => (byte, false),
        };
        decoded.push(value);
        match value {
            0..=0x20 | 0x7f | b'\\' => {
                // A space may travel, but only escaped.
                if value != b' ' || !escaped {
                    return Err(Denial::PathAmbiguous);
                }
                path.push_str("%20");
            }
            b'/' if escaped => return Err(Denial::PathAmbiguous),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                path.push(char::from(value));
            }
            b'#' if !escaped => return Err(Denial::PathAmbiguous),
            0x80.. if !escaped => return Err(Denial::PathAmbiguous),
            // A parser of ours takes them for no part of a URL; escaped they are.
            b'<' | b'>' | b'`' if !escaped => return Err(Denial::PathAmbiguous),
            // What is no part of a URL either, but often sent, has one form, and that is the escaped one.
            _ if escaped || b"\"[]^{|}".contains(&value) => {
                use std::fmt::Write as _;
                let _ = write!(path, "%{value:02X}");
            }
            _ => path.push(char::from(value)),
        }
    }
    // Overlong and broken UTF-8 is read differently by different decoders.
    std::str::from_utf8(&decoded).map_err(|_| Denial::PathAmbiguous)?;
    Ok(path)
}

fn hex(digit: Option<u8>) -> Result<u8, Denial> {
    match digit {
        Some(d @ b'0'..=b'9') => Ok(d - b'0'),
        Some(d @ b'a'..=b'f') => Ok(d - b'a' + 10),
        Some(d @ b'A'..=b'F') => Ok(d - b'A' + 10),
        _ => Err(Denial::PathAmbiguous),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(raw: &str) -> Option<String> {
        NormalPath::parse(raw.as_bytes())
            .ok()
            .map(|path| path.as_str().to_owned())
    }

    #[test]
    fn escapes_that_hide_nothing_are_undone() {
        assert_eq!(parsed("/%61dmin/%7Euser"), Some("/admin/~user".into()));
        assert_eq!(parsed("/a%20b%e4%bd%a0"), Some("/a%20b%E4%BD%A0".into()));
        assert_eq!(parsed("/100%25"), Some("/100%25".into()));
        let one_form = Some("/%22%5B%5D%5E%7B%7C%7D".into());
        assert_eq!(parsed("/\"[]^{|}"), one_form);
        assert_eq!(parsed("/%22%5b%5D%5e%7B%7c%7D"), one_form);
        assert_eq!(parsed("/plain/path.html"), Some("/plain/path.html".into()));
    }

    #[test]
    fn what_two_parties_could_read_in_two_ways_is_refused() {
        for raw in [
            "",
            "x",
            "*",
            "/public/../admin",
            "/public/./x",
            "/..",
            "/.",
            "/a/%2e%2e/b",
            "/a/%2E./b",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/a%00",
            "/a%0d%0a",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a b",
            "/a#b",
            "/a<b",
            "/a>b",
            "/a`b",
            "/a%c0%af",
            "/a%ff",
            "/..;x/b",
            "/..%3bx/b",
            "/a\u{7f}",
            "/a\u{1}",
            "/é",
        ] {
            assert_eq!(parsed(raw), None, "{raw:?}");
        }
    }

    #[test]
    fn other_readings_merge_slashes_and_cut_parameters() {
        let other = |raw: &str| NormalPath::parse(raw.as_bytes()).unwrap().other_reading();
        assert_eq!(other("/admin;x/a"), Some("/admin/a".into()));
        assert_eq!(other("/admin%3bx/a"), Some("/admin/a".into()));
        assert_eq!(other("//admin//"), Some("/admin/".into()));
        assert_eq!(other("/;x/admin"), Some("/admin".into()));
        assert_eq!(other("/;"), Some("/".into()));
        assert_eq!(other("/admin"), None);
    }

    proptest! {
        #[test]
        fn a_normal_path_is_its_own_normal_form(raw in "/[ -~]{0,40}") {
            if let Some(once) = parsed(&raw) {
                prop_assert_eq!(parsed(&once), Some(once.clone()));
                prop_assert!(!once.split('/').any(|s| s == "." || s == ".."));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(raw in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = NormalPath::parse(&raw).map(|path| path.other_reading());
        }
    }
}
