//! What is kept of a one-time code while it is redeemed, and after that: a digest, who redeems it, and what it brought.

use std::time::Duration;

use aws_lc_rs::{hmac, rand};

use super::{Opened, SenderMark, SessionId, StoreError};

/// A code, as a digest under a key that all nodes of one store share; nobody finds a code by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CodeMark([u8; 16]);

impl CodeMark {
    pub(super) fn new(key: &hmac::Key, appid: &str, code: &str) -> Self {
        // No appid holds a NUL.
        let mut context = hmac::Context::with_key(key);
        context.update(appid.as_bytes());
        context.update(&[0]);
        context.update(code.as_bytes());
        let tag = context.sign();
        let mut out = [0; 16];
        for (to, from) in out.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        Self(out)
    }

    /// Returns what no code has.
    pub(crate) const fn of_nothing() -> Self {
        Self([0; 16])
    }

    pub(super) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub(super) const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// Names one attempt to redeem a code, so that nobody gives back what another took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder([u8; 8]);

impl Holder {
    /// Draws one.
    pub fn random() -> Result<Self, StoreError> {
        let mut bytes = [0; 8];
        rand::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    pub(super) const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

/// The use of a code that opens a session.
#[derive(Clone, Copy, Debug)]
pub struct CodeUse {
    /// The code.
    pub code: CodeMark,
    /// Who sent it first.
    pub first: SenderMark,
    /// For how long it brings its session again.
    pub keep: Duration,
    /// What is not good again for this time, whatever becomes of the process; `None` where WeChat itself refuses a second use.
    pub spends: Option<(CodeMark, Duration)>,
}

/// Who redeems a code.
#[derive(Debug)]
pub enum Claim {
    /// Whoever asked, and nobody else until this is given back or the session is stored.
    Yours,
    /// Another node, at this moment.
    Elsewhere,
    /// Another node that has not been heard of since, so that nobody knows whether the code is spent.
    Lost,
    /// It was redeemed, for this session, which stands as it was opened: whoever is its first sender gets it again for this
    /// time.
    Done(Box<Opened>, SenderMark, Duration),
    /// It was redeemed for a session that has ended or has been refreshed, or for one that is not kept by the code.
    Spent(Option<SessionId>),
    /// WeChat refused it with this errcode; others are told so for this time.
    Refused(i64, Duration),
    /// WeChat took it, and its session could not be stored; others are told so for this time.
    NotStored(Duration),
}

/// The stored state of a code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Held {
    Yours,
    Elsewhere,
    Lost,
    /// It was spent, and nothing else is known of it.
    Used,
    /// It opened a session, as in [`Memo`], and for how long that is kept.
    Memo(Vec<u8>, Duration),
    /// WeChat refused it with this errcode, which is kept for this time.
    Refused(i64, Duration),
    /// Its session could not be stored, which is kept for this time.
    NotStored(Duration),
}

/// What is to be kept of a code beside the session that it opened.
#[derive(Clone, Debug)]
pub(super) struct Memo {
    pub(super) code: CodeMark,
    /// The mark of its sender, and the refresh token, sealed and bound to both.
    pub(super) sealed: Vec<u8>,
    pub(super) keep: Duration,
    /// As in [`CodeUse`].
    pub(super) spends: Option<(CodeMark, Duration)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_in_two_apps_or_under_two_keys_is_two_codes() {
        let [key, other] = [1, 2].map(|seed| hmac::Key::new(hmac::HMAC_SHA256, &[seed; 32]));
        let mark = CodeMark::new(&key, "wx1", "0a");
        assert_eq!(mark, CodeMark::new(&key, "wx1", "0a"));
        assert_ne!(mark, CodeMark::new(&key, "wx10", "a"));
        assert_ne!(mark, CodeMark::new(&key, "wx2", "0a"));
        assert_ne!(mark, CodeMark::new(&other, "wx1", "0a"));
    }
}
