//! Texts that nobody can guess: codes, session_keys and trace ids.

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const CODE_CHARS: usize = 32;
/// The largest multiple of 62 in a byte; bytes from here on would favour the first letters.
const FAIR_BYTES: u8 = 248;

/// Returns a one-time code as `wx.login` gives them: 32 letters and digits, the first a zero.
pub(super) fn code() -> Result<String, Unspecified> {
    let mut text = String::from("0");
    while text.len() < CODE_CHARS {
        let missing = CODE_CHARS - text.len();
        let letters = bytes::<CODE_CHARS>()?
            .into_iter()
            .filter(|byte| *byte < FAIR_BYTES)
            .filter_map(|byte| ALPHABET.get(usize::from(byte) % ALPHABET.len()))
            .map(|letter| char::from(*letter));
        text.extend(letters.take(missing));
    }
    Ok(text)
}

/// Returns a session_key: 16 bytes in base64.
pub(super) fn session_key() -> Result<String, Unspecified> {
    Ok(STANDARD.encode(bytes::<16>()?))
}

/// Returns an access_token: a number, an underscore and base64url.
pub(super) fn access_token() -> Result<String, Unspecified> {
    Ok(format!("90_{}", URL_SAFE_NO_PAD.encode(bytes::<96>()?)))
}

/// Returns an initialization vector.
pub(super) fn vector() -> Result<[u8; 16], Unspecified> {
    bytes()
}

/// Returns a trace id of the given time, as WeChat puts one in every errmsg.
pub(super) fn rid(unix_secs: u64) -> String {
    // A trace id protects nothing, so an answer is not withheld for want of randomness.
    let [a, b] = [bytes(), bytes()].map(|four| u32::from_be_bytes(four.unwrap_or_default()));
    format!("{unix_secs:08x}-{a:08x}-{b:08x}")
}

fn bytes<const N: usize>() -> Result<[u8; N], Unspecified> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_looks_like_one_from_wx_login() {
        let code = code().unwrap();
        assert!(code.starts_with('0'));
        assert_eq!(code.len(), 32);
        assert!(code.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }

    #[test]
    fn a_session_key_is_sixteen_bytes() {
        assert_eq!(STANDARD.decode(session_key().unwrap()).unwrap().len(), 16);
    }

    #[test]
    fn a_trace_id_opens_with_the_time() {
        let rid = rid(0x66c6_9111);
        assert!(rid.starts_with("66c69111-"));
        assert_eq!(rid.len(), 26);
    }
}
