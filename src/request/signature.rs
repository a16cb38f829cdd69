//! Finds the signature of a URL in its query, and whose it is.

use std::sync::Arc;

use super::decide::allowed_on;
use super::{Client, Denial, Destination, Field, Message, Requests, Taken, bearer};
use crate::config::Auth;
use crate::token::{SignedUrl, TokenError, Verified};

/// The parameter that carries it, as the last one of a query.
pub const SIGNATURE: &str = "menshen_signature";

/// A signature, and the query without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed<'a> {
    /// The signature, not yet verified.
    pub signature: &'a str,
    /// What else the query says; `None` where it says nothing.
    pub query: Option<&'a str>,
}

impl<'a> Signed<'a> {
    /// Finds the signature; `None` where there is none, and a refusal where it is not where we put it.
    pub fn find(query: Option<&'a str>) -> Result<Option<Self>, Denial> {
        let Some(query) = query else {
            return Ok(None);
        };
        let (rest, last) = match query.rsplit_once('&') {
            Some((rest, last)) => (Some(rest), last),
            None => (None, query),
        };
        let found = last
            .strip_prefix(SIGNATURE)
            .and_then(|last| last.strip_prefix('='));
        // Two of them, or one that somebody added something to.
        let is_elsewhere = rest.is_some_and(names_it) || (found.is_none() && names_it(last));
        if is_elsewhere {
            return Err(Denial::SignatureInvalid("not the last parameter"));
        }
        let query = rest.filter(|rest| !rest.is_empty());
        Ok(found.map(|signature| Self { signature, query }))
    }
}

impl Requests {
    /// Returns the route of a URL that a user wants to have signed, with its path as the router reads it.
    pub fn find_for_signature<'a>(
        &'a self,
        message: &Message<'a>,
        who: &Verified,
    ) -> Result<Taken<'a>, Denial> {
        const NOT_SIGNED: Denial =
            Denial::BadRequest("The path is of no route with auth = \"signed_url\".");
        let taken = match self.find(message)? {
            Destination::Route(taken) if taken.route.auth == Auth::SignedUrl => taken,
            Destination::Route(_) | Destination::Own(_) => return Err(NOT_SIGNED),
        };
        if Signed::find(taken.request.query)?.is_some() {
            return Err(Denial::BadRequest("The path has a signature already."));
        }
        if !taken.route.apps.contains(&who.app()) {
            return Err(Denial::AppNotAllowed);
        }
        Ok(taken)
    }

    /// Returns whose a ticket is, by what was signed for it.
    pub fn admit_ticket(&self, proof: &str, ticket: &SignedUrl<'_>) -> Result<Verified, Denial> {
        let who = self.tokens.check_url(proof, ticket);
        let who = who.map_err(|error| match error {
            TokenError::Expired => Denial::TokenExpired,
            TokenError::Invalid(why) => Denial::TicketInvalid(why),
        })?;
        self.check_standing(&who)?;
        Ok(who)
    }

    pub(super) fn admit_signed(
        &self,
        taken: &Taken<'_>,
        signed: &Signed<'_>,
        client: &Client,
    ) -> Result<Arc<Verified>, Denial> {
        let Taken { route, request, .. } = taken;
        // A browser sends its cookie along with every image, so that one says nothing.
        if bearer(&request.headers)?.is_some() || !matches!(request.headers.code, Field::Absent) {
            return Err(Denial::TokenAmbiguous);
        }
        let url = SignedUrl {
            method: request.method.as_str(),
            host: request.host,
            path: request.path.as_str(),
            query: signed.query,
        };
        let check = || self.tokens.check_url(signed.signature, &url);
        let who = self.counting_forgeries(client, check)?;
        let who = who.map_err(|error| {
            Denial::SignatureInvalid(match error {
                TokenError::Expired => "expired",
                TokenError::Invalid(why) => why,
            })
        })?;
        self.check_standing(&who)?;
        allowed_on(route, Arc::new(who))
    }
}

fn names_it(query: &str) -> bool {
    let names = query.split('&').map(|pair| pair.split('=').next());
    names.flatten().any(|name| name == SIGNATURE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_last_parameter_or_none() {
        let find = |query| Signed::find(Some(query));
        let signed = |signature, query| Ok(Some(Signed { signature, query }));
        assert_eq!(Signed::find(None), Ok(None));
        assert_eq!(find("a=1"), Ok(None));
        assert_eq!(find(""), Ok(None));
        assert_eq!(find("my_menshen_signature=1"), Ok(None));
        assert_eq!(find("menshen_signature=x"), signed("x", None));
        assert_eq!(find("a=1&menshen_signature=x"), signed("x", Some("a=1")));
        assert_eq!(find("&menshen_signature="), signed("", None));
        for query in [
            "menshen_signature=x&a=1",
            "menshen_signature=x&menshen_signature=y",
            "menshen_signature",
        ] {
            assert!(find(query).is_err(), "{query}");
        }
    }
}
