//! The rotation of a session's refresh tokens, and the detection of their reuse (refresh token reuse detection).

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
    /// other place: a token says its generation, and whoever has the keys looks whether it leads to the current one.
    pub(super) replaced: Vec<u64>,
}

/// What a presented token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Presented {
    /// The current one, which is replaced: this is the rotation from now on.
    Current(Rotation),
    /// One that says to be of a generation that was replaced a moment ago, so that its client may not have heard of its
    /// successor.
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

    /// Tells what a token is, given its generation, its fingerprint and those of the tokens that it proves to follow, newest
    /// first, and its successor's.
    pub(super) fn present(
        &self,
        generation: u32,
        presented: &[Fingerprint],
        successor: Fingerprint,
        now: u64,
        grace_secs: u64,
    ) -> Presented {
        // Where it is ahead, the store has lost rotations (a failover, a copy put back).
        if let Some(ahead) = generation.checked_sub(self.generation)
            && presented.get(ahead as usize) == Some(&self.current)
        {
            let steps = ahead as usize + 1;
            return Presented::Current(
                self.followed_by(generation, successor, steps, now, grace_secs),
            );
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
    use super::super::refresh_token::LOST_AT_MOST;
    use super::*;

    const GRACE: u64 = 30;

    fn print(generation: u32) -> Fingerprint {
        let mut print = [0; 16];
        print[..4].copy_from_slice(&generation.to_be_bytes());
        print
    }

    fn present(rotation: &Rotation, generation: u32, now: u64) -> Presented {
        let oldest = generation.saturating_sub(LOST_AT_MOST);
        let presented: Vec<Fingerprint> = (oldest..=generation).rev().map(print).collect();
        rotation.present(generation, &presented, print(generation + 1), now, GRACE)
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
    fn a_token_that_follows_lost_rotations_is_the_current_one() {
        let behind = refreshed(&[100]);
        for lost in 1..=LOST_AT_MOST {
            let Presented::Current(next) = present(&behind, 1 + lost, 200) else {
                panic!("refused");
            };
            assert_eq!((next.generation, next.current), (2 + lost, print(2 + lost)));
            for replaced in 1..2 + lost {
                assert_eq!(present(&next, replaced, 230), Presented::WithinGrace);
                assert_eq!(present(&next, replaced, 231), Presented::Reused);
            }
            assert_eq!(present(&next, 0, 200), Presented::Reused);
        }
        let most = present(&behind, 2 + LOST_AT_MOST, 200);
        assert_eq!(most, Presented::Reused);
    }

    #[test]
    fn a_token_that_is_ahead_and_follows_no_token_of_the_session_is_none_of_ours() {
        let rotation = refreshed(&[100]);
        for presented in [
            vec![print(2)],
            vec![print(2), print(9)],
            vec![print(2), print(9), print(1)],
            vec![print(1), print(9)],
        ] {
            let other = rotation.present(2, &presented, print(3), 100, GRACE);
            assert_eq!(other, Presented::Reused, "{presented:?}");
        }
    }

    #[test]
    fn another_token_of_the_current_generation_is_none_of_ours() {
        let rotation = refreshed(&[100]);
        let other = rotation.present(1, &[print(9), print(1)], print(2), 100, GRACE);
        assert_eq!(other, Presented::Reused);
    }
}
