//! Pools on the wire: spec, health, capacity, and what a host reports.

use crate::quantix::node::v1 as node;
use crate::quantix::pool::v1 as wire;
use crate::time;
use crate::twin::{self, missing, twins};
use quantix_model::id::PoolId;
use quantix_model::pool::{Capabilities, Capacity, HostStatus, PoolHealth, PoolPhase, PoolReport, PoolSpec};
use quantix_model::{Fault, UnixMs};
use wire::__buffa::oneof::pool_spec::Backend;

twins!(PoolPhase => wire::PoolPhase, "phase" {
    Pending = POOL_PHASE_PENDING,
    Ready = POOL_PHASE_READY,
    Degraded = POOL_PHASE_DEGRADED,
    Error = POOL_PHASE_ERROR,
    Deleting = POOL_PHASE_DELETING,
});

twins!(PoolHealth => wire::PoolHealth, "health" {
    Unknown = POOL_HEALTH_UNKNOWN,
    Healthy = POOL_HEALTH_HEALTHY,
    Degraded = POOL_HEALTH_DEGRADED,
    Error = POOL_HEALTH_ERROR,
    Unmounted = POOL_HEALTH_UNMOUNTED,
});

impl From<&PoolSpec> for wire::PoolSpec {
    fn from(spec: &PoolSpec) -> wire::PoolSpec {
        let backend = match spec {
            PoolSpec::Local { path } => {
                Backend::from(wire::LocalPool { path: path.clone(), ..Default::default() })
            }
        };
        wire::PoolSpec { backend: Some(backend), ..Default::default() }
    }
}

impl TryFrom<&wire::PoolSpec> for PoolSpec {
    type Error = Fault;
    /// Reads; does not judge. Follow with [`PoolSpec::check`].
    fn try_from(spec: &wire::PoolSpec) -> Result<PoolSpec, Fault> {
        match &spec.backend {
            Some(Backend::Local(local)) => Ok(PoolSpec::Local { path: local.path.clone() }),
            None => Err(missing("spec.backend")),
        }
    }
}

/// Without `observed_at`: set it where the time is known, see [`capacity_at`].
impl From<&Capacity> for wire::Capacity {
    fn from(capacity: &Capacity) -> wire::Capacity {
        wire::Capacity {
            total_bytes: capacity.total_bytes,
            used_bytes: capacity.used_bytes,
            available_bytes: capacity.available_bytes,
            ..Default::default()
        }
    }
}

/// A capacity with the time of its figures.
pub fn capacity_at(capacity: &Capacity, at: UnixMs) -> wire::Capacity {
    wire::Capacity { observed_at: time::to_proto(at).into(), ..wire::Capacity::from(capacity) }
}

impl From<&wire::Capacity> for Capacity {
    fn from(capacity: &wire::Capacity) -> Capacity {
        Capacity {
            total_bytes: capacity.total_bytes,
            used_bytes: capacity.used_bytes,
            available_bytes: capacity.available_bytes,
        }
    }
}

impl From<&Capabilities> for wire::Capabilities {
    fn from(c: &Capabilities) -> wire::Capabilities {
        wire::Capabilities {
            files: c.files,
            snapshots: c.snapshots,
            clones: c.clones,
            grow: c.grow,
            reflink: c.reflink,
            file_system: c.file_system.clone(),
            ..Default::default()
        }
    }
}

impl From<&wire::Capabilities> for Capabilities {
    fn from(c: &wire::Capabilities) -> Capabilities {
        Capabilities {
            files: c.files,
            snapshots: c.snapshots,
            clones: c.clones,
            grow: c.grow,
            reflink: c.reflink,
            file_system: c.file_system.clone(),
        }
    }
}

/// A host's report of one pool, as it travels.
pub fn report_to_proto(pool_id: PoolId, report: &PoolReport) -> node::PoolReport {
    node::PoolReport {
        pool_id: pool_id.to_string(),
        generation: report.generation,
        health: twin::write(report.health),
        fault: report.fault.as_ref().map(Into::into).into(),
        probe: report.probe.clone(),
        since: time::to_proto(report.since).into(),
        observed_at: time::to_proto(report.observed_at).into(),
        capacity: report.capacity.map(|c| capacity_at(&c, report.observed_at)).into(),
        mount_path: report.mount_path.clone(),
        volume_count: report.volume_count,
        capabilities: wire::Capabilities::from(&report.capabilities).into(),
        ..Default::default()
    }
}

/// A host's report with the pool it is about.
pub fn report_from_proto(report: &node::PoolReport) -> Result<(PoolId, PoolReport), Fault> {
    Ok((report.pool_id.parse()?, PoolReport::try_from(report)?))
}

