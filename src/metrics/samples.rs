//! Reads what is shown to Prometheus back as values, for a page that shows the same numbers to people.
//!
//! The families of `prometheus_client` cannot be walked through in another way, and so both are certain to agree.

use super::Metrics;

/// A value, as `/metrics` shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The name with the labels, as they are written.
    pub series: String,
    /// The labels, in the order written.
    pub labels: Vec<(String, String)>,
    /// The value.
    pub value: f64,
}

impl Sample {
    /// Returns the name without its labels.
    pub fn name(&self) -> &str {
        self.series
            .split_once('{')
            .map_or(&self.series, |(name, _)| name)
    }

    /// Returns a label; what is not there is empty, as for Prometheus.
    pub fn label(&self, name: &str) -> &str {
        let found = self.labels.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }
}

impl Metrics {
    /// Returns every value that [`Metrics::text`] shows, without the buckets of histograms.
    pub fn samples(&self) -> Vec<Sample> {
        self.text().lines().filter_map(read).collect()
    }
}

/// Reads a line; `None` for a comment, a bucket and what is no value.
fn read(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    if name.starts_with('#') || name.ends_with("_bucket") {
        return None;
    }
    let labels = labels_of(labels.strip_suffix('}')?)?;
    Some(Sample {
        series: series.to_owned(),
        labels,
        value: value.parse().ok()?,
    })
}

fn labels_of(mut text: &str) -> Option<Vec<(String, String)>> {
    let mut labels = Vec::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"")?;
        let mut value = String::new();
        let mut characters = rest.chars();
        loop {
            match characters.next()? {
                '"' => break,
                '\\' => value.push(match characters.next()? {
                    'n' => '\n',
                    other => other,
                }),
                other => value.push(other),
            }
        }
        labels.push((name.to_owned(), value));
        let rest = characters.as_str();
        text = rest.strip_prefix(',').unwrap_or(rest);
    }
    Some(labels)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_read_and_buckets_and_comments_are_not() {
        assert_eq!(read("# HELP a b"), None);
        assert_eq!(read("# EOF"), None);
        assert_eq!(read("a_bucket{le=\"1\"} 2"), None);
        let plain = read("a_total 3").unwrap();
        assert_eq!((plain.name(), plain.value), ("a_total", 3.0));
        let two = read("a{b=\"c, d\",e=\"\"} 0.5").unwrap();
        assert_eq!(
            (two.name(), two.label("b"), two.label("x")),
            ("a", "c, d", "")
        );
    }

    proptest! {
        #[test]
        fn a_label_is_read_as_it_was_shown(label in "\\PC{0,12}|[\"\\\\\n{}, =]{0,12}", other in "[a-z\"]{0,4}") {
            let metrics = Metrics::default();
            let shown = (label.clone(), other.clone());
            metrics.observe(move |page| {
                let labels = vec![("one", shown.0.clone()), ("two", shown.1.clone())];
                page.gauge("things", "Things", [(labels, 7_u64)]);
            });
            let samples = metrics.samples();
            let found = samples.iter().find(|sample| sample.name() == "menshen_things").unwrap();
            prop_assert_eq!(found.label("one"), label);
            prop_assert_eq!(found.label("two"), other);
            prop_assert_eq!(found.value, 7.0);
        }
    }
}
