//! A page of metrics: numbers by family and label values, and its text.

use super::family::{Family, Kind};
use prometheus::TextEncoder;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use std::collections::BTreeMap;

/// A page while it is being filled. A number given twice replaces the first, so no page has a sample twice.
#[derive(Debug, Default)]
pub(crate) struct Page {
    families: BTreeMap<&'static str, Samples>,
}

#[derive(Debug)]
struct Samples {
    family: Family,
    by_labels: BTreeMap<Vec<String>, f64>,
}

impl Page {
    /// Sets a sample; `labels` are the values in the order of the family's names.
    pub(crate) fn set(&mut self, family: Family, labels: &[&str], value: f64) {
        let samples = self
            .families
            .entry(family.name)
            .or_insert_with(|| Samples { family, by_labels: BTreeMap::new() });
        samples.by_labels.insert(labels.iter().map(ToString::to_string).collect(), value);
    }

    /// The same for yes and no.
    pub(crate) fn flag(&mut self, family: Family, labels: &[&str], value: bool) {
        self.set(family, labels, f64::from(u8::from(value)));
    }

    /// The text, with `more` families behind ours.
    ///
    /// # Errors
    /// A family without samples, which the format does not know.
    pub(crate) fn text(self, more: &[MetricFamily]) -> Result<String, prometheus::Error> {
        let families: Vec<MetricFamily> =
            self.families.into_values().map(Samples::family).chain(more.iter().cloned()).collect();
        TextEncoder::new().encode_to_string(&families)
    }
}

impl Samples {
    fn family(self) -> MetricFamily {
        let Self { family, by_labels } = self;
        let samples = by_labels.iter().map(|(values, value)| sample(family, values, *value));
        let mut out = MetricFamily::default();
        out.set_name(family.name.to_owned());
        out.set_help(family.help.to_owned());
        out.set_field_type(match family.kind {
            Kind::Gauge => MetricType::GAUGE,
            Kind::Counter => MetricType::COUNTER,
        });
        out.set_metric(samples.collect());
        out
    }
}

fn sample(family: Family, values: &[String], value: f64) -> Metric {
    let labels = family.labels.iter().zip(values).map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value(value.clone());
        pair
    });
    let mut metric = Metric::from_label(labels.collect());
    match family.kind {
        Kind::Gauge => {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        Kind::Counter => {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        }
    }
    metric
}
