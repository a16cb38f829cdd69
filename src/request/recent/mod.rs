//! The last exchanges, for whoever asks afterwards why one went as it did.
//!
//! A ring of [`KEPT`] places is made at the start and never grows. Keeping an exchange is one addition to a counter that all threads
//! share, one lock that is nearly always free, and the copy of an [`Entry`] of 128 bytes; with its lock a place takes 136 bytes, all
//! of them 1.3 MiB. What was refused has a text of 160 bytes at most besides. Whoever asks goes through all places, each locked for
//! one comparison, and a thread that finds one locked takes the next: nobody who asks holds up a request.
//!
//! An exchange is found by the 128 bits of its id, which a proxy in front may have given: those of other forms are hashed under a key
//! of this process. Routes and apps are numbers in lists that only a reload with new names makes longer.

mod advice;
mod names;

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

pub use self::advice::{Advice, advice};
pub use self::names::RouteName;
use self::names::{NONE, Names};
use super::{CredentialKind, Denial};
use crate::session::SessionId;

/// How many exchanges are kept.
const KEPT: usize = 10_000;
/// The most bytes of a refused request's method and path that are kept.
const MOST_OF_REQUEST: usize = 160;

/// The ring.
pub struct Recent {
    places: Box<[Mutex<Option<Entry>>]>,
    next: AtomicUsize,
    names: Mutex<Names>,
}

/// What is kept of an exchange.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its id.
    pub id: Key,
    /// The trace that it is part of.
    pub trace: TraceKey,
    /// When it ended.
    pub ended: Instant,
    /// How long it took, in microseconds; an hour or more is [`u32::MAX`].
    pub took_us: u32,
    /// How long the server took to begin its answer; [`u32::MAX`] where no server did.
    pub upstream_us: u32,
    /// The status of its response; 0 where there was none.
    pub status: u16,
    /// What was decided.
    pub what: What,
    /// By what its sender said who they are.
    pub credential: CredentialKind,
    /// The number of the route, see [`Recent::route`].
    pub route: u16,
    /// The number of the app, see [`Recent::app`].
    pub app: u16,
    /// The session of the user.
    pub session: Option<SessionId>,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// Set where it was refused.
    pub refused: Option<Box<Refused>>,
}

/// What was decided of an exchange that was not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct What(pub &'static str);

/// A refusal.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Why.
    pub denial: Denial,
    /// The method and the path, as far as they are kept.
    pub request: Box<str>,
}

/// An id as the ring knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(u64, u64);

/// The id of a trace; that of no trace is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceKey(u64, u64);

/// What was found of an exchange.
#[derive(Clone, Debug)]
pub struct Found {
    /// What was kept.
    pub entry: Entry,
    /// The route that took it.
    pub route: Option<RouteName>,
    /// The name of the user's app.
    pub app: Option<String>,
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            places: (0..KEPT).map(|_| Mutex::new(None)).collect(),
            next: AtomicUsize::new(0),
            names: Mutex::default(),
        }
    }
}

impl Recent {
    /// Returns the number of a route, which is the same for the same names.
    pub fn route(&self, name: RouteName) -> u16 {
        self.names().route(name)
    }

    /// Returns the number of an app.
    pub fn app(&self, name: &str) -> u16 {
        self.names().app(name)
    }

    /// Keeps an exchange in place of the one that ended `KEPT` before it.
    pub fn keep(&self, entry: Entry) {
        // The second place is for when somebody looks at the first.
        for _ in 0..2 {
            let place = self.next.fetch_add(1, Ordering::Relaxed) % KEPT;
            if let Some(Ok(mut kept)) = self.places.get(place).map(Mutex::try_lock) {
                *kept = Some(entry);
                return;
            }
        }
    }

    /// Finds an exchange by its id; of several, which a proxy in front gave the same id, the last.
    pub fn find(&self, id: &str) -> Option<Found> {
        let id = Key::of(id);
        let mut latest: Option<Entry> = None;
        for place in &self.places {
            let kept = place.lock().unwrap_or_else(PoisonError::into_inner);
            let is_it = |entry: &&Entry| {
                let before = latest.as_ref().map(|latest| latest.ended);
                entry.id == id && before.is_none_or(|before| entry.ended >= before)
            };
            if let Some(entry) = kept.as_ref().filter(is_it) {
                latest = Some(entry.clone());
            }
        }
        let entry = latest?;
        let names = self.names();
        Some(Found {
            route: names.route_of(entry.route),
            app: names.app_of(entry.app),
            entry,
        })
    }

