//! Writes one line for each exchange, without anything that could be used again.
//!
//! What a line costs is what its fields are long, see `log/access`. Nothing here is looked up that the exchange does not hold
//! already but `User-Agent`, and that only where the field is wanted. A user is named by the session, whose
//! first ten characters are the same for all of a user's sessions in an app: they are the digest that stands in place of an openid.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use http::header::USER_AGENT;

use super::state::Exchange;
use crate::config::{LogField as F, ServerAddress};
use crate::log::{AccessLine, Share, write_access};
use crate::request::{Denial, Peer, RequestId};
use crate::server::message::RequestHead;
use crate::session::DIGEST_LENGTH;
use crate::token::Verified;

/// What every line of an exchange says.
const MESSAGE: &str = "exchange";
/// A name of DNS is no longer, with a port behind it, and none of its labels (RFC 1035, section 2.3.4).
const MOST_OF_HOST: usize = 260;
const LONGEST_LABEL: usize = 63;
/// A longer agent says no more.
const MOST_OF_AGENT: usize = 512;

/// Writes the line of an exchange that ended now.
pub(super) fn write(head: &RequestHead, exchange: &Exchange, trace_id: Option<&str>, now: Instant) {
    let has_failed = exchange.has_failed || exchange.status >= 500;
    let share = match &exchange.denial {
        None if !has_failed => Share::Some,
        None | Some(_) => Share::All,
    };
    write_access(MESSAGE, share, |line| {
        put(line, head, exchange, trace_id, now);
    });
}

fn put(
    line: &mut AccessLine<'_>,
    head: &RequestHead,
    exchange: &Exchange,
    trace_id: Option<&str>,
    now: Instant,
) {
    line.word(F::RequestId, exchange.request_id.as_str());
    if let Some(id) = trace_id {
        line.word(F::TraceId, id);
    }
    // A method is a token: of its characters none ends a value.
    line.word(F::Method, head.method.as_str());
    if let Some(host) = &exchange.client.host
        && line.wants(F::Host)
        && let Some(host) = host_in(host.as_bytes())
    {
        line.word(F::Host, host);
    }
    line.text(F::Path, &path(head, exchange));
    line.number(F::Status, u64::from(exchange.status));
    match &exchange.denial {
        None => line.word(F::Decision, exchange.decision.as_str()),
        Some(denial) => {
            line.word(F::Decision, "refused");
            line.word(F::Reason, denial.code());
            if let Some(fault) = denial.token_fault() {
                line.text(F::TokenFault, fault);
            }
        }
    }
    if let Some(route) = &exchange.route {
        line.text(F::Route, &route.path);
    }
    if let Some(who) = &exchange.user {
        put_user(line, exchange, who);
    }
    match exchange.attempts.server() {
        Some(ServerAddress::Tcp(server)) => line.text(F::Server, server),
        Some(server @ ServerAddress::Unix(_)) => line.text(F::Server, &server.to_string()),
        None => {}
    }
    if let Some(client) = &exchange.client.address_text {
        line.word(F::Client, client.to_str().unwrap_or_default());
    }
    if line.wants(F::UserAgent)
        && let Some(agent) = head.headers.get(USER_AGENT)
    {
        line.bytes(F::UserAgent, agent.as_bytes(), MOST_OF_AGENT);
    }
    line.number(F::Received, exchange.body_bytes);
    line.number(F::Sent, exchange.sent_bytes);
    let elapsed = now.saturating_duration_since(exchange.started);
    line.number(F::Elapsed, whole_ms(elapsed));
    if let Some(first_byte) = exchange.first_byte {
        line.number(F::Upstream, whole_ms(first_byte));
    }
    line.switch(F::Failed, exchange.has_failed);
}

fn put_user(line: &mut AccessLine<'_>, exchange: &Exchange, who: &Verified) {
    if let Some(app) = exchange.generation.logins.app_name(who) {
        line.word(F::App, app);
    }
    let session = who.session_text().to_str().unwrap_or_default();
    line.word(F::Session, session);
    if line.shows_openids() {
        line.bytes(F::OpenId, who.openid().as_bytes(), usize::MAX);
    } else {
        line.word(F::OpenId, session.get(..DIGEST_LENGTH).unwrap_or_default());
    }
}

/// Returns a host that can be one. Whatever else a client sends in its place, such as a token, is nobody's business.
pub(super) fn host_in(host: &[u8]) -> Option<&str> {
    let mut label = 0;
    for byte in host {
        label = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => label + 1,
            b'.' | b':' | b'[' | b']' => 0,
            _ => return None,
        };
        if label > LONGEST_LABEL {
            return None;
        }
    }
    let fits = (1..=MOST_OF_HOST).contains(&host.len());
    std::str::from_utf8(host).ok().filter(|_| fits)
}

/// Returns the milliseconds that have passed; a quotient of 64 bits is much cheaper than one of 128.
fn whole_ms(time: Duration) -> u64 {
    let secs = time.as_secs().saturating_mul(1000);
    secs.saturating_add(u64::from(time.subsec_millis()))
}

/// Returns the path without its query, which may hold a signature or a code, and without a ticket, which may still be good.
pub(super) fn path<'h>(head: &'h RequestHead, exchange: &Exchange) -> Cow<'h, str> {
    let path = head.path();
    // One that was refused for how it is written is no path of ours, and its ticket is still good.
    if matches!(exchange.denial, Some(Denial::PathAmbiguous)) {
        return without_ticket(path);
    }
    let below = path.strip_prefix(exchange.generation.requests.auth_path());
    match below.is_some_and(|below| below.starts_with("/ticket/")) {
        true => format!("{}/ticket/…", exchange.generation.requests.auth_path()).into(),
        false => path.into(),
    }
}

/// Returns a path up to the word of a ticket, in whatever letters and before whatever separates them.
fn without_ticket(path: &str) -> Cow<'_, str> {
    const WORD: &str = "ticket";
    let found = path.to_ascii_lowercase().find(WORD);
    match found.and_then(|at| path.get(..at + WORD.len())) {
        Some(before) => format!("{before}…").into(),
        None => path.into(),
    }
}

/// Writes the line for a head that was refused before it was parsed.
pub(super) fn write_unread(peer: &Peer, request_id: &RequestId, status: u16, denial: &Denial) {
    write_access(MESSAGE, Share::All, |line| {
        line.word(F::RequestId, request_id.as_str());
        line.number(F::Status, u64::from(status));
        line.word(F::Decision, "refused");
        line.word(F::Reason, denial.code());
        line.word(F::Client, &peer.address().to_string());
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_the_word_nothing_is_told() {
        for (path, told) in [
            ("/_auth//ticket/secret", "/_auth//ticket…"),
            ("/_AUTH/Ticket%2Fsecret", "/_AUTH/Ticket…"),
            ("/é//orders", "/é//orders"),
        ] {
            assert_eq!(without_ticket(path), told);
        }
    }

    #[test]
    fn a_host_is_told_where_it_can_be_one() {
        for host in [
            "shop.example",
            "SHOP.example:8443",
            "[2001:db8::1]:80",
            "127.0.0.1",
            "a_b",
        ] {
            assert_eq!(host_in(host.as_bytes()), Some(host));
        }
        let token = "a".repeat(64);
        let long = "a.".repeat(150);
        for host in [
            "", "a\"b", "a b", "<script>", "a/b", "a\u{e9}", &token, &long,
        ] {
            assert_eq!(host_in(host.as_bytes()), None, "{host}");
        }
        assert_eq!(host_in(b"a\xff"), None);
    }
}
