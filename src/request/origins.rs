//! Finds out whose word about web pages of other origins counts: a route's own, or the one for all.

use http::Method;
use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};

use super::{Cors, Denial, Destination, Message, Requests};
use crate::config::Config;

/// What web pages of other origins are told, by route; `None` where they are told nothing.
#[derive(Debug)]
pub struct Origins {
    all: Option<Cors>,
    routes: Vec<Option<Cors>>,
}

impl Origins {
    /// Prepares the answers.
    pub fn new(config: &Config) -> Self {
        let routes = config.routes.iter();
        Self {
            all: Cors::new(&config.cors),
            routes: routes.map(|route| Cors::new(&route.cors)).collect(),
        }
    }

    /// Returns what goes for own endpoints, and for requests that no route takes.
    pub fn all(&self) -> Option<&Cors> {
        self.all.as_ref()
    }

    /// Returns what goes for the route with this index.
    pub fn route(&self, index: usize) -> Option<&Cors> {
        self.routes.get(index)?.as_ref()
    }

    /// Returns what goes for a request that goes there.
    pub fn at(&self, destination: &Destination<'_>) -> Option<&Cors> {
        match destination {
            Destination::Own(_) => self.all(),
            Destination::Route(taken) => self.route(taken.index),
        }
    }

    /// Returns what answers a browser that asks what a page may do; `None` for a request like any other.
    ///
    /// It goes by where the page's request would go, of which the browser tells the method.
    pub fn preflight(
        &self,
        requests: &Requests,
        message: &Message<'_>,
    ) -> Result<Option<&Cors>, Denial> {
        let Some(method) = announced(message) else {
            return Ok(None);
        };
        let mut request = requests.destinations.admit(message)?;
        let path = request.path.as_str();
        if requests.destinations.asked_about(path).is_some() {
            // A gateway that asks about one would take the answer for a permission.
            return Ok(None);
        }
        request.method = &method;
        match requests.destinations.find_admitted(request, message.target) {
            Ok(destination) => Ok(self.at(&destination)),
            Err(Denial::RouteUnknown | Denial::MethodNotAllowed(_)) => Ok(self.all()),
            Err(denial) => Err(denial),
        }
    }
}

/// Returns the method that a browser asks about.
fn announced(message: &Message<'_>) -> Option<Method> {
    if *message.method != Method::OPTIONS || !message.headers.contains_key(ORIGIN) {
        return None;
    }
    let method = message.headers.get(ACCESS_CONTROL_REQUEST_METHOD)?;
    Method::from_bytes(method.as_bytes()).ok()
}
