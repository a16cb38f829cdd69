//! Reserves the times at which clients that were turned away should come back: one slot after the other, one for each network.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::Network;

const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// The slots that are reserved.
#[derive(Debug, Default)]
pub(super) struct Reservations {
    /// The latest slots of all networks.
    shared: LastReserved,
    /// For each network with a slot in the future: the latest time that its further codes were told. These are no more than there
    /// are slots up to the latest possible one.
    own: HashMap<Network, LastReserved>,
    /// When networks whose slots are over were last removed.
    swept: Option<Instant>,
}

/// The latest slot of newcomers, and of clients that came in time and were turned away again.
#[derive(Clone, Copy, Debug, Default)]
struct LastReserved {
    new: Option<Instant>,
    again: Option<Instant>,
}

/// Who asks for a slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) network: Network,
    /// Whether it came in time and was turned away again, and so goes before newcomers.
    pub(super) again: bool,
    /// Whether its address exceeded its limit, so that no slot is reserved.
    pub(super) over_limit: bool,
}

impl Reservations {
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.own.is_empty() && self.shared.new.is_none() && self.shared.again.is_none()
    }

    /// Reserves the next slot that is free from `earliest` on; `None` if it would be after `latest`.
    ///
    /// A network with a slot in the future is told later times for its further codes, which reserve nothing: one interval later for
    /// each such network, since these take turns.
    pub(super) fn next(
        &mut self,
        request: Request,
        earliest: Instant,
        interval: Duration,
        latest: Instant,
        now: Instant,
    ) -> Option<Instant> {
        if self.swept.is_none_or(|swept| now - swept >= SWEEP_EVERY) {
            self.own.retain(|_, chain| chain.is_to_come(now));
            self.swept = Some(now);
        }
        let taking_turns = u32::try_from(self.own.len()).unwrap_or(u32::MAX);
        let own = self.own.get_mut(&request.network);
        let own = own.filter(|own| own.is_to_come(now));
        let has_slot = own.is_some();
        let (chain, interval) = match own {
            Some(own) => (own, interval.saturating_mul(taking_turns.max(1))),
            None => (&mut self.shared, interval),
        };
        let last = chain.of(request.again);
        let next = last.map_or(earliest, |last| last.max(earliest)) + interval;
        if next > latest {
            return None;
        }
        if has_slot || !request.over_limit {
            *last = Some(next);
        }
        if !has_slot && !request.over_limit {
            let mut own = LastReserved::default();
            *own.of(request.again) = Some(next);
            self.own.insert(request.network, own);
        }
        Some(next)
    }
}

impl LastReserved {
    fn of(&mut self, again: bool) -> &mut Option<Instant> {
        if again {
            &mut self.again
        } else {
            &mut self.new
        }
    }

    fn is_to_come(&self, now: Instant) -> bool {
        [self.new, self.again]
            .into_iter()
            .flatten()
            .any(|slot| slot > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    struct Scene {
        reservations: Reservations,
        now: Instant,
    }

    impl Scene {
        fn new() -> Self {
            Self {
                reservations: Reservations::default(),
                now: Instant::now(),
            }
        }

        fn next(&mut self, network: u32, again: bool) -> Option<Duration> {
            let request = Request {
                network: Network::of(Some(std::net::IpAddr::V4(network.into()))),
                again,
                over_limit: false,
            };
            let latest = self.now + SECOND * 300;
            let slot = self
                .reservations
                .next(request, self.now, SECOND, latest, self.now);
            slot.map(|slot| slot - self.now)
        }
    }

    #[test]
    fn a_network_has_one_slot_among_those_of_the_others() {
        let mut s = Scene::new();
        assert_eq!(s.next(1, false), Some(SECOND));
        for second in 2..=300 {
            assert_eq!(s.next(1, false), Some(SECOND * second));
        }
        assert_eq!(s.next(1, false), None);
        assert_eq!(s.next(2, false), Some(SECOND * 2));
        assert_eq!(s.next(3, false), Some(SECOND * 3));
        // Three networks take turns now.
        assert_eq!(s.next(2, false), Some(SECOND * 5));
        assert_eq!(s.next(2, false), Some(SECOND * 8));
        assert_eq!(s.next(4, false), Some(SECOND * 4));
    }

    #[test]
    fn a_network_whose_slots_are_over_gets_another() {
        let mut s = Scene::new();
        for network in 1..=20 {
            s.next(network, false);
            s.next(network, false);
        }
        s.now += SECOND * 60;
        assert_eq!(s.next(1, false), Some(SECOND));
        assert_eq!(s.next(2, false), Some(SECOND * 2));
        assert_eq!(s.reservations.own.len(), 2);
    }

    #[test]
    fn whoever_found_no_place_again_comes_before_those_that_were_not_there_yet() {
        let mut s = Scene::new();
        for network in 1..=20 {
            s.next(network, false);
        }
        assert_eq!(s.next(30, true), Some(SECOND));
        assert_eq!(s.next(1, true), Some(SECOND * 21));
        assert_eq!(s.next(31, true), Some(SECOND * 2));
    }
}
