//! How the refresh tokens of a session follow each other, and which of the replaced ones may still be shown.

use super::refresh_token::Fingerprint;

/// How many replaced tokens are remembered; who refreshes more often within the grace is no client of ours.
pub(super) const REMEMBERED: usize = 64;

/// The current refresh token of a session, and when the last ones were replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rotation {
    /// How many tokens came before the current one.
    pub(super) generation: u32,
    pub(super) current: Fingerprint,
    /// When the tokens before the current one were replaced, oldest first, in seconds since the Unix epoch. They need no
    /// other place: a token says its generation, and its tag that it is the only one of it.
    pub(super) replaced: Vec<u64>,
}

/// What a presented token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Presented {
    /// The current one, which is replaced: this is the rotation from now on.
    Current(Rotation),
    /// One that was replaced a moment ago, so that its client may not have heard of its successor.
    WithinGrace,
    /// One that was replaced before that: two parties hold tokens of this session.
    Reused,
}

impl Rotation {
    pub(super) fn first(current: Fingerprint) -> Self {
        Self {
            generation: 0,
            current,
            replaced: Vec::new(),
        }
    }

    /// Tells what a genuine token is, given its generation and its successor's fingerprint.
    pub(super) fn present(
        &self,
        generation: u32,
        presented: Fingerprint,
        successor: Fingerprint,
        now: u64,
        grace_secs: u64,
    ) -> Presented {
        if generation == self.generation && presented == self.current {
            return Presented::Current(self.followed_by(generation, successor, 1, now, grace_secs));
        }
        // Its tag says that we issued it, so the store has lost its last write (a failover, a copy put back).
        if self.generation.checked_add(1) == Some(generation) {
            return Presented::Current(self.followed_by(generation, successor, 2, now, grace_secs));
        }
        let age = self.generation.saturating_sub(generation);
        let at = self.replaced.len().checked_sub(age as usize);
        match at.and_then(|at| self.replaced.get(at)) {
            Some(replaced) if now.saturating_sub(*replaced) <= grace_secs => Presented::WithinGrace,
            Some(_) | None => Presented::Reused,
        }
    }

    fn followed_by(
        &self,
        generation: u32,
        successor: Fingerprint,
        steps: usize,
        now: u64,
        grace_secs: u64,
    ) -> Self {
        let recent = self.replaced.iter().copied();
        let mut replaced: Vec<u64> = recent
            .skip_while(|at| now.saturating_sub(*at) > grace_secs)
            .chain(std::iter::repeat_n(now, steps))
            .collect();
        replaced.drain(..replaced.len().saturating_sub(REMEMBERED));
        Self {
            generation: generation.saturating_add(1),
            current: successor,
            replaced,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: u64 = 30;

    fn print(generation: u32) -> Fingerprint {
        let mut print = [0; 16];
        print[..4].copy_from_slice(&generation.to_be_bytes());
        print
    }

    fn present(rotation: &Rotation, generation: u32, now: u64) -> Presented {
        let (presented, successor) = (print(generation), print(generation + 1));
        rotation.present(generation, presented, successor, now, GRACE)
    }

    fn refreshed(times: &[u64]) -> Rotation {
        let mut rotation = Rotation::first(print(0));
        for (generation, now) in (0..).zip(times) {
            match present(&rotation, generation, *now) {
                Presented::Current(next) => rotation = next,
                other @ (Presented::WithinGrace | Presented::Reused) => panic!("{other:?}"),
            }
        }
        rotation
    }

    #[test]
    fn a_token_is_replaced_once_and_then_good_for_the_grace() {
        let rotation = refreshed(&[100]);
        assert_eq!(present(&rotation, 0, 130), Presented::WithinGrace);
        assert_eq!(present(&rotation, 0, 131), Presented::Reused);
    }

    #[test]
    fn each_replaced_token_has_a_grace_of_its_own() {
        let rotation = refreshed(&[100, 110, 120]);
        assert_eq!(present(&rotation, 0, 130), Presented::WithinGrace);
        assert_eq!(present(&rotation, 0, 131), Presented::Reused);
        assert_eq!(present(&rotation, 1, 131), Presented::WithinGrace);
        assert_eq!(present(&rotation, 2, 150), Presented::WithinGrace);
        assert_eq!(present(&rotation, 2, 151), Presented::Reused);
    }

    #[test]
    fn a_clock_that_is_behind_is_within_the_grace() {
        assert_eq!(present(&refreshed(&[100]), 0, 90), Presented::WithinGrace);
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let rotation = refreshed(&[100; REMEMBERED + 12]);
        assert_eq!(rotation.replaced.len(), REMEMBERED);
        assert_eq!(present(&rotation, 12, 100), Presented::WithinGrace);
        assert_eq!(present(&rotation, 11, 100), Presented::Reused);
        assert_eq!(refreshed(&[100, 200]).replaced, [200]);
    }

    #[test]
    fn a_token_whose_rotation_was_lost_is_the_current_one() {
        let behind = refreshed(&[100]);
        let Presented::Current(next) = present(&behind, 2, 200) else {
            panic!("refused");
        };
        assert_eq!((next.generation, next.current), (3, print(3)));
        assert_eq!(present(&next, 1, 200), Presented::WithinGrace);
        assert_eq!(present(&next, 0, 200), Presented::Reused);
        assert_eq!(present(&behind, 3, 200), Presented::Reused);
    }

    #[test]
    fn another_token_of_the_current_generation_is_none_of_ours() {
        let rotation = refreshed(&[100]);
        let other = rotation.present(1, print(9), print(2), 100, GRACE);
        assert_eq!(other, Presented::Reused);
    }
}
