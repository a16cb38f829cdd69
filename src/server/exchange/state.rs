//! What is known about one exchange while it goes through the loop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderValue};

use super::generation::Generation;
use crate::config::Route;
use crate::login::{Grant, expired_session_cookie};
use crate::request::{Asker, Client, CredentialKind, Denial, InFlightPermit, Line, RequestId};
use crate::server::message::RequestHead;
use crate::server::upstreams::Attempts;
use crate::session::SessionId;
use crate::token::Verified;
use crate::traces::Trace;

/// One request and its response.
pub(super) struct Exchange {
    /// The parts that were there when it began.
    pub(super) generation: Arc<Generation>,
    pub(super) started: Instant,
    pub(super) request_id: RequestId,
    pub(super) client: Client,
    /// The route that takes it, or the one of the request that another gateway asked about.
    pub(super) route: Option<Arc<Route>>,
    /// The session of whoever sent it, and until when that stands at least.
    pub(super) session: Option<(SessionId, u64)>,
    pub(super) decision: Decision,
    /// Who sent it, where a credential said so.
    pub(super) user: Option<Arc<Verified>>,
    /// By what they said so; `None` until that is known.
    pub(super) credential: Option<CredentialKind>,
    /// Set when the user was logged in by this request.
    pub(super) grant: Option<Grant>,
    /// Lines that have a browser keep a cookie of ours, or let go of one.
    pub(super) cookies: Vec<HeaderValue>,
    /// What browsers are told about pages of other origins, whatever else the answer says.
    pub(super) cors: Vec<Line>,
    /// Whether that takes the place of what the backend says about it.
    pub(super) owns_cors: bool,
    /// Set when the exchange was refused.
    pub(super) denial: Option<Denial>,
    /// The status of the final response; 0 until it is written.
    pub(super) status: u16,
    /// The bytes of the request's body.
    pub(super) body_bytes: u64,
    /// The bytes of the response's body.
    pub(super) sent_bytes: u64,
    /// How long it took to decide, whatever had to be waited for afterwards.
    pub(super) decided_in: Option<Duration>,
    /// When the server that answers was asked, and how long it took to begin its answer.
    pub(super) asked: Option<Instant>,
    pub(super) first_byte: Option<Duration>,
    /// Whether it ended before its response did.
    pub(super) has_failed: bool,
    /// The servers that were asked.
    pub(super) attempts: Attempts,
    /// Has it counted among the requests in flight of its address until it ends.
    pub(super) permit: Option<InFlightPermit>,
    /// Its trace; `None` where nothing is traced.
    pub(super) trace: Option<Box<Trace>>,
}

/// What was decided, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Menshen answered.
    Own,
    /// Forwarded, on a route where nobody is identified.
    Public,
    /// Forwarded for nobody.
    Anonymous,
    /// Forwarded for a user.
    Authenticated,
}

impl Decision {
    /// The words for all of them, in their order.
    pub(super) const WORDS: [&str; 4] = ["own", "public", "anonymous", "authenticated"];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Public => "public",
            Self::Anonymous => "anonymous",
            Self::Authenticated => "authenticated",
        }
    }
}

impl Exchange {
    /// Describes who had the client send a request.
    pub(super) fn asker<'a>(&'a self, headers: &'a HeaderMap) -> Asker<'a> {
        Asker::of(headers, &self.client)
    }

    /// Returns whether the browser speaks HTTPS, as far as we or a trusted proxy can see.
    pub(super) fn is_https(&self) -> bool {
        self.client.proto.as_bytes() == b"https"
    }

    /// Has a browser let go of a cookie that is good for nothing, or of one that stands there twice.
    pub(super) fn forget_cookie_after(&mut self, request: &RequestHead, denial: &Denial) {
        let is_useless = matches!(
            denial,
            Denial::TokenInvalid(_)
                | Denial::TokenExpired
                | Denial::SessionEnded
                | Denial::RefreshInvalid
                | Denial::RefreshReused
                | Denial::TokenAmbiguous
        );
        let headers = &request.headers;
        let is_by_cookie = headers.contains_key(COOKIE) && !headers.contains_key(AUTHORIZATION);
        if is_useless && is_by_cookie && self.cookies.is_empty() {
            self.cookies.extend(expired_session_cookie(self.is_https()));
        }
    }

    pub(super) fn new(generation: Arc<Generation>, client: Client, request_id: RequestId) -> Self {
        generation.traffic.all.requests_open.add(1);
        Self {
            generation,
            started: Instant::now(),
            request_id,
            client,
            route: None,
            session: None,
            decision: Decision::Own,
            user: None,
            credential: None,
            grant: None,
            cookies: Vec::new(),
            cors: Vec::new(),
            owns_cors: false,
            denial: None,
            status: 0,
            body_bytes: 0,
            sent_bytes: 0,
            decided_in: None,
            asked: None,
            first_byte: None,
            has_failed: false,
            attempts: Attempts::default(),
            permit: None,
            trace: None,
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.generation.traffic.all.requests_open.take(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_decision_has_its_word() {
        let all = [
            Decision::Own,
            Decision::Public,
            Decision::Anonymous,
            Decision::Authenticated,
        ];
        for (number, decision) in all.into_iter().enumerate() {
            assert_eq!(decision as usize, number);
            assert_eq!(Decision::WORDS.get(number), Some(&decision.as_str()));
        }
    }
}
