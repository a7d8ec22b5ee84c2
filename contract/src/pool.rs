//! Pools on the wire: spec, health, capacity, and what a host reports.

use crate::quantix::node::v1 as node;
use crate::quantix::pool::v1 as wire;
use crate::time;
use crate::twin::{self, missing, twins};
use quantix_model::id::PoolId;
use quantix_model::pool::{
    Capabilities, Capacity, CephSpec, Chap, Fact, HostStatus, IscsiSpec, NfsSpec, NfsVersion, PoolHealth,
    PoolPhase, PoolReport, PoolSpec,
};
use quantix_model::{Fault, Secret, UnixMs};
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

twins!(NfsVersion => wire::NfsVersion, "version" {
    V3 = NFS_VERSION_3,
    V4 = NFS_VERSION_4,
    V41 = NFS_VERSION_4_1,
    V42 = NFS_VERSION_4_2,
});

/// For people: secrets are left out.
impl From<&PoolSpec> for wire::PoolSpec {
    fn from(spec: &PoolSpec) -> wire::PoolSpec {
        spec_with_secrets(&spec.without_secrets())
    }
}

/// For hosts, which need the keys; never for people.
pub fn spec_with_secrets(spec: &PoolSpec) -> wire::PoolSpec {
    let backend = match spec {
        PoolSpec::Local { path, file_system_uuid } => Backend::from(wire::LocalPool {
            path: path.clone(),
            file_system_uuid: file_system_uuid.clone(),
            ..Default::default()
        }),
        PoolSpec::Nfs(nfs) => Backend::from(wire::NfsPool {
            server: nfs.server.clone(),
            export: nfs.export.clone(),
            version: twin::write(nfs.version),
            options: nfs.options.clone(),
            mount_path: nfs.mount_path.clone(),
            ..Default::default()
        }),
        PoolSpec::Ceph(ceph) => Backend::from(wire::CephPool {
            monitors: ceph.monitors.clone(),
            pool: ceph.pool.clone(),
            user: ceph.user.clone(),
            key: ceph.key.expose().to_owned(),
            ..Default::default()
        }),
        PoolSpec::Iscsi(iscsi) => Backend::from(wire::IscsiPool {
            portal: iscsi.portal.clone(),
            target: iscsi.target.clone(),
            lun: iscsi.lun,
            chap: iscsi.chap.as_ref().map(chap_to_proto).into(),
            mutual_chap: iscsi.mutual_chap.as_ref().map(chap_to_proto).into(),
            volume_group: iscsi.volume_group.clone(),
            create_volume_group: iscsi.create_volume_group,
            ..Default::default()
        }),
    };
    wire::PoolSpec { backend: Some(backend), ..Default::default() }
}

fn chap_to_proto(chap: &Chap) -> wire::Chap {
    wire::Chap { user: chap.user.clone(), password: chap.password.expose().to_owned(), ..Default::default() }
}

/// A name and its secret, as they travelled.
pub fn chap_from_proto(chap: &wire::Chap) -> Chap {
    Chap { user: chap.user.clone(), password: Secret::new(&chap.password) }
}

impl TryFrom<&wire::PoolSpec> for PoolSpec {
    type Error = Fault;
    /// Reads; does not judge. Follow with [`PoolSpec::check`].
    fn try_from(spec: &wire::PoolSpec) -> Result<PoolSpec, Fault> {
        Ok(match spec.backend.as_ref().ok_or_else(|| missing("spec.backend"))? {
            Backend::Local(local) => {
                PoolSpec::Local { path: local.path.clone(), file_system_uuid: local.file_system_uuid.clone() }
            }
            Backend::Nfs(nfs) => PoolSpec::Nfs(NfsSpec {
                server: nfs.server.clone(),
                export: nfs.export.clone(),
                version: twin::read_or("spec.nfs.version", nfs.version, NfsVersion::default())?,
                options: nfs.options.clone(),
                mount_path: nfs.mount_path.clone(),
            }),
            Backend::Ceph(ceph) => PoolSpec::Ceph(CephSpec {
                monitors: ceph.monitors.clone(),
                pool: ceph.pool.clone(),
                user: ceph.user.clone(),
                key: Secret::new(&ceph.key),
            }),
            Backend::Iscsi(iscsi) => PoolSpec::Iscsi(IscsiSpec {
                portal: iscsi.portal.clone(),
                target: iscsi.target.clone(),
                lun: iscsi.lun,
                chap: iscsi.chap.as_option().map(chap_from_proto),
                mutual_chap: iscsi.mutual_chap.as_option().map(chap_from_proto),
                volume_group: iscsi.volume_group.clone(),
                create_volume_group: iscsi.create_volume_group,
            }),
        })
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
            images: c.images,
            snapshots_running: c.snapshots_running,
            grow_running: c.grow_running,
            thick: c.thick,
            flatten: c.flatten,
            formats: c.formats.iter().copied().map(twin::write).collect(),
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
            images: c.images,
            snapshots_running: c.snapshots_running,
            grow_running: c.grow_running,
            thick: c.thick,
            flatten: c.flatten,
            // A format of a newer release is one we cannot ask for.
            formats: c.formats.iter().filter_map(|f| twin::read("formats", *f).ok()).collect(),
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
        facts: report.facts.iter().map(fact_to_proto).collect(),
        ..Default::default()
    }
}

