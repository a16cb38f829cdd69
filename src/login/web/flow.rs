//! A login on its way: what a browser keeps of it, sealed, until it comes back from WeChat.

use std::time::Duration;

use aws_lc_rs::rand;
use serde::{Deserialize, Serialize};

use super::return_to::ReturnTo;
use crate::request::Denial;
use crate::secret::Secret;
use crate::session::{Sessions, StoreError};

/// WeChat's codes are good for ten minutes at most; a person may look at the page for some before that.
pub(in crate::login) const LONGEST_FLOW: Duration = Duration::from_secs(900);

const PURPOSE: &str = "a login on its way";
const STATE_CHARS: usize = 40;
/// WeChat takes no more, and no other characters than letters and digits.
const MOST_STATE_BYTES: usize = 128;
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// What a browser keeps.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Flow {
    /// What comes back from WeChat.
    #[serde(rename = "s")]
    pub(super) state: String,
    #[serde(rename = "a")]
    pub(super) app: String,
    #[serde(rename = "r")]
    return_to: String,
    /// When it is over, in Unix seconds.
    #[serde(rename = "e")]
    pub(super) expires: u64,
}

impl Flow {
    /// Begins one.
    pub(super) fn begin(app: &str, return_to: &ReturnTo, now: u64) -> Result<Self, Denial> {
        Ok(Self {
            state: state().map_err(Denial::from)?,
            app: app.to_owned(),
            return_to: return_to.as_str().to_owned(),
            expires: now.saturating_add(LONGEST_FLOW.as_secs()),
        })
    }

    /// Writes it for a browser to keep.
    pub(super) fn seal(&self, sessions: &Sessions) -> Result<String, Denial> {
        let text = serde_json::to_string(self).map_err(|_| Denial::Internal)?;
        Ok(sessions.seal_for(PURPOSE, &Secret::new(text))?)
    }

    /// Reads what a browser kept; `None` for what is not ours.
    pub(super) fn open(sessions: &Sessions, sealed: &str) -> Option<Self> {
        let text = sessions.open_sealed(PURPOSE, sealed)?;
        serde_json::from_str(text.expose()).ok()
    }

    /// Returns where the browser goes at the end, checked by the configuration of now.
    pub(super) fn return_to(&self, origins: &[String]) -> Result<ReturnTo, Denial> {
        // It may be escaped already, which changes nothing about a path in escapes.
        ReturnTo::parse(Some(&self.return_to), origins)
    }

    /// Returns whether a text is of the form that a state has.
    pub(super) fn is_state(text: &str) -> bool {
        (1..=MOST_STATE_BYTES).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
    }
}

/// Draws a state: 200 bits that nobody can guess.
fn state() -> Result<String, StoreError> {
    let mut bytes = [0_u8; STATE_CHARS];
    rand::fill(&mut bytes)?;
    let letters = bytes.iter().filter_map(|byte| {
        // The alphabet has a power of two, so that no letter is likelier.
        ALPHABET.get(usize::from(*byte) % ALPHABET.len())
    });
    Ok(letters.map(|letter| char::from(*letter)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_what_wechat_takes() {
        let (one, other) = (state().unwrap(), state().unwrap());
        assert!(Flow::is_state(&one), "{one}");
        assert_eq!(one.len(), STATE_CHARS);
        assert_ne!(one, other);
        for text in ["", "a-b", "a b", "é", &"a".repeat(129)] {
            assert!(!Flow::is_state(text), "{text}");
        }
    }
}
