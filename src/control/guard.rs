//! Says who may ask: whoever has the secret, or any program of this machine where there is none, but no web page other than the
//! status page.

use std::net::IpAddr;

use axum::body::HttpBody as _;
use axum::extract::Request;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, HeaderName};

use super::calls::Limited;
use super::denial::ControlDenial;
use super::exchange::{ByName, Peer};
use super::failures::Failures;
use super::known::{Known, SecretDigest, Sender};
use super::{Control, health, status};

pub(super) const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The largest body, in bytes.
pub(super) const MAX_BODY: u64 = 64 * 1024;

/// What a form can send to another origin without asking first.
const FORMS: [&str; 3] = [
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "text/plain",
];

/// Lets a request in, and says whose it is where its secret is not good for every call.
pub(super) fn admit(
    control: &Control,
    request: &Request,
) -> Result<Option<Limited>, ControlDenial> {
    if health::is_probe(request.uri().path()) || status::is_page(request) {
        return Ok(None);
    }
    let (known, headers) = (&*control.known, request.headers());
    let peer = request.extensions().get::<Peer>();
    let by_page = status::is_by_page(request);
    let mut limited = None;
    if known.asks_for_secret() {
        limited = match by_page {
            // The secret is in its body.
            true if status::is_login(request) => None,
            true => status::logged_in(control, headers)?,
            false => check_tried(known, &control.failures, headers, peer)?,
        };
    } else if !names_this_machine(request) {
        // Over a Unix socket too: a browser gets there by way of a port that is forwarded to it.
        return Err(HOST_OF_ANOTHER);
    }
    if comes_from_a_page(headers) && !by_page {
        return Err(ControlDenial::OriginNotAllowed);
    }
    if is_form(headers) {
        return Err(ControlDenial::BadRequest(
            "A body must be JSON, with Content-Type: application/json.",
        ));
    }
    if request.uri().path().contains('%') {
        return Err(ControlDenial::BadRequest("A path here has no escapes."));
    }
    if request.body().size_hint().lower() > MAX_BODY {
        return Err(ControlDenial::BodyTooLarge);
    }
    Ok(limited)
}

/// Returns whether a request asks for this machine, or for WeChat in place of which this machine answers.
pub(super) fn names_this_machine_or_wechat(request: &Request) -> Result<(), ControlDenial> {
    let by_name = request.extensions().get::<ByName>().is_some();
    if by_name || names_this_machine(request) {
        return Ok(());
    }
    Err(HOST_OF_ANOTHER)
}

const HOST_OF_ANOTHER: ControlDenial = ControlDenial::BadRequest(
    "The Host must be localhost or an address of it, as there is no secret.",
);

/// Compares the secret that was sent, unless too many wrong ones came from the same address.
pub(super) fn check_tried(
    known: &Known,
    failures: &Failures,
    headers: &HeaderMap,
    peer: Option<&Peer>,
) -> Result<Option<Limited>, ControlDenial> {
    peer.map_or(Ok(()), |peer| failures.check_secrets(peer))?;
    let checked = check_bearer(known, headers);
    if let (Err(ControlDenial::TokenInvalid), Some(peer)) = (&checked, peer) {
        failures.count_secret(peer);
    }
    checked
}

/// Returns whose secret this is, and whether it is good for some calls only.
pub(super) fn check_secret(
    known: &Known,
    secret: &SecretDigest,
) -> Result<Option<Limited>, ControlDenial> {
    match known.sender(secret) {
        Sender::Trusted => Ok(None),
        Sender::Limited(caller) => Ok(Some(caller)),
        Sender::Stranger => Err(ControlDenial::TokenInvalid),
    }
}

/// Returns what was sent as a bearer token.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, bearer) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case("bearer ").then_some(bearer)
}

fn check_bearer(known: &Known, headers: &HeaderMap) -> Result<Option<Limited>, ControlDenial> {
    let mut sent = headers.get_all(AUTHORIZATION).iter();
    let (first, more) = (sent.next(), sent.next());
    let value = first.ok_or(ControlDenial::TokenMissing)?.as_bytes();
    let (scheme, bearer) = value.split_at_checked(7).unwrap_or((value, &[]));
    let is_one = more.is_none() && scheme.eq_ignore_ascii_case(b"bearer ");
    if !is_one {
        return Err(ControlDenial::TokenInvalid);
    }
    check_secret(known, &SecretDigest::of(bearer))
}

/// Returns whether a request asks for this machine by a name that no other can take.
///
/// A page whose own name was made to lead here would send that name.
fn names_this_machine(request: &Request) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    let target = request.uri().authority();
    Authority::try_from(host.as_bytes()).is_ok_and(|host| is_local(&host))
        && target.is_none_or(is_local)
}

fn is_local(authority: &Authority) -> bool {
    let host = authority.host();
    let address: Result<IpAddr, _> = host.trim_matches(['[', ']']).parse();
    let loopback = address.is_ok_and(|address| address.to_canonical().is_loopback());
    !authority.as_str().contains('@') && (loopback || host.eq_ignore_ascii_case("localhost"))
}

/// Returns whether a browser sent it for a page; it says `none` where somebody typed the URL.
pub(super) fn comes_from_a_page(headers: &HeaderMap) -> bool {
    let mut sites = headers.get_all(FETCH_SITE).iter();
    headers.contains_key(ORIGIN) || sites.any(|site| site != "none")
}

fn is_form(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_TYPE).iter().any(|value| {
        let text = value.to_str().unwrap_or_default();
        let kind = text.split(';').next().unwrap_or_default().trim();
        FORMS.iter().any(|form| kind.eq_ignore_ascii_case(form))
    })
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn request(host: &str, target: &str) -> Request {
        let request = Request::builder().uri(target).header(HOST, host);
        request.body(Body::empty()).unwrap()
    }

    #[test]
    fn this_machine_has_names_that_no_other_can_take() {
        for host in [
            "localhost",
            "LocalHost:9090",
            "127.0.0.1",
            "127.8.8.8:1",
            "[::1]:9090",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(names_this_machine(&request(host, "/")), "{host}");
        }
        for host in [
            "",
            "a.example",
            "localhost.a.example",
            "127.0.0.1.a.example",
            "10.0.0.1:9090",
            "0.0.0.0",
            "[::]",
            "a.example@localhost",
            "localhost@a.example",
            "localhost.",
            "2130706433",
        ] {
            assert!(!names_this_machine(&request(host, "/")), "{host}");
        }
        let absolute = request("localhost", "http://a.example/v1/reload");
        assert!(!names_this_machine(&absolute));
        let none = Request::builder().body(Body::empty()).unwrap();
        assert!(!names_this_machine(&none));
    }

    #[test]
    fn two_hosts_are_none() {
        let mut request = request("localhost", "/");
        let other = http::HeaderValue::from_static("localhost");
        request.headers_mut().append(HOST, other);
        assert!(!names_this_machine(&request));
    }
}
