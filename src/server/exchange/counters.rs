//! The counters of each route and upstream, looked up once in each generation.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::metrics::{Course, Ended, RouteTraffic, Traffic, UpstreamTraffic};
use crate::request::Denial;

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

    /// Returns the counters of a route, or of what no route takes.
    pub(super) fn route(&self, index: Option<usize>) -> &RouteTraffic {
        let route = index.and_then(|index| self.routes.get(index));
        route.unwrap_or(&self.no_route)
    }
}
