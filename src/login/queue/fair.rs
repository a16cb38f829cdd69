//! A fair queue: networks take turns (round robin), and within one network the first code goes first.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::{Network, QueuePosition};

/// How long the last turn of a network is remembered: no code lives longer.
const REMEMBERED: Duration = Duration::from_secs(300);

/// The most networks whose last turns are remembered. A network that is forgotten may get one turn too early.
const MOST_REMEMBERED: usize = 50_000;

/// The first entry of a network, ordered by its turn.
type Head = (Instant, QueuePosition);
/// The last entry of a network, ordered by how many the network has, then by its turn.
type Tail = (usize, Instant, QueuePosition);

/// The entries that wait.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    networks: HashMap<Network, Waiting<T>>,
    /// The first entry of each network.
    heads: BTreeSet<Head>,
    /// The last entry of each network.
    tails: BTreeSet<Tail>,
    len: usize,
    /// When networks had their last turns, in two generations.
    turns: [HashMap<Network, Instant>; 2],
    turns_since: Option<Instant>,
}

/// The entries of one network.
#[derive(Debug)]
struct Waiting<T> {
    positions: BTreeMap<QueuePosition, T>,
    last_turn: Option<Instant>,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self {
            networks: HashMap::new(),
            heads: BTreeSet::new(),
            tails: BTreeSet::new(),
            len: 0,
            turns: Default::default(),
            turns_since: None,
        }
    }
}

impl<T> FairQueue<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, position: &QueuePosition) -> Option<&T> {
        self.networks
            .get(&position.network())?
            .positions
            .get(position)
    }

    pub(super) fn insert(&mut self, position: QueuePosition, waiter: T) {
        self.change(position.network(), |waiting| {
            waiting.positions.insert(position, waiter)
        });
    }

    pub(super) fn remove(&mut self, position: &QueuePosition) -> Option<T> {
        self.change(position.network(), |waiting| {
            waiting.positions.remove(position)
        })
    }

    /// Removes an entry whose turn it is. Its network's next turn comes after those of all that wait now.
    pub(super) fn serve(&mut self, position: &QueuePosition, now: Instant) -> Option<T> {
        let network = position.network();
        let began = *self.turns_since.get_or_insert(now);
        let [late, before] = &mut self.turns;
        if now - began > REMEMBERED || late.len() >= MOST_REMEMBERED {
            *before = std::mem::take(late);
            self.turns_since = Some(now);
        }
        late.insert(network, now);
        self.change(network, |waiting| {
            waiting.last_turn = Some(now);
            waiting.positions.remove(position)
        })
    }

    /// Returns the entry whose turn is next.
    pub(super) fn first(&self) -> Option<(&QueuePosition, &T)> {
        let (_, position) = self.heads.first()?;
        Some((position, self.get(position)?))
    }

    /// Returns the entry to drop first: the last one of the network with the most entries (longest queue drop).
    pub(super) fn last(&self) -> Option<(&QueuePosition, &T)> {
        let (_, _, position) = self.tails.last()?;
        Some((position, self.get(position)?))
    }

    /// Changes the entries of a network, and updates both orders.
    fn change<R>(&mut self, network: Network, work: impl FnOnce(&mut Waiting<T>) -> R) -> R {
        let waiting = self.networks.entry(network).or_insert_with(|| Waiting {
            positions: BTreeMap::new(),
            last_turn: self
                .turns
                .iter()
                .find_map(|turns| turns.get(&network).copied()),
        });
        if let Some((head, tail)) = waiting.ends() {
            self.heads.remove(&head);
            self.tails.remove(&tail);
        }
        let before = waiting.positions.len();
        let done = work(waiting);
        self.len = self.len - before + waiting.positions.len();
        if let Some((head, tail)) = waiting.ends() {
            self.heads.insert(head);
            self.tails.insert(tail);
        } else {
            self.networks.remove(&network);
        }
        done
    }
}

