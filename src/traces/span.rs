//! One part of a trace: what took from when to when, and what is said of it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use opentelemetry::trace::{SpanContext, SpanKind, Status, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, SpanId, TraceFlags, TraceId, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::queue::Queue;

/// A text that comes from outside is cut there, so that the queue has a bound in bytes as well.
const LONGEST_TEXT: usize = 1024;

/// The same moment by the clock of the wall and by the one that measures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) wall: SystemTime,
    pub(super) instant: Instant,
}

impl Moment {
    /// Returns the time of the wall of a later moment. Within an exchange no span is earlier than its parent, even where the clock
    /// is set meanwhile.
    fn at(&self, instant: Instant) -> SystemTime {
        let since = instant.saturating_duration_since(self.instant);
        self.wall.checked_add(since).unwrap_or(self.wall)
    }
}

/// A span below which others begin, possibly in other tasks; there is none where nothing is recorded.
#[derive(Clone, Debug)]
pub struct Scope {
    pub(super) queue: Arc<Queue>,
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
    pub(super) began: Moment,
}

impl Scope {
    /// Begins a span below this one.
    pub fn begin(&self, kind: SpanKind, name: impl Into<Cow<'static, str>>) -> Span {
        let ids = SpanIds {
            trace: self.trace,
            span: random_span(),
            parent: self.span,
            is_parent_remote: false,
        };
        Span::new(
            Arc::clone(&self.queue),
            ids,
            self.began,
            Instant::now(),
            kind,
            name.into(),
        )
    }
}

/// The ids of a span, of its trace and of its parent.
#[derive(Clone, Copy, Debug)]
pub(super) struct SpanIds {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
    /// [`SpanId::INVALID`] where it has none.
    pub(super) parent: SpanId,
    pub(super) is_parent_remote: bool,
}

/// A span that has begun.
#[derive(Debug)]
pub struct Span {
    queue: Arc<Queue>,
    ids: SpanIds,
    /// When the trace began here.
    origin: Moment,
    began: Instant,
    kind: SpanKind,
    name: Cow<'static, str>,
    attributes: Vec<KeyValue>,
    error: Option<Cow<'static, str>>,
}

impl Span {
    pub(super) fn new(
        queue: Arc<Queue>,
        ids: SpanIds,
        origin: Moment,
        began: Instant,
        kind: SpanKind,
        name: Cow<'static, str>,
    ) -> Self {
        Self {
            queue,
            ids,
            origin,
            began,
            kind,
            name,
            attributes: Vec::with_capacity(16),
            error: None,
        }
    }

    /// Returns where spans below this one begin.
    pub fn scope(&self) -> Scope {
        Scope {
            queue: Arc::clone(&self.queue),
            trace: self.ids.trace,
            span: self.ids.span,
            began: self.origin,
        }
    }

    pub(super) fn ids(&self) -> SpanIds {
        self.ids
    }

    /// Says something of it.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        self.attributes.push(KeyValue::new(key, value));
    }

    /// Says something of it in a text from outside, which is cut where it is long.
    pub fn set_text(&mut self, key: &'static str, text: &str) {
        let mut end = text.len().min(LONGEST_TEXT);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let text = text.get(..end).unwrap_or_default();
        self.set(key, text.to_owned());
    }

    /// Says something of it in a number; what is too large for the protocol is its largest one.
    pub fn set_number(&mut self, key: &'static str, number: u64) {
        self.set(key, i64::try_from(number).unwrap_or(i64::MAX));
    }

    /// Says which host it is about, in a text that may end in a port.
    pub fn set_address(&mut self, place: &str) {
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !place.ends_with(']') => (host, port.parse::<u16>().ok()),
            _ => (place, None),
        };
        self.set("server.address", host.to_owned());
        if let Some(port) = port {
            self.set_number("server.port", u64::from(port));
        }
    }

    /// Says that it went wrong, in one word.
    pub fn failed(&mut self, error: impl Into<Cow<'static, str>>) {
        let error = error.into();
        self.set("error.type", error.clone());
        self.error = Some(error);
    }

    /// Ends it now.
    pub fn end(self) {
        self.end_at(Instant::now());
    }

    /// Ends it, at a moment that may have passed.
    pub fn end_at(self, now: Instant) {
        let SpanIds {
            trace,
            span,
            parent,
            is_parent_remote,
        } = self.ids;
        let context = SpanContext::new(
            trace,
            span,
            TraceFlags::SAMPLED,
            false,
            TraceState::default(),
        );
        self.queue.push(SpanData {
            span_context: context,
            parent_span_id: parent,
            parent_span_is_remote: is_parent_remote,
            span_kind: self.kind,
            name: self.name,
            start_time: self.origin.at(self.began),
            end_time: self.origin.at(now),
            attributes: self.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: match self.error {
                Some(description) => Status::Error { description },
                None => Status::Unset,
            },
            instrumentation_scope: InstrumentationScope::builder("menshen")
                .with_version(env!("CARGO_PKG_VERSION"))
                .build(),
        });
    }
}

/// Returns an id that no other span has.
pub(super) fn random_span() -> SpanId {
    SpanId::from(fastrand::u64(1..))
}

/// Returns an id that no other trace has.
pub(super) fn random_trace() -> TraceId {
    TraceId::from(fastrand::u128(1..))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn begun(queue: &Arc<Queue>) -> Span {
        let ids = SpanIds {
            trace: random_trace(),
            span: random_span(),
            parent: SpanId::INVALID,
            is_parent_remote: false,
        };
        let began = Moment {
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000),
            instant: Instant::now(),
        };
        let (kind, name) = (SpanKind::Server, "GET /orders".into());
        Span::new(Arc::clone(queue), ids, began, began.instant, kind, name)
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let queue = Arc::new(Queue::new(1));
        let mut span = begun(&queue);
        span.set_text("url.path", &"门".repeat(1000));
        span.end();
        let span = queue.receiver().unwrap().try_recv().unwrap();
        assert_eq!(span.attributes[0].value.as_str(), "门".repeat(341));
    }

    #[test]
    fn an_address_may_have_a_port() {
        for (place, said) in [
            ("a.example", vec!["a.example"]),
            ("a.example:8080", vec!["a.example", "8080"]),
            ("[::1]", vec!["[::1]"]),
            ("[::1]:8080", vec!["[::1]", "8080"]),
        ] {
            let queue = Arc::new(Queue::new(1));
            let mut span = begun(&queue);
            span.set_address(place);
            span.end();
            let span = queue.receiver().unwrap().try_recv().unwrap();
            let values = span.attributes.iter().map(|pair| pair.value.to_string());
            assert_eq!(values.collect::<Vec<_>>(), said, "{place}");
        }
    }

    #[test]
    fn a_child_belongs_to_its_parent_and_lies_within_it() {
        let queue = Arc::new(Queue::new(2));
        let parent = begun(&queue);
        let mut child = parent.scope().begin(SpanKind::Client, "GET");
        child.failed("timeout");
        child.end();
        parent.end();
        let mut received = queue.receiver().unwrap();
        let (child, parent) = (received.try_recv().unwrap(), received.try_recv().unwrap());
        let (of_child, of_parent) = (&child.span_context, &parent.span_context);
        assert_eq!(child.parent_span_id, of_parent.span_id());
        assert_eq!(of_child.trace_id(), of_parent.trace_id());
        assert!(child.start_time >= parent.start_time && child.end_time <= parent.end_time);
        assert_eq!(child.status, Status::error("timeout"));
        assert_eq!(parent.status, Status::Unset);
    }
}
