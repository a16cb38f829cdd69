//! The id under which one exchange is found in every log.

use std::fmt;

use http::HeaderValue;

/// A request id, fit for a header and a log.
#[derive(Clone, Debug)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// Makes a new one.
    pub fn random() -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let random = fastrand::u128(..).to_be_bytes();
        let hex: Vec<u8> = random
            .iter()
            .flat_map(|byte| [byte >> 4, byte & 15])
            .filter_map(|nibble| DIGITS.get(usize::from(nibble)).copied())
            .collect();
        Self(HeaderValue::from_maybe_shared(hex).unwrap_or(HeaderValue::from_static("none")))
    }

    /// Takes over the one that a proxy in front gave; `None` when it is not fit for a header and a log.
    pub fn adopt(given: &HeaderValue) -> Option<Self> {
        let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let fit = (1..=128).contains(&given.len()) && given.as_bytes().iter().all(plain);
        fit.then(|| Self(given.clone()))
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or("none")
    }

    /// Returns the id as a header value.
    pub fn value(&self) -> &HeaderValue {
        &self.0
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
    fn only_a_plain_id_is_taken_over() {
        let adopt = |text: &str| RequestId::adopt(&HeaderValue::from_str(text).unwrap());
        assert_eq!(adopt("a-b_c.9").unwrap().as_str(), "a-b_c.9");
        let long = "a".repeat(129);
        for text in ["", "a b", "a;b", "a\"b", &long] {
            assert!(adopt(text).is_none(), "{text}");
        }
    }
}
