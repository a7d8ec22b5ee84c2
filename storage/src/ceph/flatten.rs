//! Making linked clones independent: Ceph copies what they share, piece by piece, and drops the link at the very end.
//! Killed in its middle it goes on where it was when asked again.

use crate::backend::{Flatten, Progress, VolumeInfo};
use crate::ceph::command::Pace;
use crate::ceph::volumes::{Parent, in_bytes};
use crate::ceph::{CephPool, locked, names};
use crate::error::{self, Result};
use quantix_model::id::VolumeId;

impl Flatten for CephPool {
    fn volume_flatten(&self, id: VolumeId, progress: &mut dyn FnMut(Progress)) -> Result<VolumeInfo> {
        let _busy = self.busy(id)?;
        let before = self.source(id, "")?;
        if let Some(parent) = &before.parent {
            self.refuse_in_use(id)?;
            self.step("flatten")?;
            let image = self.cluster().image(&names::volume(id));
            let tell = &mut in_bytes(before.size, progress);
            let done = self.cluster().rbd_long("making an image independent", &["flatten", &image], tell)?;
            done.map_err(|refusal| self.volume_fault(id, &refusal))?;
            if let Some(known) = locked(&self.shared.known).get_mut(&id) {
                known.parent = None;
            }
            self.step("flatten: free the snapshot")?;
            self.free_snapshot(parent);
        }
        self.find_volume(id)?.ok_or_else(|| error::volume_missing(id))
    }
}

impl CephPool {
    /// Lets go of a protected snapshot (clone format 1) that no clone needs any more, and forgets one that was only
    /// there for the clone. Snapshots of format 2 need nothing. What cannot be done now is done by who deletes it.
    fn free_snapshot(&self, parent: &Parent) {
        let Some(source) = self.parent(Some(parent)) else { return };
        let snapshot = format!("{}@{}", self.cluster().image(&parent.image), parent.snapshot);
        let unneeded = matches!(self.children(&snapshot), Ok(Ok(clones)) if clones.is_empty());
        if !unneeded {
            return;
        }
        if names::is_base(&parent.snapshot) {
            let _ = self.remove_snapshot(source, &parent.snapshot);
        } else {
            let _ = self.cluster().rbd("freeing a snapshot", Pace::Change, &["snap", "unprotect", &snapshot]);
        }
    }
}