fn fact_to_proto(fact: &Fact) -> wire::PoolFact {
    wire::PoolFact { name: fact.name.clone(), value: fact.value.clone(), ..Default::default() }
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
            facts: report
                .facts
                .iter()
                .map(|fact| Fact { name: fact.name.clone(), value: fact.value.clone() })
                .collect(),
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
        row.facts = report.facts.iter().map(fact_to_proto).collect();
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
        check_table::<NfsVersion>();
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
        use quantix_model::volume::VolumeFormat;
        let formats =
            prop::collection::vec(prop_oneof![Just(VolumeFormat::Qcow2), Just(VolumeFormat::Raw)], 0..3);
        let able = (any::<[bool; 10]>(), "[a-z0-9]{0,6}", formats);
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
                            images: able.0[5],
                            snapshots_running: able.0[6],
                            grow_running: able.0[7],
                            thick: able.0[8],
                            flatten: able.0[9],
                            file_system: able.1,
                            formats: able.2,
                        },
                        facts: vec![Fact { name: "protocol".into(), value: "NFS 4.1".into() }],
                    }
                },
            )
    }

    fn spec() -> impl Strategy<Value = PoolSpec> {
        let chap = || {
            prop::option::of(
                ".{1,9}".prop_map(|text| Chap { user: text.clone(), password: Secret::new(text) }),
            )
        };
        let version = prop_oneof![
            Just(NfsVersion::V3),
            Just(NfsVersion::V4),
            Just(NfsVersion::V41),
            Just(NfsVersion::V42)
        ];
        prop_oneof![
            (".{0,40}", ".{0,9}").prop_map(|(path, uuid)| PoolSpec::Local { path, file_system_uuid: uuid }),
            ([".{0,9}", ".{0,9}", ".{0,9}", ".{0,9}"], version).prop_map(
                |([server, export, options, mount_path], version)| {
                    PoolSpec::Nfs(NfsSpec { server, export, version, options, mount_path })
                }
            ),
            (prop::collection::vec(".{0,9}", 0..3), [".{0,9}", ".{0,9}", ".{0,9}"]).prop_map(
                |(monitors, [pool, user, key])| {
                    PoolSpec::Ceph(CephSpec { monitors, pool, user, key: Secret::new(key) })
                }
            ),
            ([".{0,9}", ".{0,9}", ".{0,9}"], any::<(u32, bool)>(), chap(), chap()).prop_map(
                |([portal, target, volume_group], (lun, create_volume_group), chap, mutual_chap)| {
                    PoolSpec::Iscsi(IscsiSpec {
                        portal,
                        target,
                        lun,
                        chap,
                        mutual_chap,
                        volume_group,
                        create_volume_group,
                    })
                }
            ),
        ]
    }

    proptest! {
        #[test]
        fn reports_both_ways(report in report(), n: u128) {
            let id = PoolId(Uuid::from_u128(n));
            prop_assert_eq!(report_from_proto(&report_to_proto(id, &report)), Ok((id, report)));
        }

        #[test]
        fn specs_both_ways(spec in spec()) {
            prop_assert_eq!(PoolSpec::try_from(&spec_with_secrets(&spec)), Ok(spec.clone()));
            let shown = PoolSpec::try_from(&wire::PoolSpec::from(&spec));
            prop_assert_eq!(shown, Ok(spec.without_secrets()));
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
