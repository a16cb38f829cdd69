//! Decides about a request that another gateway asks about before it forwards it itself.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method};

use super::admit::{admit_line, check_method};
use super::{Admitted, Asker, Caller, Decision, Denial, Message, Requests};
use crate::config::Route;
use crate::token::Verified;

/// Answers somebody who describes a request and is no trusted proxy.
pub const DESCRIBER_UNTRUSTED: Denial =
    Denial::BadRequest("X-Forwarded-Method and X-Forwarded-Uri count only from trusted_proxies.");

/// A request that another gateway may forward.
#[derive(Clone, Debug)]
pub struct Allowed {
    /// Who sent it; `None` on routes that let strangers in.
    pub who: Option<Arc<Verified>>,
    /// The route whose rule applied; `None` when it was not known which request is meant.
    pub route: Option<Arc<Route>>,
    /// What the session of whoever sent it goes on by first, not yet opened; nobody is known then.
    pub lapsed: Option<String>,
}

impl Requests {
    /// Decides about the request that `asking` is about, by the same rules as if it had come here.
    ///
    /// It is named by the path below the endpoint, as Envoy does, or by `X-Forwarded-Method`, `-Uri` and `-Host`,
    /// which are refused unless a trusted peer sends them. Where neither is there, a valid token is required.
    pub fn verify(&self, asking: &Message<'_>, asker: &Asker<'_>) -> Result<Allowed, Denial> {
        let mut asked = self.destinations.admit(asking)?;
        // A gateway keeps `Upgrade` to itself, and takes the sub-protocols from the answer.
        asked.headers.subprotocol_token = asked.headers.offered_token;
        let below = self
            .destinations
            .asked_about(asked.path.as_str())
            .unwrap_or("");
        if !below.is_empty() {
            let target = match asked.query {
                Some(query) => format!("{below}?{query}"),
                None => below.to_owned(),
            };
            let line = admit_line(asked.method, asked.host, target.as_bytes(), asked.headers)?;
            return self.allow(line, &target, asker);
        }
        match Original::parse(asking.headers, asker.client.trusted)? {
            Some(Original {
                method,
                target,
                host,
            }) => {
                check_method(&method)?;
                let line = admit_line(&method, host, target.as_bytes(), asked.headers)?;
                self.allow(line, target, asker)
            }
            None => {
                let (who, lapsed) = match self.caller_of(&asked.headers, asked.method, asker)? {
                    Caller::Known(who) => (Some(who), None),
                    Caller::Lapsed(cookie) => (None, Some(cookie)),
                };
                Ok(Allowed {
                    who,
                    route: None,
                    lapsed,
                })
            }
        }
    }

    fn allow(
        &self,
        original: Admitted<'_>,
        target: &str,
        asker: &Asker<'_>,
    ) -> Result<Allowed, Denial> {
        let destination = self
            .destinations
            .find_admitted(original, target.as_bytes())?;
        match self.decide_at(destination, asker)? {
            Decision::Forward(pass) => Ok(Allowed {
                who: pass.who,
                route: Some(pass.route),
                lapsed: None,
            }),
            Decision::Renew(renewal) => Ok(Allowed {
                who: None,
                route: Some(renewal.pass.route),
                lapsed: Some(renewal.cookie),
            }),
            // Where gateways pass a redirect on, they would also have to pass our cookies on.
            Decision::SignIn(_) => Err(Denial::TokenMissing),
            // They come here unasked. A gateway that asks took the path for a backend's.
            Decision::Own(_) => Err(Denial::RouteUnknown),
            // What a login brings would not reach the client, and the code would be spent.
            Decision::LogIn(_) => Err(Denial::TokenMissing),
        }
    }
}

/// A request as a gateway describes it.
struct Original<'a> {
    method: Method,
    target: &'a str,
    host: &'a str,
}

impl<'a> Original<'a> {
    /// Reads the description; `None` when there is none that counts.
    fn parse(headers: &'a HeaderMap, trusted: bool) -> Result<Option<Self>, Denial> {
        let method = only(headers, "x-forwarded-method")?;
        let target = only(headers, "x-forwarded-uri")?;
        if !trusted {
            // To pass it over would decide on another request than the one that is meant.
            return match (method, target) {
                (None, None) => Ok(None),
                _ => Err(DESCRIBER_UNTRUSTED),
            };
        }
        let host = only(headers, "x-forwarded-host")?;
        match (method, target, host) {
            // Proxies that describe nothing add a host all the same.
            (None, None, _) => Ok(None),
            (Some(method), Some(target), Some(host)) => Ok(Some(Self {
                method: Method::from_bytes(method.as_bytes())
                    .map_err(|_| Denial::BadRequest("X-Forwarded-Method is not a method."))?,
                target,
                host,
            })),
            _ => Err(Denial::BadRequest(
                "X-Forwarded-Method, X-Forwarded-Uri and X-Forwarded-Host come together.",
            )),
        }
    }
}

/// Returns a header's value; two would let the client's own stand beside the gateway's.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Denial> {
    const WRONG: Denial =
        Denial::BadRequest("A description of the request is there twice or is no text.");
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => HeaderValue::to_str(value).map(Some).map_err(|_| WRONG),
        (Some(_), Some(_)) => Err(WRONG),
    }
}
