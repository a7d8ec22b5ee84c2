//! Figures of the vDC for Prometheus: what is counted as it happens, and what is counted when somebody looks.
//!
//! Labels have few values, whatever the size of the fleet: no host, pool or VM has a series of its own here. A host
//! tells its own figures; `/api/v1/hosts/{host_id}/metrics` hands them on.

mod scrape;
mod table;

pub use scrape::scrape;
pub use table::{Figure, TABLE};

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};
use quantix_model::Fault;
use quantix_store::Statement;
use std::time::Duration;

/// The text format's own name (Prometheus, exposition formats, 0.0.4).
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;
/// Bounds of a request's time in seconds; what people wait for is between.
const REQUEST_BOUNDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];
/// Bounds of a statement's time in seconds.
const STORE_BOUNDS: &[f64] = &[0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

/// What is counted as it happens.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    request_seconds: HistogramVec,
    beats: IntCounterVec,
    watch_streams: IntGauge,
    store_seconds: Histogram,
    store_failures: IntCounter,
    store_writes: IntCounter,
}

fn opts(name: &str) -> Opts {
    Opts::new(name, table::help(name))
}

impl Metrics {
    /// Everything at zero.
    pub fn new() -> Result<Metrics, Fault> {
        Metrics::made().map_err(Fault::internal)
    }

    fn made() -> prometheus::Result<Metrics> {
        let seconds = |name: &str, bounds: &[f64]| HistogramOpts::from(opts(name)).buckets(bounds.to_vec());
        let metrics = Metrics {
            registry: Registry::new(),
            requests: IntCounterVec::new(opts("quantix_requests_total"), &["call", "status"])?,
            request_seconds: HistogramVec::new(
                seconds("quantix_request_duration_seconds", REQUEST_BOUNDS),
                &["call"],
            )?,
            beats: IntCounterVec::new(opts("quantix_beats_total"), &["outcome"])?,
            watch_streams: IntGauge::with_opts(opts("quantix_watch_streams"))?,
            store_seconds: Histogram::with_opts(seconds(
                "quantix_store_query_duration_seconds",
                STORE_BOUNDS,
            ))?,
            store_failures: IntCounter::with_opts(opts("quantix_store_query_failures_total"))?,
            store_writes: IntCounter::with_opts(opts("quantix_store_writes_total"))?,
        };
        for outcome in Beat::ALL {
            metrics.beats.with_label_values(&[outcome.word()]);
        }
        let registry = &metrics.registry;
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.request_seconds.clone()))?;
        registry.register(Box::new(metrics.beats.clone()))?;
        registry.register(Box::new(metrics.watch_streams.clone()))?;
        registry.register(Box::new(metrics.store_seconds.clone()))?;
        registry.register(Box::new(metrics.store_failures.clone()))?;
        registry.register(Box::new(metrics.store_writes.clone()))?;
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(metrics)
    }

    /// A request was answered. `call` is one of few words ([`crate::api::auth::call_name`]).
    pub fn request(&self, call: &str, status: u16, took: Duration) {
        self.requests.with_label_values(&[call, &status.to_string()]).inc();
        self.request_seconds.with_label_values(&[call]).observe(took.as_secs_f64());
    }

    /// A beat came.
    pub fn beat(&self, outcome: Beat) {
        self.beats.with_label_values(&[outcome.word()]).inc();
    }

    /// A watch stream is open as long as the answer lives.
    pub fn watching(&self) -> Watching {
        self.watch_streams.inc();
        Watching(self.watch_streams.clone())
    }

    /// Hears of each statement of the store.
    pub fn store_observer(&self) -> impl Fn(Statement) + Send + Sync + Clone + 'static {
        let (seconds, failures) = (self.store_seconds.clone(), self.store_failures.clone());
        let writes = self.store_writes.clone();
        move |statement| {
            seconds.observe(statement.took.as_secs_f64());
            if statement.failed {
                failures.inc();
            }
            if statement.writes {
                writes.inc();
            }
        }
    }
}

/// What became of a beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// It was news.
    Taken,
    /// A later one of that host had come already.
    Late,
    /// It was refused: an unknown host, or what cannot be.
    Refused,
}

impl Beat {
    const ALL: [Beat; 3] = [Beat::Taken, Beat::Late, Beat::Refused];

    fn word(self) -> &'static str {
        match self {
            Beat::Taken => "taken",
            Beat::Late => "late",
            Beat::Refused => "refused",
        }
    }
}

/// An open watch stream.
#[derive(Debug)]
pub struct Watching(IntGauge);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.dec();
    }
}
