//! Decides of which requests there is a trace, and whose it is a part of.

use std::sync::Arc;
use std::time::Instant;

use http::HeaderMap;
use opentelemetry::SpanId;

use super::parent::{TRACESTATE, is_state_valid, parent};
use super::queue::Queue;
use super::span::{Moment, SpanIds, random_span, random_trace};
use super::trace::Trace;
use crate::config::{Decider, Traces};

/// Begins traces.
#[derive(Debug)]
pub struct Tracer {
    queue: Arc<Queue>,
    /// A request is traced where a random number is below this; `None` is all of them.
    below: Option<u64>,
    decider: Decider,
}

impl Tracer {
    /// Begins to trace as configured; `None` where nothing is traced.
    pub fn new(config: &Traces, queue: &Arc<Queue>) -> Option<Self> {
        config.endpoint.as_ref()?;
        Some(Self {
            queue: Arc::clone(queue),
            below: below(config.sample),
            decider: config.decider,
        })
    }

    /// Begins the trace of a request that came at a moment; `is_trusted` says whether a trusted proxy sent it.
    ///
    /// The trace's id is the client's, where it sent one. Whether there is a record of it is the client's to say only where it is
    /// trusted with that, and must not follow from an id that the client chose.
    pub fn begin(&self, headers: &HeaderMap, is_trusted: bool, began: Instant) -> Trace {
        let parent = parent(headers);
        let decides = match self.decider {
            Decider::TrustedProxies => is_trusted,
            Decider::Everyone => true,
            Decider::Nobody => false,
        };
        let is_recorded = match parent {
            Some(parent) if decides => parent.is_sampled,
            Some(_) | None => self.below.is_none_or(|below| fastrand::u64(..) < below),
        };
        let ids = SpanIds {
            trace: parent.map_or_else(random_trace, |parent| parent.trace),
            span: random_span(),
            parent: parent.map_or(SpanId::INVALID, |parent| parent.span),
            is_parent_remote: parent.is_some(),
        };
        let has_state = headers.contains_key(TRACESTATE);
        // What other systems said of a trace is of no meaning in another one.
        let drops_state = has_state && (parent.is_none() || !is_state_valid(headers));
        Trace::new(
            is_recorded.then(|| Arc::clone(&self.queue)),
            ids,
            Moment {
                wall: wall(),
                instant: began,
            },
            drops_state,
        )
    }
}

/// Returns the bound for a ratio.
fn below(ratio: f64) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a ratio is from 0 to 1, and nobody counts requests that exactly"
    )]
    let below = (ratio * u64::MAX as f64) as u64;
    (ratio < 1.0).then_some(below)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a collector puts spans of many machines in order, by the machines' time"
)]
fn wall() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn tracer(sample: f64, decider: Decider) -> Tracer {
        Tracer {
            queue: Arc::new(Queue::new(1)),
            below: below(sample),
            decider,
        }
    }

    fn headers(flags: &str) -> HeaderMap {
        let value = format!("00-{TRACE}-00f067aa0ba902b7-{flags}");
        let value = HeaderValue::from_str(&value).unwrap();
        HeaderMap::from_iter([("traceparent".parse().unwrap(), value)])
    }

    fn is_recorded(tracer: &Tracer, headers: &HeaderMap, is_trusted: bool) -> bool {
        let trace = tracer.begin(headers, is_trusted, Instant::now());
        trace.scope().is_some()
    }

    #[test]
    fn the_flag_of_whoever_decides_counts_and_no_other() {
        let (yes, no) = (headers("01"), headers("00"));
        for (decider, is_trusted, follows) in [
            (Decider::TrustedProxies, true, true),
            (Decider::TrustedProxies, false, false),
            (Decider::Everyone, false, true),
            (Decider::Nobody, true, false),
        ] {
            let (none, all) = (tracer(0.0, decider), tracer(1.0, decider));
            assert_eq!(is_recorded(&none, &yes, is_trusted), follows, "{decider:?}");
            assert_eq!(is_recorded(&all, &no, is_trusted), !follows, "{decider:?}");
        }
    }

    #[test]
    fn without_a_parent_the_ratio_decides() {
        let nothing = HeaderMap::new();
        assert!(!is_recorded(
            &tracer(0.0, Decider::Everyone),
            &nothing,
            true
        ));
        assert!(is_recorded(&tracer(1.0, Decider::Everyone), &nothing, true));
        let some = tracer(0.25, Decider::TrustedProxies);
        let recorded = (0..10_000).filter(|_| is_recorded(&some, &nothing, false));
        let recorded = recorded.count();
        assert!((2_200..2_800).contains(&recorded), "{recorded}");
    }

    #[test]
    fn an_id_that_a_client_chose_changes_nothing_about_the_ratio() {
        let some = tracer(0.25, Decider::TrustedProxies);
        let same = headers("01");
        let recorded = (0..10_000).filter(|_| is_recorded(&some, &same, false));
        let recorded = recorded.count();
        assert!((2_200..2_800).contains(&recorded), "{recorded}");
    }

    #[test]
    fn a_trace_goes_on_where_its_parent_is_valid_and_begins_anew_where_not() {
        let tracer = tracer(1.0, Decider::TrustedProxies);
        let trace = tracer.begin(&headers("01"), false, Instant::now());
        assert_eq!(trace.id(), TRACE);
        let trace = tracer.begin(&headers("0g"), false, Instant::now());
        assert_ne!(trace.id(), TRACE);
    }
}
