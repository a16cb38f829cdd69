//! The one reading of a request's path, on which routing decides and which is forwarded.

use std::borrow::Cow;

use super::Denial;
use super::lookalike::folded;

/// How often a backend may decode a path again before nobody can say what it reads.
const DECODED_AGAIN: u8 = 4;

/// A path in normal form: no dot segments, no encoded separators, escapes only where they are needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NormalPath<'a> {
    text: Cow<'a, str>,
    /// Whether a backend might read it differently.
    two_readings: bool,
    has_capitals: bool,
    /// What few paths have.
    rare: Option<Box<Rare>>,
}

/// What a path with escapes may be to a backend that does more with them than to undo them once.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rare {
    folded: Option<String>,
    again: Option<NormalPath<'static>>,
}

impl<'a> NormalPath<'a> {
    /// Normalises a path, or refuses it when two parties could read it in two ways.
    pub fn parse(raw: &'a [u8]) -> Result<Self, Denial> {
        let raw = std::str::from_utf8(raw).map_err(|_| Denial::PathAmbiguous)?;
        if !raw.starts_with('/') {
            return Err(Denial::PathAmbiguous);
        }
        Self::read(raw, DECODED_AGAIN)
    }

    fn read(raw: &'a str, times: u8) -> Result<Self, Denial> {
        let mut look = Look::at(raw);
        let text = if look.plain {
            Cow::Borrowed(raw)
        } else {
            let text = normalise(raw)?;
            look = Look::at(&text);
            Cow::Owned(text)
        };
        if look.dot_begins_segment && has_dot_segment(&text) {
            return Err(Denial::PathAmbiguous);
        }
        let rare = match look.has_escapes {
            true => Rare::of(&text, times)?,
            false => None,
        };
        Ok(Self {
            text,
            two_readings: look.two_readings,
            has_capitals: look.has_capitals,
            rare,
        })
    }

    /// Returns the path.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns whether it was sent as it is, without escapes that hide nothing.
    pub fn is_as_sent(&self) -> bool {
        matches!(self.text, Cow::Borrowed(_))
    }

    /// Returns whether a backend that passes over case reads anything else than what is there.
    pub fn has_capitals(&self) -> bool {
        self.has_capitals
    }

    /// Returns how a backend that merges slashes and cuts path parameters would read it, if differently.
    pub fn other_reading(&self) -> Option<String> {
        self.two_readings.then(|| merged(&self.text))
    }

    /// Returns how a backend would read it that decodes it once more, if differently.
    pub fn decoded_again(&self) -> Option<&NormalPath<'static>> {
        self.rare.as_ref()?.again.as_ref()
    }

    /// Returns how a backend would read it, as it is and with slashes merged and parameters cut, that takes look-alikes for
    /// ASCII, in small letters and without escapes; `None` where it has nothing but ASCII.
    pub fn folded(&self) -> Option<[String; 2]> {
        let folded = self.rare.as_ref()?.folded.as_ref()?;
        Some([folded.clone(), merged(folded)])
    }

    fn into_owned(self) -> NormalPath<'static> {
        NormalPath {
            text: Cow::Owned(self.text.into_owned()),
            two_readings: self.two_readings,
            has_capitals: self.has_capitals,
            rare: self.rare,
        }
    }
}

impl Rare {
    fn of(path: &str, times: u8) -> Result<Option<Box<Self>>, Denial> {
        let folded = folded(path);
        let separators = ['/', '\\'];
        let dots = |path: &str| path.split(separators).any(has_dot_segment);
        if folded.as_deref().is_some_and(dots) {
            return Err(Denial::PathAmbiguous);
        }
        let again = match (undo_percent(path), times.checked_sub(1)) {
            (None, _) => None,
            // Nobody escapes so often who does not mean to hide something.
            (Some(_), None) => return Err(Denial::PathAmbiguous),
            (Some(again), Some(times)) => Some(NormalPath::read(&again, times)?.into_owned()),
        };
        let is_rare = folded.is_some() || again.is_some();
        Ok(is_rare.then(|| Box::new(Self { folded, again })))
    }
}

/// Undoes the escape of each percent sign that begins an escape then; `None` where none does.
fn undo_percent(path: &str) -> Option<String> {
    let mut parts = path.split("%25");
    let mut undone = String::with_capacity(path.len());
    undone.push_str(parts.next()?);
    let mut any = false;
    for part in parts {
        let mut digits = part.bytes();
        let is_escape = hex(digits.next()).is_ok() && hex(digits.next()).is_ok();
        undone.push_str(if is_escape { "%" } else { "%25" });
        undone.push_str(part);
        any |= is_escape;
    }
    any.then_some(undone)
}

