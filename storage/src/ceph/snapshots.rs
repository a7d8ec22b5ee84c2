//! Snapshots of volumes.

use crate::backend::{SnapshotInfo, Snapshots};
use crate::ceph::command::Pace;
use crate::ceph::fault::{self, Refusal, errno};
use crate::ceph::{CephPool, exists, names};
use crate::error::Result;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use quantix_model::id::VolumeId;
use quantix_model::volume::check_snapshot_name;
use serde::Deserialize;

#[derive(Deserialize)]
struct Listed {
    name: String,
    size: u64,
    timestamp: String,
}

/// From `Fri Nov  6 22:40:59 2026` (ctime(3), in UTC); 0 when nobody can read it.
fn unix_ms(text: &str) -> i64 {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let civil = DateTime::strptime("%a %b %d %H:%M:%S %Y", text);
    civil
        .and_then(|civil| civil.to_zoned(TimeZone::UTC))
        .map_or(0, |zoned| zoned.timestamp().as_millisecond())
}

impl CephPool {
    fn snapshot(&self, id: VolumeId, name: &str) -> String {
        format!("{}@{name}", self.cluster().image(&names::volume(id)))
    }

    /// One of that name that is there already is a success.
    pub(super) fn make_snapshot(&self, id: VolumeId, name: &str) -> Result<()> {
        let args = ["snap", "create", "--no-progress", &self.snapshot(id, name)];
        match self.cluster().rbd("making a snapshot", Pace::Change, &args)? {
            Ok(_) => Ok(()),
            Err(refusal) if exists(&refusal) => Ok(()),
            Err(refusal) => Err(self.volume_fault(id, &refusal)),
        }
    }

    /// `false` when it was not there. A protected one (clone format 1) is freed first.
    pub(super) fn remove_snapshot(&self, id: VolumeId, name: &str) -> Result<bool> {
        let snapshot = self.snapshot(id, name);
        let remove = || {
            let args = ["snap", "rm", "--no-progress", &snapshot];
            self.cluster().rbd("removing a snapshot", Pace::Change, &args)
        };
        let removed = match remove()? {
            Err(refusal) if refusal.errno == errno::BUSY && refusal.said.contains("protected") => {
                let args = ["snap", "unprotect", &snapshot];
                let freed = self.cluster().rbd("freeing a snapshot", Pace::Change, &args)?;
                freed.map_err(|refusal| self.cluster().fault(&refusal))?;
                remove()?
            }
            other => other,
        };
        match removed {
            Ok(_) => Ok(true),
            Err(refusal) if refusal.errno == errno::NOENT && !opened_nothing(&refusal) => Ok(false),
            Err(refusal) => Err(self.volume_fault(id, &refusal)),
        }
    }

    fn list_snapshots(&self, id: VolumeId) -> Result<Vec<SnapshotInfo>> {
        let image = self.cluster().image(&names::volume(id));
        let listed = self.cluster().rbd_json::<Vec<Listed>>("listing snapshots", &["snap", "ls", &image])?;
        let listed = listed.map_err(|refusal| self.volume_fault(id, &refusal))?;
        let info = |found: Listed| SnapshotInfo {
            created_at_ms: unix_ms(&found.timestamp),
            size_bytes: found.size,
            name: found.name,
            clones: 0,
        };
        Ok(listed.into_iter().filter(|found| !names::is_base(&found.name)).map(info).collect())
    }

    fn snapshot_clones(&self, id: VolumeId, name: &str) -> Result<std::result::Result<Vec<String>, Refusal>> {
        self.children(&self.snapshot(id, name))
    }
}

/// The image itself was not there.
fn opened_nothing(refusal: &Refusal) -> bool {
    refusal.said.contains("error opening image")
}

impl Snapshots for CephPool {
    fn snapshot_create(&self, id: VolumeId, name: &str) -> Result<SnapshotInfo> {
        check_snapshot_name("name", name)?;
        let _busy = self.busy(id)?;
        self.step("snapshot: create")?;
        self.make_snapshot(id, name)?;
        let found = self.list_snapshots(id)?.into_iter().find(|found| found.name == name);
        found.ok_or_else(|| fault::snapshot_missing(id, name))
    }

    fn snapshot_list(&self, id: VolumeId) -> Result<Vec<SnapshotInfo>> {
        let mut found = self.list_snapshots(id)?;
        let image = self.cluster().image(&names::volume(id));
        // Mostly none has any, and one question tells.
        let any = !found.is_empty() && self.children(&image)?.is_ok_and(|clones| !clones.is_empty());
        for snapshot in found.iter_mut().filter(|_| any) {
            let clones = self.snapshot_clones(id, &snapshot.name)?.unwrap_or_default();
            snapshot.clones = u32::try_from(clones.len()).unwrap_or(u32::MAX);
        }
        Ok(found)
    }

    fn snapshot_revert(&self, id: VolumeId, name: &str) -> Result<()> {
        check_snapshot_name("name", name)?;
        let _busy = self.busy(id)?;
        self.refuse_in_use(id)?;
        self.step("snapshot: revert")?;
        let args = ["snap", "rollback", "--no-progress", &self.snapshot(id, name)];
        match self.cluster().rbd("reverting to a snapshot", Pace::Work, &args)? {
            Ok(_) => {
                // Its size may be another now.
                crate::ceph::locked(&self.shared.known).remove(&id);
                Ok(())
            }
            Err(refusal) if refusal.errno == errno::NOENT && !opened_nothing(&refusal) => {
                Err(fault::snapshot_missing(id, name).because(refusal.said))
            }
            Err(refusal) => Err(self.volume_fault(id, &refusal)),
        }
    }

    fn snapshot_delete(&self, id: VolumeId, name: &str) -> Result<bool> {
        check_snapshot_name("name", name)?;
        let _busy = self.busy(id)?;
        match self.snapshot_clones(id, name)? {
            Ok(clones) if clones.is_empty() => {}
            Ok(clones) => {
                return Err(fault::has_clones(&format!("The snapshot {name:?} of {id}"), &clones));
            }
            Err(refusal) if refusal.errno == errno::NOENT && !opened_nothing(&refusal) => return Ok(false),
            Err(refusal) => return Err(self.volume_fault(id, &refusal)),
        }
        self.step("snapshot: delete")?;
        self.remove_snapshot(id, name)
    }
}

#[cfg(test)]
mod tests {
    use super::unix_ms;

    #[test]
    fn times() {
        assert_eq!(unix_ms("Fri Nov 20 22:40:59 2026"), 1_795_214_459_000);
        assert_eq!(unix_ms("Fri Nov  6 00:00:00 2026"), 1_793_923_200_000);
        assert_eq!(unix_ms("yesterday"), 0);
    }
}
