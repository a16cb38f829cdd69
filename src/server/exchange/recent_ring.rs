//! The ring of the last exchanges, with the numbers that a generation's routes and apps have in it.

use std::sync::Arc;

use crate::config::Config;
use crate::request::{Entry, Recent, RouteName};

/// The last exchanges, and the numbers of a generation's routes and apps among them.
#[derive(Debug)]
pub struct ExchangeRecent {
    ring: Arc<Recent>,
    /// By index in the configuration.
    routes: Vec<u16>,
    apps: Vec<u16>,
}

impl ExchangeRecent {
    /// Finds the numbers of each route and app of a configuration.
    pub fn new(config: &Config, ring: &Arc<Recent>) -> Self {
        let routes = config.routes.iter().map(|route| {
            let upstream = config.upstreams.get(route.upstream);
            let apps = route.apps.iter().filter_map(|app| config.apps.get(*app));
            ring.route(RouteName {
                apps: apps.map(|app| app.name.clone()).collect(),
                host: route.host.clone(),
                path: route.path.clone(),
                upstream: upstream.map_or_else(String::new, |upstream| upstream.name.clone()),
            })
        });
        Self {
            routes: routes.collect(),
            apps: config.apps.iter().map(|app| ring.app(&app.name)).collect(),
            ring: Arc::clone(ring),
        }
    }

    /// Keeps one more, in the place of the oldest.
    pub(super) fn keep(&self, entry: Entry) {
        self.ring.keep(entry);
    }

    /// Returns the number of a route.
    pub(super) fn route(&self, index: Option<usize>) -> u16 {
        number(&self.routes, index)
    }

    /// Returns the number of an app.
    pub(super) fn app(&self, index: Option<usize>) -> u16 {
        number(&self.apps, index)
    }
}

fn number(numbers: &[u16], index: Option<usize>) -> u16 {
    let number = index.and_then(|index| numbers.get(index));
    number.copied().unwrap_or(Entry::NONE)
}
