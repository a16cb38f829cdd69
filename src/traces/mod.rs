//! Traces of OpenTelemetry: of which requests there are spans, and how they reach a collector.
//!
//! # Layout
//! `parent` reads the W3C headers of a request, [`Tracer`] decides whether it is traced, [`Trace`] is what is known of one exchange's
//! trace and [`Span`] one part of it. What has ended goes through a bounded [`Queue`] to the [`Exporter`], which sends it to a
//! [`Collector`] over OTLP. Nobody who serves a request waits for any of that: where the queue is full, the span is counted and dropped.

mod collector;
mod export;
mod parent;
mod queue;
mod span;
mod trace;
mod tracer;

pub use self::collector::{Collector, CollectorError};
pub use self::export::Exporter;
pub use self::parent::trace_id;
pub use self::queue::{Counts, Queue};
pub use self::span::{Scope, Span};
pub use self::trace::Trace;
pub use self::tracer::Tracer;
pub use opentelemetry::trace::SpanKind;
