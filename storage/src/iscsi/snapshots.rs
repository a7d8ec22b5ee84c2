//! Snapshots: thin snapshots in the volume's own pool, numbered, their names in tags.
//!
//! Each one sets aside as much space again as its volume has, so that both can be overwritten in full. LVM cannot make a
//! thin pool smaller: a deleted snapshot's space is kept for the volume's next one.
//!
//! ```text
//!   revert:  .s1 ─snapshot─▶ .next    <id> ─rename─▶ .before    .next ─rename─▶ <id>    .before removed
//!            cut before the first rename: it never was; later: the next start (or try) ends it
//! ```

use crate::backend::{SnapshotInfo, Snapshots};
use crate::error::Result;
use crate::iscsi::lvm::{Lv, before_name, lv_name, next_name, snapshot_name, tag_host, tag_snapshot};
use crate::iscsi::volumes::{find, in_use};
use crate::iscsi::{IscsiPool, locked};
use quantix_model::id::VolumeId;
use quantix_model::volume::check_snapshot_name;
use quantix_model::{Fault, FaultCode};

/// The fault for a snapshot that is not there.
pub(super) fn missing(id: VolumeId, name: &str) -> Fault {
    Fault::new(
        FaultCode::SnapshotMissing,
        format!("The volume {id} has no snapshot {name:?}."),
        "Look at the list of its snapshots again.",
    )
}

fn info(lv: &Lv) -> SnapshotInfo {
    SnapshotInfo {
        name: lv.snapshot().unwrap_or(&lv.name).to_owned(),
        created_at_ms: lv.made_at.saturating_mul(1000),
        size_bytes: lv.size_bytes,
        clones: 0,
    }
}

impl Snapshots for IscsiPool {
    fn snapshot_create(&self, id: VolumeId, name: &str) -> Result<SnapshotInfo> {
        check_snapshot_name("name", name)?;
        let _busy = self.busy(id)?;
        let _change = locked(&self.changes);
        let group = self.group()?;
        let (shelf, volume, pool) = find(&group, id)?;
        if let Some((_, there)) = shelf.snapshot(name) {
            return Ok(info(there));
        }
        self.step("create snapshot: begun")?;
        let kept: u64 = shelf.snapshots.values().map(|lv| lv.size_bytes).sum();
        let number = shelf.snapshots.keys().next_back().map_or(1, |last| last.saturating_add(1));
        self.holding(id, shelf, || {
            self.reserve(&group, id, pool, 2 * volume.size_bytes + kept)?;
            self.step("create snapshot: space set aside")?;
            let (new, tag) = (snapshot_name(id, number), tag_snapshot(name));
            let mut args = vec!["lvcreate", "--yes", "--snapshot", "--name", new.as_str(), "--addtag", &tag];
            let path = self.path_of(&volume.name);
            args.extend(["--setactivationskip", "y", path.as_str()]);
            self.lvm("make the snapshot", &args).map(drop)
        })?;
        let after = self.group()?;
        let (shelf, ..) = find(&after, id)?;
        shelf.snapshot(name).map(|(_, lv)| info(lv)).ok_or_else(|| missing(id, name))
    }

    fn snapshot_list(&self, id: VolumeId) -> Result<Vec<SnapshotInfo>> {
        let group = self.group()?;
        let (shelf, ..) = find(&group, id)?;
        Ok(shelf.snapshots.values().map(info).collect())
    }

    fn snapshot_revert(&self, id: VolumeId, name: &str) -> Result<()> {
        let _busy = self.busy(id)?;
        let _change = locked(&self.changes);
        let group = self.group_when_closed(|group| group.is_open(id))?;
        let (shelf, volume, _) = find(&group, id)?;
        let (_, snapshot) = shelf.snapshot(name).ok_or_else(|| missing(id, name))?;
        if volume.is_open() {
            return Err(in_use(id));
        }
        // The claim goes along: `before` keeps its tag, `next` is made with it.
        self.holding(id, shelf, || {
            self.mend(id, shelf)?;
            let done = self.swap(id, volume, snapshot);
            if done.is_err() {
                // What this cannot end, the next start does.
                let _ = self.group().map(|after| after.shelves.get(&id).map(|shelf| self.mend(id, shelf)));
            }
            done
        })
    }

    fn snapshot_delete(&self, id: VolumeId, name: &str) -> Result<bool> {
        let _busy = self.busy(id)?;
        let _change = locked(&self.changes);
        let group = self.group()?;
        let (shelf, ..) = find(&group, id)?;
        let Some((_, snapshot)) = shelf.snapshot(name) else { return Ok(false) };
        if snapshot.is_open() {
            return Err(in_use(id));
        }
        self.step("delete snapshot")?;
        self.holding(id, shelf, || {
            self.lvm("delete the snapshot", &["lvremove", "--yes", &self.path_of(&snapshot.name)])
                .map(|_| true)
        })
    }
}

impl IscsiPool {
    fn swap(&self, id: VolumeId, volume: &Lv, snapshot: &Lv) -> Result<()> {
        if volume.is_active() {
            let args = ["lvchange", "--activate", "n", &self.path_of(&volume.name)];
            self.lvm("deactivate the volume", &args)?;
        }
        self.step("revert: begun")?;
        let (next, tag, from) = (next_name(id), tag_host(&self.host), self.path_of(&snapshot.name));
        let mut args = vec!["lvcreate", "--yes", "--snapshot", "--name", next.as_str(), "--addtag", &tag];
        args.extend(["--setactivationskip", "y", from.as_str()]);
        self.lvm("make the reverted disk", &args)?;
        self.step("revert: made")?;
        self.rename(&lv_name(id), &before_name(id))?;
        self.step("revert: between")?;
        self.rename(&next, &lv_name(id))?;
        self.step("revert: swapped")?;
        let path = self.path_of(&before_name(id));
        self.lvm("remove what was before", &["lvremove", "--yes", &path]).map(drop)
    }
}
