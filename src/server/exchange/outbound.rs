//! Turns the client's request into the one that the server gets.

use bytes::BytesMut;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, EXPECT, HOST,
    PROXY_AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};

use super::state::Exchange;
use crate::request::{
    Cookies, Denial, Identities, Line, Pass, Subprotocols, is_alias, named_hops,
    stands_for_no_token, without_ours, without_tokens,
};
use crate::server::http1::write_field;
use crate::server::message::{Body, RequestHead, for_each_line};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// A request on its way to a server.
pub(super) struct Outbound<'a> {
    head: &'a RequestHead,
    pass: &'a Pass,
    identities: &'a Identities,
    /// What is set in place of what the client sent, or beside it.
    set: Vec<(&'a HeaderName, &'a HeaderValue)>,
    own: Vec<Line>,
    /// Whether `Cookie` holds nothing but ours.
    hides_cookie: bool,
    host: HeaderValue,
    /// What `Connection` names, which goes no further.
    hops: Vec<HeaderName>,
}

impl<'a> Outbound<'a> {
    pub(super) fn new(
        exchange: &'a Exchange,
        head: &'a RequestHead,
        pass: &'a Pass,
    ) -> Result<Self, Denial> {
        let generation = &*exchange.generation;
        let identities = &generation.identities;
        let mut own = Vec::new();
        let mut hides_cookie = false;
        match without_ours(&head.headers) {
            Cookies::Left(left) => own.push((COOKIE, left)),
            Cookies::None => hides_cookie = true,
            Cookies::Unchanged => {}
        }
        match without_tokens(&head.headers) {
            Subprotocols::Left(left) => own.push((SEC_WEBSOCKET_PROTOCOL, left)),
            // An empty value stands for a header that is taken out.
            Subprotocols::None => own.push((SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(""))),
            Subprotocols::Unchanged => {}
        }
        let upstream = pass.route.upstream;
        let name = generation.upstreams.name(upstream).unwrap_or_default();
        if let (Some(assertions), Some(who)) = (&generation.assertions, &pass.who) {
            let assertion = assertions.assert(who, upstream, name).map_err(|error| {
                tracing::error!(%error, "an assertion could not be signed");
                Denial::Internal
            })?;
            own.push((identities.assertion_name().clone(), assertion));
        }
        if let (Some(relay), Some(who)) = (&generation.relay_headers, &pass.who) {
            own.extend(identities.relay_lines(relay, who));
        }
        if let Some(trace) = &exchange.trace {
            own.extend(trace.lines(&head.headers));
        }
        // HTTP/1.1 and HTTP/2 ask for one, though the client's HTTP/1.0 does not.
        let host = match (&head.authority, head.headers.get(HOST)) {
            (Some(authority), _) => HeaderValue::from_str(authority).ok(),
            (None, host) => host.filter(|host| !host.is_empty()).cloned(),
        };
        let host = match host {
            Some(host) => host,
            None => HeaderValue::from_str(name).map_err(|_| Denial::Internal)?,
        };
        Ok(Self {
            set: identities.set(pass, &exchange.client, &exchange.request_id),
            hops: named_hops(&head.headers)?,
            host,
            head,
            pass,
            identities,
            own,
            hides_cookie,
        })
    }

    /// Returns whether a request without a body says that its length is 0 (RFC 9110, section 8.6).
    pub(super) fn says_no_length(&self) -> bool {
        matches!(self.head.method, Method::POST | Method::PUT | Method::PATCH)
    }

    /// Writes the first line and the fields of HTTP/1.1.
    pub(super) fn write(&self, out: &mut BytesMut) {
        let head = self.head;
        out.extend_from_slice(head.method.as_str().as_bytes());
        out.extend_from_slice(b" ");
        out.extend_from_slice(self.target());
        out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
        out.extend_from_slice(self.host.as_bytes());
        out.extend_from_slice(b"\r\n");
        for_each_line(&head.headers, &head.spelling, |name, spelled, value| {
            if self.passes_on(name, value) {
                write_field(name, spelled, value, out);
            }
        });
        for (name, value) in &self.set {
            write_field(name, None, value, out);
        }
        for (name, value) in self.own.iter().filter(|(_, value)| !value.is_empty()) {
            write_field(name, None, value, out);
        }
        if head.handshake {
            out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\n");
        }
    }

