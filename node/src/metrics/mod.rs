//! Figures of a host for Prometheus: what is counted as it happens, and what is looked up when somebody asks.
//!
//! Series of single pools and VMs are here and not on the vDC: a host has few of either. Nothing here asks a pool or
//! the hypervisor; what is known is told.

mod driver;
mod table;

pub use driver::Counted;
pub use table::{Figure, TABLE};

use crate::VERSION;
use crate::daemon::Daemon;
use prometheus::core::Collector;
use prometheus::{
    CounterVec, Encoder as _, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounterVec, Opts,
    Registry, TextEncoder,
};
use quantix_model::pool::PoolHealth;
use quantix_model::{Fault, FaultCode};
use quantix_storage::worker::Observer;
use std::sync::Arc;
use std::time::Duration;

/// The text format's own name (Prometheus, exposition formats, 0.0.4).
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;
/// Bounds in seconds: from a cached answer to a disk copied whole.
const BOUNDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0, 300.0];

/// What is counted as it happens.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    beats: IntCounterVec,
    beat_seconds: Histogram,
    pool: Calls,
    vm: Calls,
}

/// Calls of one sort.
#[derive(Clone, Debug)]
struct Calls {
    total: IntCounterVec,
    seconds: HistogramVec,
}

fn opts(name: &str) -> Opts {
    Opts::new(name, table::help(name))
}

fn seconds(name: &str) -> HistogramOpts {
    HistogramOpts::from(opts(name)).buckets(BOUNDS.to_vec())
}

impl Calls {
    fn new(registry: &Registry, total: &str, took: &str) -> prometheus::Result<Calls> {
        let calls = Calls {
            total: IntCounterVec::new(opts(total), &["call", "result"])?,
            seconds: HistogramVec::new(seconds(took), &["call"])?,
        };
        registry.register(Box::new(calls.total.clone()))?;
        registry.register(Box::new(calls.seconds.clone()))?;
        Ok(calls)
    }

    fn count(&self, call: &str, result: Result<(), FaultCode>, took: Duration) {
        let word = result.map_or_else(FaultCode::as_str, |()| "ok");
        self.total.with_label_values(&[call, word]).inc();
        self.seconds.with_label_values(&[call]).observe(took.as_secs_f64());
    }
}

impl Metrics {
    /// Everything at zero.
    pub fn new() -> Result<Arc<Metrics>, Fault> {
        Metrics::made().map(Arc::new).map_err(Fault::internal)
    }

    fn made() -> prometheus::Result<Metrics> {
        let registry = Registry::new();
        let beats = IntCounterVec::new(opts("quantix_node_beats_total"), &["outcome"])?;
        for outcome in ["sent", "failed"] {
            beats.with_label_values(&[outcome]);
        }
        let beat_seconds = Histogram::with_opts(seconds("quantix_node_beat_duration_seconds"))?;
        registry.register(Box::new(beats.clone()))?;
        registry.register(Box::new(beat_seconds.clone()))?;
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        let pool = Calls::new(
            &registry,
            "quantix_node_pool_calls_total",
            "quantix_node_pool_call_duration_seconds",
        )?;
        let vm =
            Calls::new(&registry, "quantix_node_vm_calls_total", "quantix_node_vm_call_duration_seconds")?;
        Ok(Metrics { registry, beats, beat_seconds, pool, vm })
    }

    /// A beat was answered, or not.
    pub fn beat(&self, answered: bool, took: Duration) {
        self.beats.with_label_values(&[if answered { "sent" } else { "failed" }]).inc();
        if answered {
            self.beat_seconds.observe(took.as_secs_f64());
        }
    }

    /// Hears of the calls of pools' workers.
    pub fn pool_observer(&self) -> Observer {
        let calls = self.pool.clone();
        Arc::new(move |call, result, took| calls.count(call, result, took))
    }

    fn vm_call<T>(&self, call: &str, result: &Result<T, Fault>, took: Duration) {
        self.vm.count(call, result.as_ref().map(drop).map_err(|fault| fault.code), took);
    }
}