impl<T> Waiting<T> {
    /// Returns the first and the last entry as they are ordered.
    fn ends(&self) -> Option<(Head, Tail)> {
        let (head, _) = self.positions.first_key_value()?;
        let (tail, _) = self.positions.last_key_value()?;
        let turn = |position: &QueuePosition| {
            let last_turn = self.last_turn.unwrap_or(position.first_seen);
            position.first_seen.max(last_turn)
        };
        Some((
            (turn(head), *head),
            (self.positions.len(), turn(tail), *tail),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Candidate;
    use super::*;

    struct Scene {
        queue: FairQueue<u32>,
        now: Instant,
        number: u64,
    }

    impl Scene {
        fn new() -> Self {
            Self {
                queue: FairQueue::default(),
                now: Instant::now(),
                number: 0,
            }
        }

        fn come(&mut self, network: u32) -> QueuePosition {
            self.now += Duration::from_millis(1);
            self.come_again(network, self.now)
        }

        fn come_again(&mut self, network: u32, first_seen: Instant) -> QueuePosition {
            self.number += 1;
            let seen = Candidate {
                first: first_seen,
                told: None,
                network: Network::of(Some(std::net::IpAddr::V4(network.into()))),
                over_limit: false,
            };
            let position = QueuePosition {
                first_seen,
                number: self.number,
                seen,
            };
            self.queue.insert(position, network);
            position
        }

        fn served(&mut self) -> Vec<u32> {
            let mut served = Vec::new();
            while let Some((&position, _)) = self.queue.first() {
                self.now += Duration::from_millis(1);
                served.extend(self.queue.serve(&position, self.now));
            }
            assert_eq!(self.queue.len(), 0);
            assert!(self.queue.heads.is_empty() && self.queue.tails.is_empty());
            served
        }
    }

    #[test]
    fn networks_take_turns() {
        let mut s = Scene::new();
        for network in [1, 1, 1, 1, 2, 2, 3] {
            s.come(network);
        }
        assert_eq!(s.served(), [1, 2, 3, 1, 2, 1, 1]);
    }

    #[test]
    fn networks_with_one_each_are_served_as_they_came() {
        let mut s = Scene::new();
        let first_seen = s.now;
        s.come(1);
        s.come(2);
        s.come_again(3, first_seen);
        assert_eq!(s.served(), [3, 1, 2]);
    }

    #[test]
    fn old_codes_of_a_network_that_had_its_turn_come_behind_who_waits() {
        let mut s = Scene::new();
        let first_seen = s.now;
        s.come(1);
        s.come(2);
        s.now += Duration::from_millis(1);
        let (&position, _) = s.queue.first().unwrap();
        assert_eq!(s.queue.serve(&position, s.now), Some(1));
        s.come_again(1, first_seen);
        s.come_again(1, first_seen);
        assert_eq!(s.served(), [2, 1, 1]);
    }

    #[test]
    fn the_network_with_most_in_line_loses_its_last_place_first() {
        let mut s = Scene::new();
        let positions: Vec<QueuePosition> =
            [1, 1, 2, 2, 2, 3].map(|network| s.come(network)).into();
        for expected in [4, 3, 1, 5, 2, 0] {
            let (&position, _) = s.queue.last().unwrap();
            assert_eq!(position, positions[expected]);
            s.queue.remove(&position);
        }
        assert!(s.queue.last().is_none() && s.queue.first().is_none());
    }

    #[test]
    fn whoever_waits_while_turns_are_forgotten_is_served_once() {
        let mut s = Scene::new();
        for _ in 0..3 {
            let position = s.come(1);
            s.queue.serve(&position, s.now);
            s.come(1);
            s.come(2);
            s.now += REMEMBERED * 2;
        }
        assert_eq!(s.served().len(), 6);
    }

    #[test]
    fn what_is_known_of_turns_has_a_bound_and_a_time() {
        let mut s = Scene::new();
        for network in 0..3 * MOST_REMEMBERED as u32 {
            let position = s.come(network);
            s.queue.serve(&position, s.now);
        }
        let known = |s: &Scene| s.queue.turns.iter().map(HashMap::len).sum::<usize>();
        assert!(known(&s) <= 2 * MOST_REMEMBERED);
        for _ in 0..2 {
            s.now += REMEMBERED * 2;
            let position = s.come(1);
            s.queue.serve(&position, s.now);
        }
        assert!(known(&s) <= 2);
    }
}
