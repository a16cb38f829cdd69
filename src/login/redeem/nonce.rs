//! The nonce by which a client that sends a code again proves to be the one that sent it first.

use crate::request::Denial;
use crate::secret::Secret;

const SHORTEST: usize = 16;
const LONGEST: usize = 64;

/// A nonce too long to be guessed; redacted in `Debug`, wiped when dropped.
#[derive(Clone, Debug)]
pub struct Nonce(Secret);

impl Nonce {
    /// Checks a text that a client sent.
    pub fn parse(text: &str) -> Result<Self, Denial> {
        // Characters that a header can carry as well.
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        if !visible || !(SHORTEST..=LONGEST).contains(&text.len()) {
            return Err(Denial::BadRequest(
                "The nonce must be 16 to 64 visible ASCII characters.",
            ));
        }
        Ok(Self(Secret::new(text)))
    }

    pub(super) fn expose(&self) -> &str {
        self.0.expose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_has_16_to_64_characters_that_a_header_can_carry() {
        for length in [16, 17, 64] {
            assert!(Nonce::parse(&"n".repeat(length)).is_ok(), "{length}");
        }
        for text in [
            "",
            "n",
            "0123456789abcde",
            "0123456789abcde ",
            "0123456789abcdé",
        ] {
            assert!(Nonce::parse(text).is_err(), "{text}");
        }
        assert!(Nonce::parse(&"n".repeat(65)).is_err());
    }

    #[test]
    fn a_nonce_is_not_in_its_debug_form() {
        let nonce = Nonce::parse("0123456789abcdef").unwrap();
        assert!(!format!("{nonce:?}").contains(nonce.expose()));
    }
}