/// Everything a host tells, in Prometheus' text format.
pub async fn scrape(daemon: &Daemon) -> Result<String, Fault> {
    let looked = look(daemon).await.map_err(Fault::internal)?;
    let mut families = daemon.metrics.registry.gather();
    families.extend(looked.gather());
    families.sort_by(|a, b| a.name().cmp(b.name()));
    let mut text = Vec::new();
    TextEncoder::new().encode(&families, &mut text).map_err(Fault::internal)?;
    String::from_utf8(text).map_err(Fault::internal)
}

fn add<C: Collector + Clone + 'static>(registry: &Registry, family: C) -> prometheus::Result<C> {
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}

fn gauges(registry: &Registry, name: &str, labels: &[&str]) -> prometheus::Result<GaugeVec> {
    add(registry, GaugeVec::new(opts(name), labels)?)
}

/// Bytes as Prometheus holds them: exact up to 2^53.
#[allow(clippy::cast_precision_loss)]
fn float(bytes: u64) -> f64 {
    bytes as f64
}

async fn look(daemon: &Daemon) -> prometheus::Result<Registry> {
    let registry = Registry::new();
    let one = |name: &str, value: f64| -> prometheus::Result<()> {
        gauges(&registry, name, &[])?.with_label_values::<&str>(&[]).set(value);
        Ok(())
    };
    gauges(&registry, "quantix_node_build_info", &["version"])?.with_label_values(&[VERSION]).set(1.0);
    let vitals = daemon.facts.vitals().await;
    one("quantix_node_cpu_used_ratio", vitals.cpu_used_ratio)?;
    one("quantix_node_load1", vitals.load_1m)?;
    one("quantix_node_memory_total_bytes", float(vitals.memory_total_bytes))?;
    one("quantix_node_memory_used_bytes", float(vitals.memory_used_bytes))?;
    let known = daemon.vms.table().is_known();
    one("quantix_node_vms_known", f64::from(u8::from(known)))?;
    look_at_pools(daemon, &registry)?;
    if known {
        look_at_vms(daemon, &registry)?;
    }
    Ok(registry)
}

fn look_at_pools(daemon: &Daemon, registry: &Registry) -> prometheus::Result<()> {
    let of = |name: &str| gauges(registry, name, &["pool", "name"]);
    let (healthy, abandoned) = (of("quantix_node_pool_healthy")?, of("quantix_node_pool_workers_abandoned")?);
    let (total, used, available) = (
        of("quantix_node_pool_total_bytes")?,
        of("quantix_node_pool_used_bytes")?,
        of("quantix_node_pool_available_bytes")?,
    );
    let book = daemon.ledger.book();
    for (id, report) in daemon.pools.reports() {
        let (id_text, name) = (id.to_string(), book.pools.get(&id).map_or("", |entry| entry.name.as_str()));
        let labels = [id_text.as_str(), name];
        healthy.with_label_values(&labels).set(f64::from(u8::from(report.health == PoolHealth::Healthy)));
        if let Ok(worker) = daemon.pools.worker(id) {
            abandoned.with_label_values(&labels).set(f64::from(worker.status().abandoned));
        }
        if let Some(capacity) = report.capacity {
            total.with_label_values(&labels).set(float(capacity.total_bytes));
            used.with_label_values(&labels).set(float(capacity.used_bytes));
            available.with_label_values(&labels).set(float(capacity.available_bytes));
        }
    }
    Ok(())
}

fn look_at_vms(daemon: &Daemon, registry: &Registry) -> prometheus::Result<()> {
    let labels = ["vm", "name"];
    let running = gauges(registry, "quantix_node_vm_running", &labels)?;
    let memory = gauges(registry, "quantix_node_vm_memory_used_bytes", &labels)?;
    let cpu = add(registry, CounterVec::new(opts("quantix_node_vm_cpu_seconds_total"), &labels)?)?;
    for fact in daemon.vms.table().all() {
        let report = fact.report;
        let id = report.id.to_string();
        let labels = [id.as_str(), report.name.as_str()];
        running.with_label_values(&labels).set(f64::from(u8::from(report.power_state.is_active())));
        if let Some(bytes) = report.memory_used_bytes {
            memory.with_label_values(&labels).set(float(bytes));
        }
        if let Some(ns) = report.cpu_time_ns {
            cpu.with_label_values(&labels).inc_by(Duration::from_nanos(ns).as_secs_f64());
        }
    }
    Ok(())
}
