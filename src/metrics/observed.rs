//! What is looked up when the metrics are asked for, rather than counted as it happens.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Unit;

use super::Snapshot;

/// The labels of a value.
pub type Labels = Vec<(&'static str, String)>;

/// Writes down what it finds.
type Observer = Box<dyn Fn(&mut Page<'_>) + Send>;

/// Everything that is looked up.
#[derive(Default)]
pub(super) struct Observed {
    observers: Mutex<Vec<Observer>>,
}

impl Observed {
    pub(super) fn add(&self, observer: Observer) {
        let observers = self.observers.lock();
        observers
            .unwrap_or_else(PoisonError::into_inner)
            .push(observer);
    }
}

impl Collector for Observed {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let observers = self.observers.lock();
        let observers = observers.unwrap_or_else(PoisonError::into_inner);
        let mut page = Page(encoder);
        for observer in observers.iter() {
            observer(&mut page);
        }
        Ok(())
    }
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observed")
    }
}

/// Where values are written down, each metric once with all its values. Nothing that is written to a text fails.
pub struct Page<'p>(DescriptorEncoder<'p>);

impl Page<'_> {
    /// Writes what only grows.
    pub fn counter<V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels, V)>,
    ) {
        let _ = self.write(
            name,
            help,
            None,
            MetricType::Counter,
            values,
            |to, value| to.encode_counter::<NoLabelSet, _, u64>(value, NO_EXEMPLAR),
        );
    }

    /// Writes bytes, of which there only come more.
    pub fn bytes(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels, u64)>,
    ) {
        let unit = Some(Unit::Bytes);
        let _ = self.write(
            name,
            help,
            unit,
            MetricType::Counter,
            values,
            |to, value| to.encode_counter::<NoLabelSet, _, u64>(value, NO_EXEMPLAR),
        );
    }

    /// Writes what rises and falls.
    pub fn gauge<V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels, V)>,
    ) {
        let _ = self.write(name, help, None, MetricType::Gauge, values, |to, value| {
            to.encode_gauge(value)
        });
    }

    /// Writes CPU time in seconds.
    pub(super) fn cpu(&mut self, name: &str, help: &str, seconds: f64) {
        let unit = Some(Unit::Seconds);
        let values = [(vec![], seconds)];
        let _ = self.write(
            name,
            help,
            unit,
            MetricType::Counter,
            values,
            |to, value| to.encode_counter::<NoLabelSet, _, u64>(value, NO_EXEMPLAR),
        );
    }

    /// Writes how much memory there is of something, in bytes.
    pub(super) fn memory(&mut self, name: &str, help: &str, bytes: u64) {
        let unit = Some(Unit::Bytes);
        let values = [(vec![], bytes)];
        let _ = self.write(name, help, unit, MetricType::Gauge, values, |to, value| {
            to.encode_gauge(value)
        });
    }

    /// Writes seconds that rise and fall, such as a time of day.
    pub fn seconds<V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels, V)>,
    ) {
        let unit = Some(Unit::Seconds);
        let _ = self.write(name, help, unit, MetricType::Gauge, values, |to, value| {
            to.encode_gauge(value)
        });
    }

    /// Writes durations.
    pub fn durations(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels, Snapshot)>,
    ) {
        let unit = Some(Unit::Seconds);
        let kind = MetricType::Histogram;
        let _ = self.write(name, help, unit, kind, values, |to, seen| {
            to.encode_histogram::<NoLabelSet>(seen.seconds(), seen.count(), &seen.buckets(), None)
        });
    }

    fn write<V>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        kind: MetricType,
        values: impl IntoIterator<Item = (Labels, V)>,
        put: impl Fn(&mut MetricEncoder<'_>, &V) -> fmt::Result,
    ) -> fmt::Result {
        let help = format!("{help}.");
        let mut to = self.0.encode_descriptor(name, &help, unit.as_ref(), kind)?;
        for (labels, value) in values {
            if labels.is_empty() {
                put(&mut to, &value)?;
            } else {
                put(&mut to.encode_family(&labels)?, &value)?;
            }
        }
        Ok(())
    }
}

const NO_EXEMPLAR: Option<&Exemplar<NoLabelSet, u64>> = None;

impl fmt::Debug for Page<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Page")
    }
}
