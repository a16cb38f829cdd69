//! Traces of OpenTelemetry: which spans there are, of which requests, and what becomes of them on their way to a collector.

mod collectors;
mod propagation;
mod spans;