/// Returns whether a path holds a dot segment, which what Tomcat and others cut off at a semicolon must not hide either.
fn has_dot_segment(path: &str) -> bool {
    let is_dots = |segment: &str| matches!(without_parameters(segment), "." | "..");
    path.split('/').any(is_dots)
}

/// Merges slashes and cuts path parameters.
fn merged(path: &str) -> String {
    let mut other = String::with_capacity(path.len());
    for segment in path.split('/') {
        // Cut first: what is empty only then is merged as well, as Tomcat does with "/;x/admin".
        let segment = without_parameters(segment);
        if !segment.is_empty() {
            other.push('/');
            other.push_str(segment);
        }
    }
    if other.is_empty() || path.ends_with('/') {
        other.push('/');
    }
    other
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
    has_escapes: bool,
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
            has_escapes: any & ESCAPE != 0,
        }
    }
}

/// Means the same to everybody and needs no work.
const PLAIN: u8 = 1;
/// Some backends cut there; some undo the escape of a semicolon first.
const CUTS: u8 = 2;
const CAPITAL: u8 = 4;
/// A backend may undo more than one escape.
const ESCAPE: u8 = 8;

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
        b'%' => CUTS | ESCAPE,
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

    #[test]
    fn what_becomes_a_dot_segment_or_a_separator_by_decoding_again_is_refused() {
        for raw in [
            "/public/%252e%252e/a",
            "/public/%252E%2e/a",
            "/public/.%252e/a",
            "/public/%25%32%65%25%32%65/a",
            "/public/%25252e%25252e/a",
            "/public/%2525252525252e./a",
            "/public%252fa",
            "/public%252Fa",
            "/public%255ca",
            "/public%25255ca",
            "/a%2500",
            "/a%250d",
            "/%252e%252e%253bx/a",
            "/a%25c0%25af",
            "/a%25ff",
            "/a/%E2%80%A5/b",
            "/a/%EF%BC%8E%EF%BC%8E/b",
            "/a%EF%BC%8F..%EF%BC%8Fb",
            "/a%EF%BC%BC..%EF%BC%BCb",
            "/a/%25E2%2580%25A5/b",
            "/%252525252561",
        ] {
            assert_eq!(parsed(raw), None, "{raw:?}");
        }
        for raw in [
            "/100%25",
            "/100%25/%25",
            "/a%2520b",
            "/%25252541",
            "/%25E4%25BD%25A0",
            "/%E4%BD%A0%EF%BC%8F2024%EF%BC%9B",
            "/a%25.%25./b",
        ] {
            assert_eq!(parsed(raw).as_deref(), Some(raw));
        }
    }

    #[test]
    fn a_path_says_how_it_reads_when_it_is_decoded_again() {
        let again = |raw: &str| {
            let path = NormalPath::parse(raw.as_bytes()).unwrap();
            path.decoded_again().map(|again| again.as_str().to_owned())
        };
        assert_eq!(again("/%2561dmin"), Some("/admin".into()));
        assert_eq!(again("/%252561dmin"), Some("/%2561dmin".into()));
        assert_eq!(again("/100%25"), None);
        assert_eq!(again("/a%20b%25"), None);
        assert_eq!(again("/%2525"), Some("/%25".into()));
        assert_eq!(again("/%25zz%2541"), Some("/%25zzA".into()));
    }

    proptest! {
        #[test]
        fn no_path_is_a_dot_segment_or_has_more_segments_however_often_it_is_decoded(
            raw in "/(%25|%|25|2e|2f|5c|E2|80|A5|EF|BC|8F|[.a/%;]){0,14}",
        ) {
            if let Some(path) = parsed(&raw) {
                let segments = path.split('/').count();
                let mut decoded = path.into_bytes();
                for _ in 0..8 {
                    decoded = percent_encoding::percent_decode(&decoded).collect();
                    let text = std::str::from_utf8(&decoded).unwrap();
                    prop_assert!(!has_dot_segment(text), "{text}");
                    prop_assert_eq!(text.split('/').count(), segments);
                    prop_assert!(!text.contains('\\'));
                }
            }
        }

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
