//! What is known of the trace of one exchange.

use std::fmt::Write as _;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::trace::SpanKind;

use super::parent::{TRACEPARENT, TRACESTATE};
use super::queue::Queue;
use super::span::{Moment, Scope, Span, SpanIds};

/// The trace of one exchange, whether there is a record of it or not.
#[derive(Debug)]
pub struct Trace {
    /// Where its spans go; `None` where there is no record of it.
    queue: Option<Arc<Queue>>,
    ids: SpanIds,
    began: Moment,
    /// Whether the client's `tracestate` belongs to no trace, or is none.
    drops_state: bool,
    id: String,
    /// The request that is with a server at this moment.
    attempt: Option<Span>,
    attempts: u32,
}

impl Trace {
    pub(super) fn new(
        queue: Option<Arc<Queue>>,
        ids: SpanIds,
        began: Moment,
        drops_state: bool,
    ) -> Self {
        Self {
            queue,
            ids,
            began,
            drops_state,
            id: ids.trace.to_string(),
            attempt: None,
            attempts: 0,
        }
    }

    /// Returns the trace's id, 32 hexadecimal digits.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns where spans below that of the exchange begin; `None` where there is no record of it.
    pub fn scope(&self) -> Option<Scope> {
        Some(Scope {
            queue: Arc::clone(self.queue.as_ref()?),
            trace: self.ids.trace,
            span: self.ids.span,
            began: self.began,
        })
    }

    /// Begins the span of one more try to get an answer from a server. The one before, if any, must have ended.
    pub fn begin_attempt(&mut self, name: &'static str) {
        let span = self
            .scope()
            .map(|scope| scope.begin(SpanKind::Client, name));
        self.attempt = span;
        self.attempts += 1;
    }

    /// Takes the span of the try that has ended, and how many there were before it.
    pub fn take_attempt(&mut self) -> Option<(Span, u32)> {
        let before = self.attempts.saturating_sub(1);
        self.attempt.take().map(|span| (span, before))
    }

    /// Returns the headers that tell a server whose trace it is part of, in place of what the client said. An empty value stands for a
    /// header that is taken out.
    pub fn lines(&self, headers: &HeaderMap) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let parent = HeaderValue::from_str(&self.parent()).ok();
        let parent = parent.map(|parent| (TRACEPARENT, parent));
        let drops_state = self.drops_state && headers.contains_key(TRACESTATE);
        let state = drops_state.then(|| (TRACESTATE, HeaderValue::from_static("")));
        parent.into_iter().chain(state)
    }

    fn parent(&self) -> String {
        let below = self.attempt.as_ref().map_or(self.ids, Span::ids);
        let flags = if self.queue.is_some() { "01" } else { "00" };
        let mut parent = String::with_capacity(55);
        // Writing to a text does not fail.
        let _ = write!(parent, "00-{}-{}-{flags}", self.id, below.span);
        parent
    }

    /// Returns the span of the exchange itself, which is about to end; `None` where there is no record of it.
    pub fn whole(&self, name: String) -> Option<Span> {
        let queue = Arc::clone(self.queue.as_ref()?);
        let (ids, began, kind) = (self.ids, self.began, SpanKind::Server);
        Some(Span::new(
            queue,
            ids,
            began,
            began.instant,
            kind,
            name.into(),
        ))
    }
}
