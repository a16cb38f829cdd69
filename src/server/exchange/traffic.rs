//! The counters of each route and upstream, looked up once in each generation, and what an exchange adds to them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::state::{Decision, Exchange};
use crate::config::Config;
use crate::metrics::{Course, Ended, RouteTraffic, Traffic, UpstreamTraffic, Words};
use crate::request::{CODES, Denial};

/// What an exchange can come to.
pub const WORDS: Words = Words {
    decisions: &Decision::WORDS,
    reasons: &CODES,
};

/// The counters of a generation's routes and upstreams.
#[derive(Debug)]
pub struct ExchangeTraffic {
    pub(in crate::server) all: Arc<Traffic>,
    /// By index in the configuration.
    routes: Vec<Arc<RouteTraffic>>,
    upstreams: Vec<Arc<UpstreamTraffic>>,
    no_route: Arc<RouteTraffic>,
}

impl ExchangeTraffic {
    /// Finds the counters of each route and upstream of a configuration.
    pub fn new(config: &Config, all: &Arc<Traffic>) -> Self {
        let routes = config.routes.iter();
        let routes = routes.map(|route| all.route(route.host.as_deref(), &route.path));
        let upstreams = config.upstreams.iter();
        Self {
            routes: routes.collect(),
            upstreams: upstreams
                .map(|upstream| all.upstream(&upstream.name))
                .collect(),
            no_route: all.no_route(),
            all: Arc::clone(all),
        }
    }

    /// Counts a request whose head nobody could read.
    pub(super) fn note_unread(&self, denial: &Denial) {
        self.no_route.note(&Ended {
            course: Course::Refused(denial.number()),
            status: denial.status().as_u16(),
            received: 0,
            sent: 0,
            took: Duration::ZERO,
            decided_in: None,
        });
    }

    /// Returns the counters of an upstream.
    pub(super) fn upstream(&self, index: usize) -> Option<&UpstreamTraffic> {
        self.upstreams.get(index).map(Arc::as_ref)
    }
}

/// Counts an exchange that ended now.
pub(super) fn note(exchange: &Exchange, now: Instant) {
    let traffic = &exchange.generation.traffic;
    let route = exchange.route.as_ref();
    let counters = route.and_then(|route| traffic.routes.get(route.index));
    counters.unwrap_or(&traffic.no_route).note(&Ended {
        course: match &exchange.denial {
            Some(denial) => Course::Refused(denial.number()),
            None => Course::Passed(exchange.decision as usize),
        },
        status: exchange.status,
        received: exchange.body_bytes,
        sent: exchange.sent_bytes,
        took: now.saturating_duration_since(exchange.started),
        decided_in: exchange.decided_in,
    });
    let upstream = route.and_then(|route| traffic.upstream(route.upstream));
    if let (Some(upstream), Some(asked), Some(first_byte)) =
        (upstream, exchange.asked, exchange.first_byte)
    {
        upstream.answered(first_byte, now.saturating_duration_since(asked));
    }
}