    /// Returns the same for HTTP/2.
    pub(super) fn into_request(self, is_tls: bool) -> Result<Request<()>, Denial> {
        let mut request = Request::new(());
        *request.method_mut() = self.head.method.clone();
        *request.version_mut() = Version::HTTP_2;
        let target = PathAndQuery::try_from(self.target()).map_err(|_| Denial::PathAmbiguous)?;
        let uri = Uri::builder()
            .scheme(if is_tls { "https" } else { "http" })
            .authority(self.host.as_bytes())
            .path_and_query(target);
        *request.uri_mut() = uri
            .build()
            .map_err(|_| Denial::BadRequest("The Host is not a host name."))?;
        let headers = request.headers_mut();
        headers.reserve(self.head.headers.len() + self.set.len() + self.own.len() + 2);
        for (name, value) in &self.head.headers {
            if *name != EXPECT && self.passes_on(name, value) {
                headers.append(name.clone(), value.clone());
            }
        }
        for (name, value) in &self.set {
            headers.append((*name).clone(), (*value).clone());
        }
        for (name, value) in self.own.into_iter().filter(|(_, value)| !value.is_empty()) {
            headers.append(name, value);
        }
        if let Body::Length(length) = self.head.body {
            headers.insert(CONTENT_LENGTH, length.into());
        }
        if wants_trailers(&self.head.headers) {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        Ok(request)
    }

    fn target(&self) -> &[u8] {
        let rewritten = self.pass.target.as_ref();
        rewritten.map_or(&*self.head.target, |target| target.as_bytes())
    }

    /// Returns whether a header of the client's goes to the server as it is.
    fn passes_on(&self, name: &HeaderName, value: &HeaderValue) -> bool {
        let stays = is_hop_by_hop(name)
            || *name == HOST
            || *name == CONTENT_LENGTH
            || self.identities.owns(name)
            || (*name == AUTHORIZATION && self.hides_authorization(value))
            || (*name == COOKIE && self.hides_cookie)
            || (*name == EXPECT && self.head.body == Body::Empty)
            || self.own.iter().any(|(own, _)| own == name)
            || self.hops.contains(name);
        !stays
    }

    fn hides_authorization(&self, value: &HeaderValue) -> bool {
        let pass = self.pass;
        pass.hide_authorization || (pass.hide_spare_bearers && stands_for_no_token(value))
    }
}

/// Returns whether a header is about one connection only (RFC 9110, section 7.6.1).
pub(super) fn is_hop_by_hop(name: &HeaderName) -> bool {
    *name == CONNECTION
        || *name == TRANSFER_ENCODING
        || *name == UPGRADE
        || *name == TE
        || *name == TRAILER
        || *name == PROXY_AUTHORIZATION
        || *name == KEEP_ALIVE
        || *name == PROXY_CONNECTION
        || *name == HTTP2_SETTINGS
}

fn wants_trailers(headers: &HeaderMap) -> bool {
    headers.get_all(TE).iter().any(|line| {
        let mut codings = line.as_bytes().split(|&b| b == b',');
        codings.any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    })
}

/// Returns whether a request is a call of gRPC, whose messages may be far apart.
pub(super) fn is_grpc(head: &RequestHead) -> bool {
    let kind = head.headers.get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// What decides where a message ends, whom it is for or from whom it is.
const DECIDE: [HeaderName; 6] = [
    AUTHORIZATION,
    COOKIE,
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    HOST,
    SEC_WEBSOCKET_PROTOCOL,
];

/// Returns the trailers that go on: none that are ours, and none that would frame or address the message, nor what a backend that folds
/// names would take for one.
pub(super) fn trailers(identities: &Identities, trailers: HeaderMap) -> Option<HeaderMap> {
    let mut left = HeaderMap::with_capacity(trailers.len());
    for (name, value) in &trailers {
        let decides = DECIDE.iter().any(|own| own == name || is_alias(name, own));
        if !decides && !is_hop_by_hop(name) && !identities.owns(name) {
            left.append(name.clone(), value.clone());
        }
    }
    (!left.is_empty()).then_some(left)
}