    /// Returns the last that were refused and are wanted, the latest first and so many at the most.
    pub fn refused(&self, most: usize, wanted: impl Fn(&Found) -> bool) -> Vec<Found> {
        let next = self.next.load(Ordering::Relaxed);
        let names = self.names();
        let places = (1..=KEPT).filter_map(|before| {
            let place = self.places.get((next % KEPT + KEPT - before) % KEPT)?;
            let kept = place.lock().unwrap_or_else(PoisonError::into_inner);
            kept.as_ref()
                .filter(|entry| entry.refused.is_some())
                .cloned()
        });
        let found = places.map(|entry| Found {
            route: names.route_of(entry.route),
            app: names.app_of(entry.app),
            entry,
        });
        found.filter(wanted).take(most).collect()
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// What stands for no route and no app.
    pub const NONE: u16 = NONE;

    /// Returns a time as it is kept.
    pub fn micros(time: Duration) -> u32 {
        let micros = time.as_secs().saturating_mul(1_000_000);
        let micros = micros.saturating_add(u64::from(time.subsec_micros()));
        u32::try_from(micros).unwrap_or(u32::MAX)
    }
}

impl Refused {
    /// Keeps the beginning of a request; the path must not hold a secret.
    pub fn new(denial: Denial, method: &str, path: &str) -> Box<Self> {
        let mut request = format!("{method} {path}");
        if request.len() > MOST_OF_REQUEST {
            let cut = (0..=MOST_OF_REQUEST)
                .rev()
                .find(|at| request.is_char_boundary(*at));
            request.truncate(cut.unwrap_or(0));
        }
        Box::new(Self {
            denial,
            request: request.into_boxed_str(),
        })
    }
}

impl Key {
    /// Returns the key of an id that is this number in hexadecimal.
    pub fn random(number: u128) -> Self {
        Self((number >> 64) as u64, number as u64)
    }

    /// Returns the key of an id.
    pub fn of(id: &str) -> Self {
        static HASHERS: OnceLock<[RandomState; 2]> = OnceLock::new();
        let is_ours = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if id.len() == 32
            && id.bytes().all(is_ours)
            && let Ok(number) = u128::from_str_radix(id, 16)
        {
            return Self::random(number);
        }
        let [one, other] = HASHERS.get_or_init(Default::default);
        Self(one.hash_one(id), other.hash_one(id))
    }
}

impl TraceKey {
    /// What stands for no trace.
    pub const NONE: Self = Self(0, 0);

    /// Returns the key of an id of 32 hexadecimal digits.
    pub fn of(id: &str) -> Self {
        let number = u128::from_str_radix(id, 16).unwrap_or_default();
        Self((number >> 64) as u64, number as u64)
    }

    /// Returns the id.
    pub fn id(self) -> Option<String> {
        (self != Self::NONE).then(|| format!("{:016x}{:016x}", self.0, self.1))
    }
}

impl std::fmt::Debug for Recent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recent")
    }
}

#[cfg(test)]
mod tests {
    use std::mem::size_of;

    use super::*;

    fn entry(id: &str) -> Entry {
        Entry {
            id: Key::of(id),
            trace: TraceKey::NONE,
            ended: Instant::now(),
            took_us: 1,
            upstream_us: u32::MAX,
            status: 200,
            what: What("public"),
            credential: CredentialKind::None,
            route: NONE,
            app: NONE,
            session: None,
            client: None,
            refused: None,
        }
    }

    #[test]
    fn a_place_takes_no_more_memory_than_is_said() {
        assert_eq!(size_of::<Entry>(), 128);
        assert_eq!(size_of::<Mutex<Option<Entry>>>(), 136);
    }

