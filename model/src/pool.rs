//! Storage pools: intent in the spec, truth in what each host reports, and the sum of both.

pub mod change;
pub mod place;
pub mod spec;

use crate::fault::{Fault, FaultCode};
use crate::id::HostId;
use crate::time::UnixMs;
use crate::volume::VolumeFormat;
use serde::{Deserialize, Serialize};
use std::time::Duration;

pub use spec::{CephSpec, Chap, IscsiSpec, NfsSpec, NfsVersion, PoolSpec};

/// A pool that waits longer than this for its first report ends in Error.
pub const PENDING_DEADLINE: Duration = Duration::from_secs(120);

/// Folders whose contents a pool must never mingle with.
const SYSTEM_FOLDERS: &[&str] = &[
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/home",
    "/lib",
    "/lib64",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/var",
    "/var/lib",
    "/var/lib/libvirt",
    "/var/lib/quantix",
    "/mnt",
    "/media",
];
/// Trees no pool may live below.
const SYSTEM_TREES: &[&str] =
    &["/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr"];

/// Checks a pool's folder: absolute, normalised, printable, and not a folder of the system itself.
pub fn check_path(field: &str, path: &str) -> Result<(), Fault> {
    let remedy = "Give an absolute folder of its own, for example /var/lib/quantix/pools/main.";
    let bad =
        |why: String| Err(Fault { code: FaultCode::PoolPathInvalid, ..Fault::invalid(field, why, remedy) });
    if !path.starts_with('/') {
        return bad(format!("The path {path:?} is not absolute."));
    }
    if path.len() > 1024 {
        return bad("The path is longer than 1024 bytes.".into());
    }
    if path.chars().any(char::is_control) {
        return bad(format!("The path {path:?} holds control characters."));
    }
    if path.len() > 1 && path[1..].split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return bad(format!(
            "The path {path:?} is not normalised (it holds `//`, `.`, `..` or ends with `/`)."
        ));
    }
    let below = |tree: &&str| path.strip_prefix(*tree).is_some_and(|rest| rest.starts_with('/'));
    if SYSTEM_FOLDERS.contains(&path) || SYSTEM_TREES.iter().any(below) {
        return bad(format!("{path} belongs to the system."));
    }
    Ok(())
}

/// Health of a pool on one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolHealth {
    /// Nothing known, or known too long ago.
    Unknown,
    /// All probes passed.
    Healthy,
    /// Usable, with a fault.
    Degraded,
    /// Not usable.
    Error,
    /// Not there yet, or no longer.
    Unmounted,
}

/// Sizes of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// Size of what holds the pool.
    pub total_bytes: u64,
    /// Taken, by whomever.
    pub used_bytes: u64,
    /// Free for us; less than total − used where the file system keeps a reserve.
    pub available_bytes: u64,
}

/// Facts a backend reports of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    /// Has files to browse.
    pub files: bool,
    /// Can keep images.
    pub images: bool,
    /// Can snapshot volumes no VM runs on.
    pub snapshots: bool,
    /// Can snapshot them while a VM runs.
    pub snapshots_running: bool,
    /// Can clone without copying; the clone then needs its source.
    pub clones: bool,
    /// Can make a linked clone independent again, while no VM runs on it.
    pub flatten: bool,
    /// Can grow volumes no VM runs on.
    pub grow: bool,
    /// Can grow them while a VM runs.
    pub grow_running: bool,
    /// Can reserve all space at once.
    pub thick: bool,
    /// The file system shares extents between copies.
    pub reflink: bool,
    /// `ext4`, `xfs`, …
    pub file_system: String,
    /// How volumes may be kept; the first is the usual one.
    pub formats: Vec<VolumeFormat>,
}

/// Something a host found out about a pool, for people: `protocol`: `NFS 4.1`, `paths`: `1 of 2`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// What.
    pub name: String,
    /// As it is.
    pub value: String,
}

