//! The one-time code from `wx.login`, checked before it may become part of a URL.

use std::fmt;

use zeroize::Zeroizing;

/// WeChat's codes have 32 characters; more is allowed for, a megabyte is not.
const MAX_BYTES: usize = 512;

/// A code with nothing in it that could change the URL it is sent in.
#[derive(Clone)]
pub struct Code(Zeroizing<String>);

/// Why a text is not a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// There is nothing.
    #[error("the code is empty")]
    Missing,
    /// It is too long or holds something else than letters, digits, `-`, `_`, `.` and `~`.
    #[error("the code is malformed")]
    Malformed,
}

impl Code {
    /// Checks a text that a client sent.
    pub fn parse(text: &str) -> Result<Self, CodeError> {
        if text.is_empty() {
            return Err(CodeError::Missing);
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
        if text.len() > MAX_BYTES || !text.bytes().all(plain) {
            return Err(CodeError::Malformed);
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    /// Opens the code, to send it to WeChat.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_that_could_change_the_url_is_refused() {
        assert!(Code::parse("0a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P").is_ok());
        assert_eq!(Code::parse("").unwrap_err(), CodeError::Missing);
        let long = "0".repeat(10_000);
        for text in [
            "a\"b",
            "a\r\nb",
            "a&appid=wx1",
            "a#b",
            "a\0b",
            "a b",
            "a%26b",
            "é",
            &long,
        ] {
            assert_eq!(Code::parse(text).unwrap_err(), CodeError::Malformed);
        }
    }
}