    #[test]
    fn the_last_ten_thousand_are_found_and_none_before() {
        let recent = Recent::default();
        for number in 0..KEPT + 5 {
            recent.keep(entry(&format!("{number:032x}")));
        }
        for number in [5, 6, KEPT, KEPT + 4] {
            assert!(recent.find(&format!("{number:032x}")).is_some(), "{number}");
        }
        for number in [0, 4, KEPT + 5] {
            assert!(recent.find(&format!("{number:032x}")).is_none(), "{number}");
        }
    }

    #[test]
    fn ids_that_a_proxy_gave_are_found_too() {
        let recent = Recent::default();
        for id in ["a", "A".repeat(32).as_str(), "x-1_2.3", &"9".repeat(128)] {
            recent.keep(entry(id));
            assert!(recent.find(id).is_some(), "{id}");
            assert!(recent.find(&format!("{id}0")).is_none(), "{id}");
        }
    }

    #[test]
    fn a_trace_keeps_its_id() {
        for id in [
            "4bf92f3577b34da6a3ce929d0e0e4736",
            "0000000000000000a3ce929d0e0e4736",
            "00000000000000010000000000000000",
        ] {
            assert_eq!(TraceKey::of(id).id().as_deref(), Some(id));
        }
        assert_eq!(TraceKey::NONE.id(), None);
    }

    #[test]
    fn of_two_with_one_id_the_last_is_found() {
        let recent = Recent::default();
        for status in [200, 404] {
            recent.keep(Entry {
                status,
                ..entry("same")
            });
        }
        assert_eq!(recent.find("same").unwrap().entry.status, 404);
    }

    #[test]
    fn a_place_that_somebody_looks_at_is_passed_over() {
        let recent = Recent::default();
        let looked_at = recent.places[0].lock().unwrap();
        recent.keep(entry("a"));
        drop(looked_at);
        assert!(recent.places[0].lock().unwrap().is_none());
        assert!(recent.find("a").is_some());
    }

    #[test]
    fn the_last_that_were_refused_are_told_from_the_latest_on() {
        let recent = Recent::default();
        for number in 0..KEPT as u16 + 5 {
            let refused = Refused::new(Denial::RouteUnknown, "GET", &format!("/{number}"));
            recent.keep(Entry {
                status: number % 500,
                refused: (number % 2 == 0).then_some(refused),
                ..entry(&format!("{number:032x}"))
            });
        }
        let told = |most, wanted: &dyn Fn(&Found) -> bool| -> Vec<String> {
            let found = recent.refused(most, wanted).into_iter();
            found
                .map(|found| found.entry.refused.unwrap().request.to_string())
                .collect()
        };
        assert_eq!(told(2, &|_| true), ["GET /10004", "GET /10002"]);
        assert_eq!(told(1, &|found| found.entry.status == 6), ["GET /9506"]);
        assert_eq!(told(KEPT, &|_| true).len(), KEPT / 2);
    }

    #[test]
    fn of_few_that_were_refused_each_is_told_once() {
        let recent = Recent::default();
        for number in 0..3 {
            let refused = Refused::new(Denial::RouteUnknown, "GET", "/");
            recent.keep(Entry {
                refused: Some(refused),
                ..entry(&format!("{number:032x}"))
            });
        }
        assert_eq!(recent.refused(KEPT, |_| true).len(), 3);
    }

    #[test]
    fn threads_that_keep_at_once_take_places_of_their_own() {
        let recent = Recent::default();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let recent = &recent;
                scope.spawn(move || {
                    for number in 0..KEPT / 4 {
                        let id = format!("{:032x}", thread * KEPT + number);
                        recent.keep(entry(&id));
                    }
                });
            }
        });
        for thread in 0..4 {
            for number in [0, 1, KEPT / 8, KEPT / 4 - 1] {
                let id = format!("{:032x}", thread * KEPT + number);
                assert!(recent.find(&id).is_some(), "{id}");
            }
        }
    }

    #[test]
    fn of_a_long_request_the_beginning_is_kept() {
        let refused = Refused::new(Denial::RouteUnknown, "GET", &"/é".repeat(200));
        assert!(refused.request.len() <= MOST_OF_REQUEST);
        assert!(refused.request.starts_with("GET /é/é"));
    }
}
