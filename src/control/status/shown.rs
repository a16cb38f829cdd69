//! The numbers of `/metrics`, and what came to them in the last hour.

use std::sync::Arc;

use crate::control::Control;
use crate::metrics::{Counters, Metrics, Sample};

/// Every value at a moment.
pub(super) struct Shown {
    samples: Vec<Sample>,
    before: Option<Arc<Counters>>,
}

impl Shown {
    /// `None` at the end of the program.
    pub(super) async fn now(control: &Control) -> Option<Self> {
        Some(Self {
            samples: control.metrics.aside(Metrics::samples).await?,
            before: control.hour.counters_before(),
        })
    }

    /// Iterates over the values of a metric.
    pub(super) fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s Sample> {
        self.samples
            .iter()
            .filter(move |sample| sample.name() == name)
    }

    /// Returns the value of a metric without labels; `None` where nothing is known of it.
    pub(super) fn one(&self, name: &str) -> Option<f64> {
        self.all(name).next().map(|sample| sample.value)
    }

    /// Returns the value of a metric that has this label.
    pub(super) fn of(&self, name: &str, label: (&str, &str)) -> Option<f64> {
        let mut found = self
            .all(name)
            .filter(|sample| sample.label(label.0) == label.1);
        found.next().map(|sample| sample.value)
    }

    /// Returns what came to a counter in the last hour.
    pub(super) fn lately(&self, sample: &Sample) -> f64 {
        let before = self.before.as_ref();
        let before = before.and_then(|before| before.get(&sample.series).copied());
        (sample.value - before.unwrap_or(0.0)).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_counter_what_came_in_the_last_hour_is_told() {
        let sample = |series: &str, value| Sample {
            series: series.to_owned(),
            labels: Vec::new(),
            value,
        };
        let shown = |before: Option<Counters>| Shown {
            samples: Vec::new(),
            before: before.map(Arc::new),
        };
        let before = Counters::from([("a".to_owned(), 4.0), ("c".to_owned(), 9.0)]);
        let known = shown(Some(before));
        for (series, value, expected) in [("a", 7.0, 3.0), ("b", 7.0, 7.0), ("c", 7.0, 0.0)] {
            assert_eq!(known.lately(&sample(series, value)), expected, "{series}");
        }
        assert_eq!(shown(None).lately(&sample("a", 7.0)), 7.0);
    }
}
