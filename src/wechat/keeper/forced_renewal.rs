//! When a token that is refused is worth replacing by force: WeChat itself must say so twice, and it must not happen often.

use std::time::Duration;

use super::endpoint::Verdict;
use crate::session::Budget;

/// Half of what WeChat allows in a day, and its own pause between two.
pub(super) const FORCES: Budget = Budget {
    gap: Duration::from_secs(30),
    a_day: 10,
};
/// Of the day's quota of about 2000, few.
pub(super) const CLASSICS: Budget = Budget {
    gap: Duration::from_secs(30),
    a_day: 50,
};
/// How long WeChat's word about a token is believed.
const BELIEVED_MS: u64 = 30_000;

/// What speaks against the token that is kept.
#[derive(Default)]
pub(super) struct Doubt {
    /// The first path at which WeChat refused it since it last took it.
    path: Option<String>,
    /// Whether it did so at another path too: of one path alone, the path may be at fault.
    elsewhere: bool,
    /// What WeChat said when it was asked, and when.
    said: Option<(Verdict, u64)>,
    /// When WeChat was last asked whether there is another token.
    pub(super) asked: Option<u64>,
}

impl Doubt {
    /// Counts a refusal at a path.
    pub(super) fn count(&mut self, path: &str) {
        match &self.path {
            Some(first) => self.elsewhere |= first != path,
            None => self.path = Some(path.to_owned()),
        }
    }

    /// Takes notice that WeChat took the token.
    pub(super) fn dispel(&mut self) {
        (self.path, self.elsewhere) = (None, false);
    }

    pub(super) fn is_any(&self) -> bool {
        self.path.is_some()
    }

    /// Returns what WeChat said a moment ago.
    pub(super) fn said(&self, now: u64) -> Option<Verdict> {
        let (verdict, at) = self.said?;
        let age = now.checked_sub(at)?;
        (age < BELIEVED_MS).then_some(verdict)
    }

    /// Keeps what WeChat says now.
    pub(super) fn says(&mut self, verdict: Verdict, now: u64) {
        self.said = Some((verdict, now));
        if verdict == Verdict::Good {
            self.dispel();
        }
    }

    /// Returns whether the token is to be replaced, given what WeChat says of it.
    pub(super) fn is_over(&self, verdict: Verdict) -> bool {
        match verdict {
            Verdict::Good => false,
            Verdict::Stale => true,
            Verdict::Unknown => self.elsewhere,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_path_alone_is_no_evidence_unless_wechat_says_so() {
        let mut doubt = Doubt::default();
        for _ in 0..3 {
            doubt.count("/wxa/a");
        }
        assert!(!doubt.is_over(Verdict::Unknown));
        assert!(doubt.is_over(Verdict::Stale));
        doubt.count("/wxa/b");
        assert!(doubt.is_over(Verdict::Unknown));
        assert!(!doubt.is_over(Verdict::Good));
        doubt.dispel();
        assert!(!doubt.is_over(Verdict::Unknown));
    }

    #[test]
    fn what_wechat_said_is_believed_for_a_while() {
        let mut doubt = Doubt::default();
        doubt.count("/wxa/a");
        doubt.says(Verdict::Good, 1000);
        assert_eq!(doubt.said(1000 + BELIEVED_MS - 1), Some(Verdict::Good));
        assert_eq!(doubt.said(1000 + BELIEVED_MS), None);
        assert_eq!(doubt.said(999), None);
        assert!(!doubt.is_any());
    }
}
