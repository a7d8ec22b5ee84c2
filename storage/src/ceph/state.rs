//! What a Ceph pool is like: room, health, and why it is silent.

use crate::backend::PoolInfo;
use crate::ceph::command::{Cluster, read_json};
use crate::ceph::{CephPool, fault, locked, names};
use crate::error::{self, Result};
use crate::explore::CephPoolSeen;
use quantix_model::pool::{Capabilities, Capacity, Fact};
use quantix_model::volume::VolumeFormat;
use quantix_model::{Fault, FaultCode};
use serde::Deserialize;
use serde_json::{Deserializer, Value};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Ceph gathers these figures every few seconds; asking starts a Python program of half a second.
const FRESH: Duration = Duration::from_secs(8);

/// What the monitors said, and when.
pub(super) struct Seen {
    at: Instant,
    state: State,
}

/// What the monitors say of the cluster and one pool of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    cluster: String,
    capacity: Capacity,
    quota_bytes: u64,
    health: Health,
}

#[derive(Deserialize)]
struct Df {
    pools: Vec<DfPool>,
}

#[derive(Deserialize)]
struct DfPool {
    name: String,
    stats: DfStats,
}

#[derive(Deserialize)]
struct DfStats {
    stored: u64,
    max_avail: u64,
    #[serde(default)]
    quota_bytes: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct Health {
    status: String,
    #[serde(default)]
    checks: BTreeMap<String, Check>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Check {
    severity: String,
    summary: Summary,
    #[serde(default)]
    detail: Vec<Detail>,
    #[serde(default)]
    muted: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Summary {
    message: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Detail {
    message: String,
}

impl Health {
    /// In one line.
    fn summary(&self) -> String {
        let all =
            self.checks.values().filter(|check| !check.muted).map(|check| check.summary.message.as_str());
        let all: Vec<&str> = std::iter::once(self.status.as_str()).chain(all).collect();
        all.join("; ")
    }

    /// Said to be full: the pool itself, its quota, or an OSD.
    fn full(&self, pool: &str) -> Option<String> {
        let (_, check) = self.checks.iter().find(|(name, check)| match name.as_str() {
            "OSD_FULL" => true,
            "POOL_FULL" => check.tells_of(pool),
            _ => false,
        })?;
        Some(check.words())
    }

    /// Said to be nearly full.
    fn nearly_full(&self, pool: &str) -> Option<String> {
        let (_, check) = self.checks.iter().find(|(name, check)| match name.as_str() {
            "OSD_NEARFULL" | "OSD_BACKFILLFULL" => !check.muted,
            "POOL_NEARFULL" | "POOL_NEAR_FULL" => !check.muted && check.tells_of(pool),
            _ => false,
        })?;
        Some(check.words())
    }

    /// What is wrong with the pool's own data path. A monitor short of disk is no matter of the pool's.
    fn touching(&self, pool: &str) -> Option<String> {
        let shared = ["OSD_", "PG_", "OBJECT_", "SLOW_OPS", "BLUESTORE_", "DEVICE_HEALTH"];
        let of_pool = |check: &Check| check.tells_of(pool);
        let words: Vec<String> = self
            .checks
            .iter()
            .filter(|(name, check)| {
                let at_osds = shared.iter().any(|prefix| name.starts_with(prefix));
                !check.muted && (at_osds || check.severity == "HEALTH_ERR" || of_pool(check))
            })
            .map(|(_, check)| check.words())
            .collect();
        (!words.is_empty()).then(|| words.join("; "))
    }
}

impl Check {
    fn tells_of(&self, pool: &str) -> bool {
        let quoted = format!("'{pool}'");
        self.detail.iter().any(|detail| detail.message.contains(&quoted))
    }

    fn words(&self) -> String {
        let detail = self.detail.iter().take(3).map(|detail| detail.message.as_str());
        let all: Vec<&str> = std::iter::once(self.summary.message.as_str()).chain(detail).collect();
        all.join(": ")
    }
}

/// `None` when the monitors did not tell (yet).
fn room(df: &Df, pool: &str) -> Option<(Capacity, u64)> {
    let stats = &df.pools.iter().find(|found| found.name == pool)?.stats;
    let quota = stats.quota_bytes;
    let left =
        if quota > 0 { quota.saturating_sub(stats.stored).min(stats.max_avail) } else { stats.max_avail };
    let capacity = Capacity {
        total_bytes: stats.stored.saturating_add(left),
        used_bytes: stats.stored,
        available_bytes: left,
    };
    Some((capacity, quota))
}

impl Cluster {
    /// The answers to several commands, in their order.
    fn ask(&self, step: &'static str, lines: &str) -> Result<Vec<Value>> {
        let output = self.ceph(step, lines)?.map_err(|refusal| self.fault(&refusal))?;
        let answers: std::result::Result<Vec<Value>, _> =
            Deserializer::from_slice(&output.stdout).into_iter().collect();
        answers.or_else(|_| read_json(step, &output.stdout))
    }

    fn state(&self) -> Result<State> {
        let step = "asking the monitors";
        let answers = self.ask(step, "df detail\nhealth detail\nfsid\n")?;
        let find = |key: &str| answers.iter().find(|answer| answer.get(key).is_some()).cloned();
        let df: Df =
            find("pools").and_then(|df| serde_json::from_value(df).ok()).ok_or_else(|| self.untold())?;
        let health =
            find("status").and_then(|health| serde_json::from_value(health).ok()).unwrap_or_default();
        let (capacity, quota_bytes) = room(&df, &self.names.pool).ok_or_else(|| self.untold())?;
        let cluster =
            find("fsid").and_then(|fsid| fsid["fsid"].as_str().map(str::to_owned)).unwrap_or_default();
        Ok(State { cluster, capacity, quota_bytes, health })
    }

    /// Every pool of the cluster with its room.
    pub(super) fn pools(&self) -> Result<Vec<CephPoolSeen>> {
        let answers = self.ask("asking for the pools", "df detail\n")?;
        let df = answers.into_iter().next().and_then(|df| serde_json::from_value::<Df>(df).ok());
        let seen = |pool: DfPool| CephPoolSeen {
            name: pool.name,
            stored_bytes: pool.stats.stored,
            available_bytes: pool.stats.max_avail,
        };
        Ok(df.ok_or_else(|| self.untold())?.pools.into_iter().map(seen).collect())
    }

    fn untold(&self) -> Fault {
        let user = &self.names.user;
        Fault::new(
            FaultCode::PoolAccessDenied,
            format!(
                "The monitors do not tell the user {user:?} how much room the pool {:?} has.",
                self.names.pool
            ),
            format!(
                "Give it the rights: `ceph auth caps client.{user} mon 'profile rbd' osd 'profile rbd pool={}'`.",
                self.names.pool
            ),
        )
    }

    /// Asks the monitors why the data path is silent; `None` when they do not know either.
    pub(super) fn why_silent(&self) -> Option<Fault> {
        let answers = self.ceph("asking for the cluster's health", "health detail\n").ok()?.ok()?;
        let health: Health = serde_json::from_slice(&answers.stdout).ok()?;
        let pool = &self.names.pool;
        if let Some(words) = health.full(pool) {
            return Some(fault::full(pool).because(words));
        }
        let words = health.touching(pool)?;
        Some(fault::silent("the cluster").because(words))
    }
}

impl CephPool {
    /// Asks the monitors how the pool is, and its OSDs for the list of images, which proves the data path.
    pub(super) fn look(&self) -> Result<PoolInfo> {
        let cluster = self.cluster();
        cluster.listen_again();
        let fresh = locked(&self.state).take().filter(|seen| seen.at.elapsed() < FRESH);
        let (listed, state) = std::thread::scope(|scope| {
            let asking = fresh.is_none().then(|| scope.spawn(|| cluster.state()));
            let listed = cluster.rbd_json::<Vec<String>>("listing images", &["ls", &cluster.names.pool]);
            let state = match (asking, fresh) {
                (Some(asking), _) => {
                    let state = asking.join().unwrap_or_else(|_| Err(Fault::internal("a thread panicked")));
                    state.map(|state| Seen { at: Instant::now(), state })
                }
                (None, Some(seen)) => Ok(seen),
                (None, None) => Err(Fault::internal("nothing fresh and nothing asked")),
            };
            (listed, state)
        });
        let images = listed?.map_err(|refusal| {
            let fault = cluster.fault(&refusal);
            let health = state.as_ref().ok().and_then(|seen| seen.state.health.touching(&cluster.names.pool));
            health.map_or(fault.clone(), |words| fault.because(words))
        })?;
        let seen = state?;
        let info = self.describe(&seen.state, &images);
        *locked(&self.state) = Some(seen);
        Ok(info)
    }

    fn describe(&self, state: &State, images: &[String]) -> PoolInfo {
        let pool = &self.spec.pool;
        let volumes = images.iter().filter(|image| names::volume_of(image).is_some()).count();
        let fault =
            match (state.health.full(pool), state.health.nearly_full(pool), state.health.touching(pool)) {
                (Some(words), ..) => Some(fault::full(pool).because(words)),
                (None, Some(words), _) => Some(fault::nearly_full(pool).because(words)),
                (None, None, Some(words)) => Some(unwell(pool).because(words)),
                (None, None, None) => None,
            };
        let foreign: Vec<&String> = images.iter().filter(|image| !names::is_ours(image)).collect();
        let quota = match state.quota_bytes {
            0 => "none".to_owned(),
            bytes => format!("{bytes} bytes"),
        };
        let fact = |name: &str, value: String| Fact { name: name.to_owned(), value };
        PoolInfo {
            capacity: state.capacity,
            capabilities: Capabilities {
                snapshots: true,
                snapshots_running: true,
                clones: true,
                flatten: true,
                grow: true,
                grow_running: true,
                thick: true,
                formats: vec![VolumeFormat::Raw],
                ..Capabilities::default()
            },
            mount_path: format!("rbd:{pool}"),
            volume_count: u32::try_from(volumes).unwrap_or(u32::MAX),
            probe: "listed its images, asked the monitors for room and health".to_owned(),
            fault,
            facts: vec![
                fact("cluster", state.cluster.clone()),
                fact("health", state.health.summary()),
                fact("quota", quota),
                fact("images of others", error::none_or_some(&foreign)),
            ],
        }
    }
}

fn unwell(pool: &str) -> Fault {
    Fault::new(
        FaultCode::PoolIoFailed,
        format!("The Ceph cluster is not well where the pool {pool:?} lives."),
        "Look at `ceph health detail`; Ceph heals much by itself, a lost OSD needs you.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Said by Ceph 16.2.15.
    const HEALTH: &str = r#"{"status":"HEALTH_WARN","checks":{
        "MON_DISK_LOW":{"severity":"HEALTH_WARN","summary":{"message":"mon a is low on available space","count":1},
            "detail":[{"message":"mon.a has 9% avail"}],"muted":false},
        "POOL_FULL":{"severity":"HEALTH_WARN","summary":{"message":"1 pool(s) full","count":1},
            "detail":[{"message":"pool 'vms' is full (running out of quota)"}],"muted":false}},"mutes":[]}"#;

    #[test]
    fn health_counts_where_it_touches_the_pool() {
        let health: Health = serde_json::from_str(HEALTH).expect("health");
        assert_eq!(
            health.full("vms").as_deref(),
            Some("1 pool(s) full: pool 'vms' is full (running out of quota)")
        );
        assert_eq!(health.full("vm"), None);
        assert_eq!(health.touching("other"), None);
        assert_eq!(health.summary(), "HEALTH_WARN; mon a is low on available space; 1 pool(s) full");
        let down = HEALTH.replace("MON_DISK_LOW", "OSD_DOWN");
        let health: Health = serde_json::from_str(&down).expect("health");
        assert!(health.touching("other").is_some_and(|words| words.contains("mon.a has 9%")));
        let muted = down.replace("\"muted\":false", "\"muted\":true");
        let health: Health = serde_json::from_str(&muted).expect("health");
        assert_eq!(health.touching("vms"), None);
    }

    #[test]
    fn a_quota_bounds_the_room() {
        let df = |quota: u64| {
            let text = format!(
                r#"{{"stats":{{}},"pools":[{{"name":"vms","id":3,"stats":{{"stored":600,"max_avail":5000,"quota_bytes":{quota}}}}}]}}"#
            );
            serde_json::from_str::<Df>(&text).expect("df")
        };
        let of = |quota| room(&df(quota), "vms").expect("the pool").0;
        assert_eq!(of(0), Capacity { total_bytes: 5600, used_bytes: 600, available_bytes: 5000 });
        assert_eq!(of(1000), Capacity { total_bytes: 1000, used_bytes: 600, available_bytes: 400 });
        assert_eq!(of(500).available_bytes, 0);
        assert_eq!(room(&df(0), "other"), None);
    }
}
