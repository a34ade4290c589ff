//! A page of metrics: numbers by family and label values, and its text.

use super::family::{Family, Kind};
use dlmcontrol::state::Timing;
use prometheus::TextEncoder;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// Buckets of a histogram that a page has room for.
const BUCKETS_MAX: usize = 32;

/// A page while it is being filled. A number given twice replaces the first, so no page has a sample twice.
#[derive(Debug, Default)]
pub(crate) struct Page {
    families: BTreeMap<&'static str, Samples>,
}

#[derive(Debug)]
struct Samples {
    family: Family,
    by_labels: BTreeMap<Vec<String>, Sample>,
}

#[derive(Debug)]
enum Sample {
    Number(f64),
    Timing(Timing),
}

impl Page {
    /// Sets a sample; `labels` are the values in the order of the family's names.
    pub(crate) fn set(&mut self, family: Family, labels: &[&str], value: f64) {
        self.insert(family, labels, Sample::Number(value));
    }

    /// The same for a histogram.
    pub(crate) fn timing(&mut self, family: Family, labels: &[&str], timing: &Timing) {
        self.insert(family, labels, Sample::Timing(timing.clone()));
    }

    fn insert(&mut self, family: Family, labels: &[&str], sample: Sample) {
        let samples = self
            .families
            .entry(family.name)
            .or_insert_with(|| Samples { family, by_labels: BTreeMap::new() });
        samples.by_labels.insert(labels.iter().map(ToString::to_string).collect(), sample);
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
        let samples = by_labels.iter().map(|(values, sample)| metric(family, values, sample));
        let mut out = MetricFamily::default();
        out.set_name(family.name.to_owned());
        out.set_help(family.help.to_owned());
        out.set_field_type(match family.kind {
            Kind::Gauge => MetricType::GAUGE,
            Kind::Counter => MetricType::COUNTER,
            Kind::Histogram => MetricType::HISTOGRAM,
        });
        out.set_metric(samples.collect());
        out
    }
}

fn metric(family: Family, values: &[String], sample: &Sample) -> Metric {
    let labels = family.labels.iter().zip(values).map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value(value.clone());
        pair
    });
    let mut metric = Metric::from_label(labels.collect());
    match (family.kind, sample) {
        (_, Sample::Timing(timing)) => metric.set_histogram(histogram(timing)),
        (Kind::Counter, Sample::Number(value)) => {
            let mut counter = Counter::default();
            counter.set_value(*value);
            metric.set_counter(counter);
        }
        (Kind::Gauge | Kind::Histogram, Sample::Number(value)) => {
            let mut gauge = Gauge::default();
            gauge.set_value(*value);
            metric.set_gauge(gauge);
        }
    }
    metric
}

fn histogram(timing: &Timing) -> Histogram {
    let seconds = |us| Duration::from_micros(us).as_secs_f64();
    let buckets = timing.buckets.iter().take(BUCKETS_MAX).map(|bucket| {
        let mut out = Bucket::default();
        out.set_upper_bound(seconds(bucket.up_to_us));
        out.set_cumulative_count(bucket.count);
        out
    });
    let mut out = Histogram::default();
    out.set_bucket(buckets.collect());
    out.set_sample_count(timing.count);
    out.set_sample_sum(seconds(timing.sum_us));
    out
}
