//! What is counted of each exchange: a few additions to counters that are found once for each route and upstream.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::durations::{Counted, Unit, micros, nanos};
use super::observed::Page;
use super::{Count, Sharded, Snapshot};

/// The classes of statuses; the first is for a response that was never begun.
pub(super) const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// There are no more decisions than so many.
const MOST_DECISIONS: usize = 4;

/// The host, where a route has one, and the path of a route.
pub(super) type Name = (String, String);

/// The exchanges of the process, which outlast a reload.
#[derive(Debug)]
pub struct Traffic {
    pub(super) routes: Mutex<BTreeMap<Name, Arc<RouteTraffic>>>,
    upstreams: Mutex<BTreeMap<String, Arc<UpstreamTraffic>>>,
    pub(super) words: Words,
    /// Requests that are being served.
    pub requests_open: Count,
    /// Connections of clients that are open.
    pub connections_open: Count,
    /// Connections of clients since the start.
    pub connections: Count,
}

/// What an exchange can come to.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    /// What is decided of those that are not refused.
    pub decisions: &'static [&'static str],
    /// Why others are.
    pub reasons: &'static [&'static str],
}

/// The exchanges of a route, or of none.
#[derive(Debug)]
pub struct RouteTraffic {
    pub(super) passed: Sharded<Passed>,
    /// By reason and class.
    pub(super) refused: Box<[AtomicU64]>,
}

#[derive(Debug, Default)]
pub(super) struct Passed {
    /// By decision and class.
    pub(super) counts: [[AtomicU64; CLASSES.len()]; MOST_DECISIONS],
    pub(super) received: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) durations: Counted,
    /// Of the decisions alone, in nanoseconds.
    deciding: Counted,
}

/// What an exchange came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// A decision, by its place among the words.
    Passed(usize),
    /// A refusal, by the place of its reason.
    Refused(usize),
}

/// An exchange that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// What it came to.
    pub course: Course,
    /// The status of its response; 0 where there was none.
    pub status: u16,
    /// The bytes of the request's body.
    pub received: u64,
    /// The bytes of the response's body.
    pub sent: u64,
    /// How long it took.
    pub took: Duration,
    /// How long it took to decide what becomes of it; `None` where that was not asked.
    pub decided_in: Option<Duration>,
}

/// What an upstream was waited for.
#[derive(Debug, Default)]
pub struct UpstreamTraffic(Sharded<Waited>);

#[derive(Debug, Default)]
struct Waited {
    connect: Counted,
    first_byte: Counted,
    whole: Counted,
}

impl Traffic {
    /// Begins to count exchanges that come to these.
    pub fn new(words: Words) -> Arc<Self> {
        Arc::new(Self {
            routes: Mutex::default(),
            upstreams: Mutex::default(),
            words,
            requests_open: Count::default(),
            connections_open: Count::default(),
            connections: Count::default(),
        })
    }

    /// Returns the counters of a route, which are the same for the same host and path.
    pub fn route(&self, host: Option<&str>, path: &str) -> Arc<RouteTraffic> {
        let name = (host.unwrap_or_default().to_owned(), path.to_owned());
        let new = || {
            let refused = self.words.reasons.iter().flat_map(|_| CLASSES);
            Arc::new(RouteTraffic {
                passed: Sharded::default(),
                refused: refused.map(|_| AtomicU64::new(0)).collect(),
            })
        };
        Arc::clone(locked(&self.routes).entry(name).or_insert_with(new))
    }

    /// Returns the counters of exchanges that came to no route.
    pub fn no_route(&self) -> Arc<RouteTraffic> {
        self.route(None, "")
    }

    /// Returns the counters of an upstream, by its name.
    pub fn upstream(&self, name: &str) -> Arc<UpstreamTraffic> {
        let mut upstreams = locked(&self.upstreams);
        Arc::clone(upstreams.entry(name.to_owned()).or_default())
    }

