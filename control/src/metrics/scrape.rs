//! What is counted only when somebody looks: hosts, pools, VMs and tasks by where they stand.

use super::opts;
use crate::services::{App, summary};
use prometheus::{Encoder as _, IntGaugeVec, Registry, TextEncoder};
use quantix_contract::twin;
use quantix_model::Fault;
use quantix_model::host::HostPhase;
use quantix_model::pool::PoolPhase;
use quantix_model::vm::PowerState;
use serde::Serialize;

/// Everything the vDC tells, in Prometheus' text format.
pub async fn scrape(app: &App) -> Result<String, Fault> {
    let looked = look(app).await?;
    let mut families = app.core.metrics.registry.gather();
    families.extend(looked.gather());
    families.sort_by(|a, b| a.name().cmp(b.name()));
    let mut text = Vec::new();
    TextEncoder::new().encode(&families, &mut text).map_err(Fault::internal)?;
    String::from_utf8(text).map_err(Fault::internal)
}

/// A gauge by one label, for one scrape.
struct By(IntGaugeVec);

impl By {
    fn new(registry: &Registry, name: &str, label: &str) -> Result<By, Fault> {
        let gauge = IntGaugeVec::new(opts(name), &[label]).map_err(Fault::internal)?;
        registry.register(Box::new(gauge.clone())).map_err(Fault::internal)?;
        Ok(By(gauge))
    }

    fn add(&self, value: &str, count: u64) {
        self.0.with_label_values(&[value]).add(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

/// An enum's word, as it also stands in JSON.
fn word(value: impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

async fn look(app: &App) -> Result<Registry, Fault> {
    let registry = Registry::new();
    By::new(&registry, "quantix_build_info", "version")?.add(crate::VERSION, 1);
    let hosts = By::new(&registry, "quantix_hosts", "phase")?;
    for phase in [HostPhase::Pending, HostPhase::Ready, HostPhase::Degraded, HostPhase::Disconnected] {
        hosts.add(&word(phase), 0);
    }
    let pools = By::new(&registry, "quantix_pools", "phase")?;
    let vms = By::new(&registry, "quantix_vms", "power_state")?;
    // As the dashboard counts them: in memory, and not more often than it can bear.
    let sum = summary::counts(app).await?;
    for row in &sum.hosts {
        hosts.add(&word(twin::read::<HostPhase>("phase", row.phase)?), row.count.into());
    }
    for row in &sum.pools {
        pools.add(&word(twin::read::<PoolPhase>("phase", row.phase)?), row.count.into());
    }
    for row in &sum.vms {
        vms.add(&word(twin::read::<PowerState>("power_state", row.power_state)?), row.count.into());
    }
    let tasks = By::new(&registry, "quantix_tasks", "state")?;
    for (state, count) in app.core.store.task_count_by_state().await? {
        tasks.add(&word(state), count);
    }
    Ok(registry)
}