/// What one host said of one pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolReport {
    /// Generation of the intent it carried out.
    pub generation: u64,
    /// Its finding.
    pub health: PoolHealth,
    /// Why not healthy.
    pub fault: Option<Fault>,
    /// What was tried.
    pub probe: String,
    /// Health is this since, by the host's clock.
    pub since: UnixMs,
    /// Looked at then, by the host's clock.
    pub observed_at: UnixMs,
    /// Absent while not usable.
    pub capacity: Option<Capacity>,
    /// Where it is on the host.
    pub mount_path: String,
    /// Volumes counted.
    pub volume_count: u32,
    /// What it can do.
    pub capabilities: Capabilities,
    /// What else was found.
    #[serde(default)]
    pub facts: Vec<Fact>,
}

/// A host's report as the vDC holds it. `fresh`: the host is not silent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostStatus {
    /// Who.
    pub host_id: HostId,
    /// Name, for sentences.
    pub host: String,
    /// Absent until the first report.
    pub report: Option<PoolReport>,
    /// Whether the host still beats.
    pub fresh: bool,
}

impl HostStatus {
    /// The health to show: unknown when the host is silent, whatever it said last.
    pub fn health(&self) -> PoolHealth {
        match &self.report {
            Some(report) if self.fresh => report.health,
            _ => PoolHealth::Unknown,
        }
    }
}

/// Where a pool stands as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolPhase {
    /// Waiting for a first report, before its deadline.
    Pending,
    /// Every assigned host has it.
    Ready,
    /// Some have it.
    Degraded,
    /// None has it.
    Error,
    /// Going away.
    Deleting,
}

/// The phase that follows from the reports of the assigned hosts, and why it is not Ready.
pub fn phase(
    deleting: bool,
    statuses: &[HostStatus],
    changed_at: UnixMs,
    now: UnixMs,
) -> (PoolPhase, Option<Fault>) {
    if deleting {
        return (PoolPhase::Deleting, None);
    }
    if statuses.is_empty() {
        let fault = Fault::new(FaultCode::PoolNotAssigned, "The pool is on no host.", "Assign it to a host.");
        return (PoolPhase::Error, Some(fault));
    }
    let healthy = statuses.iter().filter(|s| s.health() == PoolHealth::Healthy).count();
    let usable =
        statuses.iter().filter(|s| matches!(s.health(), PoolHealth::Healthy | PoolHealth::Degraded)).count();
    if healthy == statuses.len() {
        return (PoolPhase::Ready, None);
    }
    let fault = statuses.iter().find(|s| s.health() != PoolHealth::Healthy).map(|s| why(s, changed_at, now));
    if usable > 0 {
        return (PoolPhase::Degraded, fault);
    }
    let waiting = statuses.iter().any(|s| s.report.is_none()) && changed_at.age(now) <= PENDING_DEADLINE;
    let failed = statuses.iter().any(|s| matches!(s.health(), PoolHealth::Error));
    if waiting && !failed { (PoolPhase::Pending, None) } else { (PoolPhase::Error, fault) }
}

fn why(status: &HostStatus, changed_at: UnixMs, now: UnixMs) -> Fault {
    match &status.report {
        Some(report) if status.fresh => report.fault.clone().unwrap_or_else(|| {
            Fault::new(
                FaultCode::PoolNotReady,
                format!("The pool is {:?} on {}.", report.health, status.host),
                "Look at the pool on that host.",
            )
        }),
        Some(_) => Fault::new(
            FaultCode::HostDisconnected,
            format!("{} is silent, so nobody knows how the pool is there.", status.host),
            "Check the host's power, network and the quantix-node service.",
        ),
        None => Fault::new(
            FaultCode::PoolNotReady,
            format!("{} has not reported the pool for {} s.", status.host, changed_at.age(now).as_secs()),
            "Check the host's power, network and the quantix-node service.",
        ),
    }
    .on_host(&status.host)
}

