//! The id under which one exchange is found in every log.

use std::fmt;

use bytes::Bytes;
use http::HeaderValue;

use super::Key;

/// Each byte in hexadecimal.
static HEX: [[u8; 2]; 256] = hex();

#[expect(
    clippy::indexing_slicing,
    reason = "it runs when it is compiled, where an index out of range is an error"
)]
const fn hex() -> [[u8; 2]; 256] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut all = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        all[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
        byte += 1;
    }
    all
}

/// A request id, fit for a header and a log.
#[derive(Clone, Debug)]
pub struct RequestId {
    text: HeaderValue,
    key: Key,
}

impl RequestId {
    /// Makes a new one.
    pub fn random() -> Self {
        let number = fastrand::u128(..);
        let mut hex = [0; 32];
        let (pairs, _) = hex.as_chunks_mut();
        for (pair, byte) in pairs.iter_mut().zip(number.to_be_bytes()) {
            *pair = HEX.get(usize::from(byte)).copied().unwrap_or_default();
        }
        let hex = Bytes::copy_from_slice(&hex);
        Self {
            text: HeaderValue::from_maybe_shared(hex).unwrap_or(HeaderValue::from_static("none")),
            key: Key::random(number),
        }
    }

    /// Takes over the one that a proxy in front gave; `None` when it is not fit for a header and a log.
    pub fn adopt(given: &HeaderValue) -> Option<Self> {
        let text = given.to_str().ok().filter(|text| Self::is_fit(text))?;
        Some(Self {
            text: given.clone(),
            key: Key::of(text),
        })
    }

    /// Says whether a text may be an id.
    pub fn is_fit(text: &str) -> bool {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        (1..=128).contains(&text.len()) && text.bytes().all(plain)
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        self.text.to_str().unwrap_or("none")
    }

    /// Returns the id as a header value.
    pub fn value(&self) -> &HeaderValue {
        &self.text
    }

    /// Returns by what it is found among the last exchanges.
    pub fn key(&self) -> Key {
        self.key
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_id_is_32_hex_digits_and_never_the_same() {
        let (one, other) = (RequestId::random(), RequestId::random());
        assert_eq!(one.as_str().len(), 32);
        assert!(one.as_str().bytes().all(|b| b.is_ascii_hexdigit()));
        assert_ne!(one.as_str(), other.as_str());
    }

    #[test]
    fn an_id_is_found_by_its_text_whoever_gave_it() {
        let random = RequestId::random();
        assert_eq!(random.key(), Key::of(random.as_str()));
        let given = HeaderValue::from_str(random.as_str()).unwrap();
        assert_eq!(RequestId::adopt(&given).unwrap().key(), random.key());
    }

    #[test]
    fn only_a_plain_id_is_taken_over() {
        let adopt = |text: &str| RequestId::adopt(&HeaderValue::from_str(text).unwrap());
        assert_eq!(adopt("a-b_c.9").unwrap().as_str(), "a-b_c.9");
        let long = "a".repeat(129);
        for text in ["", "a b", "a;b", "a\"b", &long] {
            assert!(adopt(text).is_none(), "{text}");
        }
    }
}