    /// Writes everything down.
    pub fn show(&self, page: &mut Page<'_>) {
        let routes = locked(&self.routes).clone();
        let (mut requests, mut times) = (Vec::new(), Vec::new());
        let (mut received, mut sent, mut deciding) = (Vec::new(), Vec::new(), Vec::new());
        for ((host, path), route) in &routes {
            let labels = [("host", host.clone()), ("route", path.clone())];
            for (words, count) in route.counts(self.words) {
                requests.push(([labels.as_slice(), &words].concat(), count));
            }
            let sum = |of: fn(&Passed) -> &AtomicU64| {
                let all = route
                    .passed
                    .iter()
                    .map(|passed| of(passed).load(Ordering::Relaxed));
                all.fold(0, u64::wrapping_add)
            };
            received.push((labels.to_vec(), sum(|passed| &passed.received)));
            sent.push((labels.to_vec(), sum(|passed| &passed.sent)));
            let durations = route.passed.iter().map(|passed| &passed.durations);
            times.push((labels.to_vec(), Snapshot::of(durations, Unit::Micros)));
            let decisions = route.passed.iter().map(|passed| &passed.deciding);
            deciding.push((labels.to_vec(), Snapshot::of(decisions, Unit::Nanos)));
        }
        page.counter("requests", "Requests by what was decided", requests);
        page.durations("request_duration", "The time of an exchange in all", times);
        let help = "The time to decide what becomes of a request";
        page.durations("decision_duration", help, deciding);
        page.bytes("request_body", "Bytes of request bodies", received);
        page.bytes("response_body", "Bytes of response bodies", sent);
        let open = [(vec![], self.requests_open.sum())];
        page.gauge("requests_open", "Requests that are being served", open);
        let open = [(vec![], self.connections_open.sum())];
        page.gauge(
            "connections_open",
            "Connections of clients that are open",
            open,
        );
        let all = [(vec![], self.connections.sum())];
        page.counter(
            "connections",
            "Connections of clients that were accepted",
            all,
        );
        let upstreams = locked(&self.upstreams).clone();
        let mut upstream = |name, help, of: fn(&Waited) -> &Counted| {
            let shown = upstreams.iter().map(|(name, upstream)| {
                let labels = vec![("upstream", name.clone())];
                let counted = upstream.0.iter().map(of);
                (labels, Snapshot::of(counted, Unit::Micros))
            });
            page.durations(name, help, shown);
        };
        let help = "The time to make a connection to a server";
        upstream("upstream_connect_duration", help, |of| &of.connect);
        let help = "The time from the request to the head of the server's response";
        upstream("upstream_first_byte_duration", help, |of| &of.first_byte);
        let help = "The time from the request to the end of the server's response";
        upstream("upstream_duration", help, |of| &of.whole);
    }
}

impl RouteTraffic {
    /// Counts an exchange.
    pub fn note(&self, ended: &Ended) {
        let mine = self.passed.mine();
        let class = usize::from(ended.status / 100).min(CLASSES.len() - 1);
        let count = match ended.course {
            Course::Passed(decision) => {
                let counts = mine.counts.get(decision);
                counts.and_then(|counts| counts.get(class))
            }
            Course::Refused(reason) => self.refused.get(reason * CLASSES.len() + class),
        };
        if let Some(count) = count {
            count.fetch_add(1, Ordering::Relaxed);
        }
        if ended.received > 0 {
            mine.received.fetch_add(ended.received, Ordering::Relaxed);
        }
        mine.sent.fetch_add(ended.sent, Ordering::Relaxed);
        mine.durations.note(micros(ended.took));
        if let Some(decided_in) = ended.decided_in {
            mine.deciding.note(nanos(decided_in));
        }
    }

    /// Returns what was counted, with the labels of each.
    fn counts(&self, words: Words) -> Vec<([(&'static str, String); 3], u64)> {
        let labels = |decision: &str, reason: &str, class: &str| {
            [
                ("decision", decision.to_owned()),
                ("reason", reason.to_owned()),
                ("status", class.to_owned()),
            ]
        };
        let mut counts = Vec::new();
        for (at, decision) in words.decisions.iter().enumerate() {
            for (class, name) in CLASSES.iter().enumerate() {
                let of = |passed: &Passed| {
                    let count = passed.counts.get(at)?.get(class)?;
                    Some(count.load(Ordering::Relaxed))
                };
                let count = self.passed.iter().filter_map(of).fold(0, u64::wrapping_add);
                counts.push((labels(decision, "", name), count));
            }
        }
        let reasons = words
            .reasons
            .iter()
            .flat_map(|reason| CLASSES.map(|class| (reason, class)));
        for ((reason, class), count) in reasons.zip(&self.refused) {
            counts.push((
                labels("refused", reason, class),
                count.load(Ordering::Relaxed),
            ));
        }
        // A series for each combination that never was would be most of the page.
        counts.retain(|(_, count)| *count > 0);
        counts
    }
}

impl UpstreamTraffic {
    /// Counts a new connection.
    pub fn connected(&self, took: Duration) {
        self.0.mine().connect.note(micros(took));
    }

    /// Counts a response: how long its head took from the request, and how long its end.
    pub fn answered(&self, first_byte: Duration, whole: Duration) {
        let mine = self.0.mine();
        mine.first_byte.note(micros(first_byte));
        mine.whole.note(micros(whole));
    }
}

pub(super) fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