/// Capacity of the whole, with the time of the oldest figure in it. Unknown hosts count for nothing.
///
/// A shared pool has one set of bytes however many hosts see it: the freshest healthy figure. Local pools add up.
pub fn capacity(shared: bool, statuses: &[HostStatus]) -> Option<(Capacity, UnixMs)> {
    let known = statuses
        .iter()
        .filter(|s| matches!(s.health(), PoolHealth::Healthy | PoolHealth::Degraded))
        .filter_map(|s| s.report.as_ref())
        .filter_map(|r| r.capacity.map(|c| (c, r.observed_at)));
    if shared {
        return known.max_by_key(|(c, at)| (*at, c.available_bytes));
    }
    known.reduce(|(a, at), (b, bt)| {
        let sum = Capacity {
            total_bytes: a.total_bytes.saturating_add(b.total_bytes),
            used_bytes: a.used_bytes.saturating_add(b.used_bytes),
            available_bytes: a.available_bytes.saturating_add(b.available_bytes),
        };
        (sum, at.min(bt))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn status(n: u128, health: PoolHealth, fresh: bool, bytes: u64, at: i64) -> HostStatus {
        HostStatus {
            host_id: HostId(Uuid::from_u128(n)),
            host: format!("host-{n}"),
            report: Some(PoolReport {
                generation: 1,
                health,
                fault: None,
                probe: "statfs".into(),
                since: UnixMs(at),
                observed_at: UnixMs(at),
                capacity: Some(Capacity {
                    total_bytes: bytes,
                    used_bytes: bytes / 2,
                    available_bytes: bytes / 2,
                }),
                mount_path: "/p".into(),
                volume_count: 0,
                capabilities: Capabilities::default(),
                facts: Vec::new(),
            }),
            fresh,
        }
    }

    fn any_status() -> impl Strategy<Value = HostStatus> {
        use PoolHealth::*;
        (
            0u128..4,
            prop_oneof![Just(Unknown), Just(Healthy), Just(Degraded), Just(Error), Just(Unmounted)],
            any::<bool>(),
            0u64..1 << 40,
            0i64..1000,
        )
            .prop_map(|(n, h, f, b, at)| status(n, h, f, b, at))
    }

    proptest! {
        #[test]
        fn order_of_reports_does_not_matter(mut all in prop::collection::vec(any_status(), 0..6), shared: bool) {
            let before = (phase(false, &all, UnixMs(0), UnixMs(10)).0, capacity(shared, &all));
            all.reverse();
            let after = (phase(false, &all, UnixMs(0), UnixMs(10)).0, capacity(shared, &all));
            prop_assert_eq!(before, after);
        }

        #[test]
        fn silent_hosts_never_count_as_healthy(mut all in prop::collection::vec(any_status(), 1..6)) {
            for s in &mut all { s.fresh = false; }
            let (phase, _) = phase(false, &all, UnixMs(0), UnixMs(10));
            prop_assert_ne!(phase, PoolPhase::Ready);
            prop_assert_ne!(phase, PoolPhase::Degraded);
            prop_assert_eq!(capacity(false, &all), None);
        }

        #[test]
        fn shared_bytes_are_counted_once(all in prop::collection::vec(any_status(), 1..6)) {
            if let Some((sum, _)) = capacity(true, &all) {
                prop_assert!(all.iter().any(|s| s.report.as_ref().and_then(|r| r.capacity) == Some(sum)));
            }
        }
    }

    #[test]
    fn pending_ends_at_its_deadline() {
        let silent = HostStatus { report: None, ..status(1, PoolHealth::Unknown, true, 0, 0) };
        let all = [silent];
        assert_eq!(phase(false, &all, UnixMs(0), UnixMs(120_000)).0, PoolPhase::Pending);
        let (late, fault) = phase(false, &all, UnixMs(0), UnixMs(120_001));
        assert_eq!(late, PoolPhase::Error);
        assert_eq!(fault.expect("an error says why").host, "host-1");
    }

    #[test]
    fn paths() {
        for good in ["/data", "/var/lib/quantix/pools/main", "/tmp/x", "/srv/a..b", "/mnt/ä"] {
            assert!(check_path("path", good).is_ok(), "{good}");
        }
        for bad in [
            "", "data", "/", "/etc", "/etc/x", "/a/../b", "/a//b", "/a/", "/a/.", "/a\nb", "/usr/x",
            "/proc/1",
        ] {
            assert_eq!(check_path("path", bad).expect_err(bad).code, FaultCode::PoolPathInvalid);
        }
    }
}
