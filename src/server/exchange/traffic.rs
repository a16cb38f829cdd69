//! Counts what an exchange came to.

use std::time::Instant;

use super::state::{Decision, Exchange};
use crate::metrics::{Course, Ended, Words};
use crate::request::CODES;

/// What an exchange can come to.
pub const WORDS: Words = Words {
    decisions: &Decision::WORDS,
    reasons: &CODES,
};

/// Counts an exchange that ended now.
pub(super) fn note(exchange: &Exchange, now: Instant) {
    let traffic = &exchange.generation.traffic;
    let route = exchange.route.as_ref();
    let counters = traffic.route(route.map(|route| route.index));
    counters.note(&Ended {
        course: match &exchange.denial {
            Some(denial) => Course::Refused(denial.number()),
            None => Course::Passed(exchange.decision as usize),
        },
        status: exchange.status,
        received: exchange.body_bytes,
        sent: exchange.sent_bytes,
        took: now.saturating_duration_since(exchange.started),
        decided_in: exchange.decided_in,
    });
    let upstream = route.and_then(|route| traffic.upstream(route.upstream));
    if let (Some(upstream), Some(asked), Some(first_byte)) =
        (upstream, exchange.asked, exchange.first_byte)
    {
        upstream.answered(first_byte, now.saturating_duration_since(asked));
    }
}
