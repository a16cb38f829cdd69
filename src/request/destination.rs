//! Finds where a request goes before anybody asks who sent it: an endpoint of ours or a route, and the path forwarded.

use std::sync::Arc;

use http::Method;

use super::{Admitted, Denial, Endpoint, Message, NormalPath, RouteTable, admit};
use crate::config::{Auth, Config, Route};

/// Where a request goes, if its sender may.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every request takes a route, and a box would cost each an allocation"
)]
pub enum Destination<'a> {
    /// Menshen answers it itself.
    Own(Endpoint),
    /// A route takes it.
    Route(Taken<'a>),
}

impl<'a> Destination<'a> {
    /// Returns the route, where it is one.
    pub fn route(&self) -> Option<&'a Arc<Route>> {
        match self {
            Self::Own(_) => None,
            Self::Route(taken) => Some(taken.route),
        }
    }
}

/// A request that a route takes.
#[derive(Clone, Debug)]
pub struct Taken<'a> {
    /// The route's index in the configuration.
    pub index: usize,
    /// The route.
    pub route: &'a Arc<Route>,
    /// What the request says.
    pub request: Admitted<'a>,
    /// The path and query to ask the upstream for; `None` when they are what the client sent.
    pub target: Option<String>,
}

/// Where one reading of a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Below `auth_path`.
    Own(Result<Endpoint, Denial>),
    /// To a route, by its index.
    Route(Result<usize, Denial>),
}

/// Every place where a request can go.
#[derive(Debug)]
pub struct Destinations {
    routes: Vec<Arc<Route>>,
    table: RouteTable,
    auth_path: String,
    /// Paths at which WeChat checks a domain.
    domain_checks: Vec<String>,
    max_header_bytes: usize,
}

impl Destinations {
    /// Prepares the places that `config` names.
    pub fn new(config: &Config) -> Self {
        Self {
            table: RouteTable::new(&config.routes),
            routes: config.routes.iter().cloned().map(Arc::new).collect(),
            auth_path: config.server.auth_path.clone(),
            domain_checks: config
                .web
                .domain_check
                .iter()
                .map(|name| format!("/{name}"))
                .collect(),
            max_header_bytes: config.server.max_header_bytes,
        }
    }

    /// Returns where our own endpoints are.
    pub fn auth_path(&self) -> &str {
        &self.auth_path
    }

    /// Returns the route with this index.
    pub fn route(&self, index: usize) -> Option<&Route> {
        self.routes.get(index).map(|route| &**route)
    }

    /// Finds where a request goes, or refuses it.
    pub fn find<'a>(&'a self, message: &Message<'a>) -> Result<Destination<'a>, Denial> {
        let admitted = self.admit(message);
        let admitted = admitted.map_err(|denial| self.with_methods(denial, message))?;
        self.find_admitted(admitted, message.target)
    }

    /// Names the methods that the path has, where the method is one that is refused everywhere.
    fn with_methods(&self, denial: Denial, message: &Message<'_>) -> Denial {
        let Denial::MethodNotAllowed(_) = denial else {
            return denial;
        };
        let known = Message {
            method: &Method::GET,
            ..*message
        };
        let found = self.admit(&known).and_then(|admitted| {
            let refused = Admitted {
                method: message.method,
                ..admitted
            };
            self.find_admitted(refused, message.target)
        });
        match found {
            Err(Denial::MethodNotAllowed(methods)) => Denial::MethodNotAllowed(methods),
            Ok(_) | Err(_) => denial,
        }
    }