impl TryFrom<&node::PoolReport> for PoolReport {
    type Error = Fault;
    fn try_from(report: &node::PoolReport) -> Result<PoolReport, Fault> {
        Ok(PoolReport {
            generation: report.generation,
            health: twin::read("health", report.health)?,
            fault: report.fault.as_option().map(Fault::from),
            probe: report.probe.clone(),
            since: report.since.as_option().map(time::from_proto).ok_or_else(|| missing("since"))?,
            observed_at: report
                .observed_at
                .as_option()
                .map(time::from_proto)
                .ok_or_else(|| missing("observed_at"))?,
            capacity: report.capacity.as_option().map(Capacity::from),
            mount_path: report.mount_path.clone(),
            volume_count: report.volume_count,
            capabilities: report.capabilities.as_option().map(Capabilities::from).unwrap_or_default(),
        })
    }
}

/// The row a person sees: a silent host's health is unknown, and it has no capacity then.
impl From<&HostStatus> for wire::PoolHostStatus {
    fn from(status: &HostStatus) -> wire::PoolHostStatus {
        let mut row = wire::PoolHostStatus {
            host_id: status.host_id.to_string(),
            host: status.host.clone(),
            health: twin::write(status.health()),
            ..Default::default()
        };
        let Some(report) = &status.report else { return row };
        row.fault = report.fault.as_ref().map(Into::into).into();
        row.probe = report.probe.clone();
        row.since = time::to_proto(report.since).into();
        row.observed_at = time::to_proto(report.observed_at).into();
        if status.fresh {
            row.capacity = report.capacity.map(|c| capacity_at(&c, report.observed_at)).into();
        }
        row.mount_path = report.mount_path.clone();
        row.volume_count = report.volume_count;
        row.generation = report.generation;
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::twin::check_table;
    use proptest::prelude::*;
    use quantix_model::FaultCode;
    use quantix_model::id::HostId;
    use uuid::Uuid;

    #[test]
    fn tables() {
        check_table::<PoolPhase>();
        check_table::<PoolHealth>();
    }

    fn health() -> impl Strategy<Value = PoolHealth> {
        use PoolHealth::*;
        prop_oneof![Just(Unknown), Just(Healthy), Just(Degraded), Just(Error), Just(Unmounted)]
    }

    fn report() -> impl Strategy<Value = PoolReport> {
        let capacity = any::<(u64, u64, u64)>().prop_map(|(total_bytes, used_bytes, available_bytes)| {
            Capacity { total_bytes, used_bytes, available_bytes }
        });
        let fault = ".{1,20}".prop_map(|text| Fault::new(FaultCode::PoolFull, text, "Free some."));
        let able = (any::<[bool; 5]>(), "[a-z0-9]{0,6}");
        (
            (any::<u64>(), health(), prop::option::of(fault), ".{0,20}"),
            (0i64..4_000_000_000_000, 0i64..4_000_000_000_000),
            (prop::option::of(capacity), ".{0,20}", any::<u32>(), able),
        )
            .prop_map(
                |((generation, health, fault, probe), (since, at), (capacity, path, count, able))| {
                    PoolReport {
                        generation,
                        health,
                        fault,
                        probe,
                        since: UnixMs(since),
                        observed_at: UnixMs(at),
                        capacity,
                        mount_path: path,
                        volume_count: count,
                        capabilities: Capabilities {
                            files: able.0[0],
                            snapshots: able.0[1],
                            clones: able.0[2],
                            grow: able.0[3],
                            reflink: able.0[4],
                            file_system: able.1,
                        },
                    }
                },
            )
    }

    proptest! {
        #[test]
        fn reports_both_ways(report in report(), n: u128) {
            let id = PoolId(Uuid::from_u128(n));
            prop_assert_eq!(report_from_proto(&report_to_proto(id, &report)), Ok((id, report)));
        }

        #[test]
        fn specs_both_ways(path in ".{0,40}") {
            let spec = PoolSpec::Local { path };
            prop_assert_eq!(PoolSpec::try_from(&wire::PoolSpec::from(&spec)), Ok(spec));
        }

        #[test]
        fn a_silent_host_shows_no_figures(report in report()) {
            let status = HostStatus { host_id: HostId(Uuid::from_u128(1)), host: "h".into(), report: Some(report), fresh: false };
            let row = wire::PoolHostStatus::from(&status);
            prop_assert_eq!(row.health, wire::PoolHealth::POOL_HEALTH_UNKNOWN);
            prop_assert!(row.capacity.is_unset());
        }
    }

    #[test]
    fn a_spec_without_backend_is_refused() {
        let fault = PoolSpec::try_from(&wire::PoolSpec::default()).expect_err("no backend");
        assert_eq!((fault.code, fault.field.as_str()), (FaultCode::InvalidArgument, "spec.backend"));
    }

    #[test]
    fn a_report_without_time_is_refused() {
        let report = node::PoolReport { health: twin::write(PoolHealth::Healthy), ..Default::default() };
        assert_eq!(PoolReport::try_from(&report).expect_err("no time").field, "since");
    }
}
