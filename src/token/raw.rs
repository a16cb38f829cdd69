//! A token as a client sent it or as it was issued, not to be shown.

use std::fmt;

use zeroize::Zeroizing;

/// The text of a token, redacted in `Debug`.
#[derive(Clone)]
pub struct RawToken(Zeroizing<String>);

impl RawToken {
    /// Takes ownership of a token's text.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Opens the token's text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RawToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawToken(…)")
    }
}