    /// Checks a message's framing, host and target.
    pub(super) fn admit<'a>(&self, message: &Message<'a>) -> Result<Admitted<'a>, Denial> {
        admit(message, self.max_header_bytes)
    }

    /// Finds where an admitted request goes, whose target was sent as `sent`.
    pub(super) fn find_admitted<'a>(
        &'a self,
        request: Admitted<'a>,
        sent: &[u8],
    ) -> Result<Destination<'a>, Denial> {
        if let Some(own) = self.own(&request) {
            let endpoint = own?;
            // A gateway in front that compares without undoing escapes took the path for another.
            if !request.path.is_as_sent() && !self.is_plainly(endpoint, sent) {
                return Err(Denial::PathAmbiguous);
            }
            return Ok(Destination::Own(endpoint));
        }
        if !self.domain_checks.is_empty() && self.is_domain_check(&request) {
            return Ok(Destination::Own(Endpoint::DomainCheck));
        }
        let index = self.table.find(&request)?;
        let route = self.routes.get(index).ok_or(Denial::RouteUnknown)?;
        Ok(Destination::Route(Taken {
            index,
            route,
            target: target(&request, sent, route),
            request,
        }))
    }

    fn is_domain_check(&self, request: &Admitted<'_>) -> bool {
        let asks = matches!(*request.method, Method::GET | Method::HEAD);
        asks && self
            .domain_checks
            .iter()
            .any(|path| path == request.path.as_str())
    }

    /// Says where a request leads whose path is read as `path`.
    pub fn reading(&self, request: &Admitted<'_>, path: &str) -> Reading {
        match Endpoint::find(&self.auth_path, path, request.method) {
            Some(own) => Reading::Own(own),
            None => Reading::Route(self.table.look_up(request.host, path, request.method)),
        }
    }

    /// Returns what follows the endpoint that gateways ask; `None` when the path is another.
    pub(super) fn asked_about<'a>(&self, path: &'a str) -> Option<&'a str> {
        Endpoint::asked_about(&self.auth_path, path)
    }

    /// Returns whether an endpoint's own part of the path is free of escapes; below `verify` they are another path's.
    fn is_plainly(&self, endpoint: Endpoint, sent: &[u8]) -> bool {
        let sent = std::str::from_utf8(sent).unwrap_or("");
        endpoint == Endpoint::Verify && Endpoint::asked_about(&self.auth_path, sent).is_some()
    }

    fn own(&self, request: &Admitted<'_>) -> Option<Result<Endpoint, Denial>> {
        let find = |path: &str| Endpoint::find(&self.auth_path, path, request.method);
        match request.path.other_reading() {
            Some(other) if find(&other).is_some() => match find(request.path.as_str()) {
                // Two readings of what is asked about are looked at when that is decided on.
                Some(Ok(Endpoint::Verify)) => Some(Ok(Endpoint::Verify)),
                // Neither a backend nor we may be reached by a spelling that the other reads differently.
                Some(_) | None => Some(Err(Denial::PathAmbiguous)),
            },
            _ => find(request.path.as_str()).or_else(|| {
                let is_near = self.is_near(&request.path, request.method);
                is_near.then_some(Err(Denial::PathAmbiguous))
            }),
        }
    }

    /// Returns whether a path is ours for a gateway that passes over case, decodes it again, or takes look-alikes for ASCII.
    fn is_near(&self, path: &NormalPath<'_>, method: &Method) -> bool {
        let is_ours = |path: &str| {
            let (auth_path, path) = (
                self.auth_path.to_ascii_lowercase(),
                path.to_ascii_lowercase(),
            );
            Endpoint::find(&auth_path, &path, method).is_some()
        };
        (path.has_capitals() && is_ours(path.as_str()))
            || path
                .folded()
                .is_some_and(|folded| folded.iter().any(|path| is_ours(path)))
            || path.decoded_again().is_some_and(|again| {
                let other = again.other_reading();
                is_ours(again.as_str())
                    || other.is_some_and(|other| is_ours(&other))
                    || self.is_near(again, method)
            })
    }
}

/// Returns whether a route lets somebody in who sends no credential.
pub fn admit_stranger(route: &Route) -> Result<(), Denial> {
    match route.auth {
        Auth::Optional | Auth::Public => Ok(()),
        Auth::Required | Auth::SignedUrl => Err(Denial::TokenMissing),
    }
}

/// Returns the target to forward where the query is another one than was sent.
pub(super) fn target_with(request: &Admitted<'_>, query: Option<&str>, route: &Route) -> String {
    let path = forwarded_path(request, route);
    let slash = if path.starts_with('/') { "" } else { "/" };
    match query {
        Some(query) => format!("{slash}{path}?{query}"),
        None => format!("{slash}{path}"),
    }
}

/// Returns the path to forward, perhaps without its slash.
fn forwarded_path<'r>(request: &'r Admitted<'_>, route: &Route) -> &'r str {
    let path = request.path.as_str();
    if route.strip_prefix && route.path != "/" {
        // "/shop//evil.example" must not become "//evil.example", which is another host's.
        let rest = path.strip_prefix(route.path.as_str()).unwrap_or(path);
        return rest.trim_start_matches('/');
    }
    path
}

/// Returns the target to forward, unless it is the one that was sent.
fn target(request: &Admitted<'_>, sent: &[u8], route: &Route) -> Option<String> {
    let path = forwarded_path(request, route);
    let query = request.query.map_or(0, |query| query.len() + 1);
    if sent.len() == path.len() + query && sent.starts_with(path.as_bytes()) {
        return None;
    }
    let mut target = String::with_capacity(path.len() + query + 1);
    if !path.starts_with('/') {
        target.push('/');
    }
    target.push_str(path);
    if let Some(query) = request.query {
        target.push('?');
        target.push_str(query);
    }
    Some(target)
}
