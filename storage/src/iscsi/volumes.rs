//! Volumes: each a thin LV alone in a thin pool of its own, whose space is set aside when it is made.
//!
//! So a new volume reads as zeros without writing any, a running guest never meets a full pool, and one host can have
//! pool, disk and snapshots while other hosts have others. A copy is tagged as unfinished until it is whole; what a
//! killed worker leaves so is swept at the host's next start.

use crate::backend::{Attachment, Exclusive, Grow, Progress, VolumeInfo, VolumeWish};
use crate::error::{self, Result, io};
use crate::iscsi::lvm::{Group, Lv, Shelf, lv_name, pool_name, tag_host, tag_made, tag_new};
use crate::iscsi::{IscsiPool, appears, copy, locked};
use quantix_model::id::VolumeId;
use quantix_model::volume::{Allocation, VolumeFormat, VolumeSource, check_size};
use quantix_model::{Fault, FaultCode};
use std::fs::{File, OpenOptions};
use std::path::PathBuf;
use std::time::Duration;

/// LVM waits for udev itself; this is for one that is late.
const NODE_APPEARS: Duration = Duration::from_secs(5);
/// LVM's own rule for the maps of a thin pool: 64 bytes for each chunk of 64 KiB.
const DATA_PER_METADATA: u64 = 1024;
const METADATA_BYTES_MIN: u64 = 4 << 20;
/// LVM takes no more (`lvmthin(7)`).
const METADATA_BYTES_MAX: u64 = 15 << 30;

/// The fault for a volume that another host has.
pub(super) fn held_elsewhere(id: VolumeId, host: &str) -> Fault {
    Fault::new(
        FaultCode::VolumeHeldElsewhere,
        format!("The host {host} has the volume {id}."),
        format!(
            "Stop the VM there. If that host is dead for good: `lvchange --deltag {}` on its LV.",
            tag_host(host)
        ),
    )
}

/// The fault for a volume that is open here.
pub(super) fn in_use(id: VolumeId) -> Fault {
    Fault::new(
        FaultCode::VolumeInUse,
        format!("The volume {id} is open on this host."),
        "Stop the VM that uses it.",
    )
}

fn info(id: VolumeId, volume: &Lv, pool: &Lv) -> VolumeInfo {
    VolumeInfo {
        id,
        size_bytes: volume.size_bytes,
        allocated_bytes: pool.size_bytes,
        format: VolumeFormat::Raw,
        allocation: Allocation::Thick,
        parent: None,
        clones: 0,
    }
}

/// The part of a group about one volume, when that is whole.
pub(super) fn find(group: &Group, id: VolumeId) -> Result<(&Shelf, &Lv, &Lv)> {
    let shelf = group.shelves.get(&id).ok_or_else(|| error::volume_missing(id))?;
    let (volume, pool) = shelf.whole().ok_or_else(|| error::volume_missing(id))?;
    Ok((shelf, volume, pool))
}

/// Where a clone comes from.
struct Origin {
    id: VolumeId,
    lv: String,
    size_bytes: u64,
    /// The source was free: its claim is given up after the copy.
    claimed: bool,
}

impl IscsiPool {
    pub(super) fn list_volumes(&self) -> Result<Vec<VolumeInfo>> {
        let group = self.group()?;
        let whole =
            |(id, shelf): (&VolumeId, &Shelf)| shelf.whole().map(|(volume, pool)| info(*id, volume, pool));
        Ok(group.shelves.iter().filter_map(whole).collect())
    }

    pub(super) fn node(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/dev/{}/{name}", self.spec.volume_group))
    }

    /// Makes this host the one that has a volume; whether it was free before. Callers hold `changes`.
    pub(super) fn claim(&self, id: VolumeId, shelf: &Shelf) -> Result<bool> {
        match shelf.host() {
            Some(host) if host == self.host => return Ok(false),
            Some(host) => return Err(held_elsewhere(id, host)),
            None => {}
        }
        self.step("claim: begun")?;
        let (tag, path) = (tag_host(&self.host), self.path_of(&lv_name(id)));
        self.lvm("claim the volume", &["lvchange", "--addtag", &tag, &path])?;
        self.step("claim: tagged")?;
        // Two hosts may have written at once: what the disk says now counts.
        let after = self.group()?;
        let (_, volume, _) = find(&after, id)?;
        match volume.hosts().as_slice() {
            [host] if *host == self.host => Ok(true),
            [] => Err(Fault::new(
                FaultCode::Busy,
                "Another host changed the volume group in the same moment.",
                "Nothing was lost here; try again.",
            )
            .in_phase("claim the volume")),
            hosts => {
                let other = hosts.iter().find(|host| **host != self.host).copied().unwrap_or_default();
                if hosts.contains(&self.host.as_str()) {
                    self.release(id)?;
                }
                Err(held_elsewhere(id, other))
            }
        }
    }

    /// Gives a claim up.
    pub(super) fn release(&self, id: VolumeId) -> Result<()> {
        let (tag, path) = (tag_host(&self.host), self.path_of(&lv_name(id)));
        self.lvm("give the volume up", &["lvchange", "--deltag", &tag, &path]).map(drop)
    }

    /// Works on a volume that nobody else can have meanwhile. Callers hold `changes`.
    pub(super) fn holding<T>(
        &self,
        id: VolumeId,
        shelf: &Shelf,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let claimed = self.claim(id, shelf)?;
        let done = work();
        if claimed {
            let released = self.release(id);
            return done.and_then(|value| released.map(|()| value));
        }
        done
    }

    fn activate(&self, name: &str) -> Result<PathBuf> {
        let args = ["lvchange", "--activate", "y", "--ignoreactivationskip", &self.path_of(name)];
        self.lvm("activate the volume", &args)?;
        let node = self.node(name);
        if appears(&node, NODE_APPEARS) {
            return Ok(node);
        }
        let message = format!("{} did not appear.", node.display());
        Err(Fault::new(FaultCode::PoolIoFailed, message, "Check that udev runs on the host.")
            .in_phase("activate the volume"))
    }

    fn deactivate(&self, name: &str) -> Result<()> {
        let args = ["lvchange", "--activate", "n", &self.path_of(name)];
        self.lvm("deactivate the volume", &args).map(drop)
    }

    pub(super) fn attach_volume(&self, id: VolumeId) -> Result<Attachment> {
        let _busy = self.busy(id)?;
        let _change = locked(&self.changes);
        let group = self.group()?;
        let (shelf, volume, _) = find(&group, id)?;
        let claimed = self.claim(id, shelf)?;
        self.step("attach: claimed")?;
        let node = self.node(&volume.name);
        if !(volume.is_active() && node.exists()) {
            let active = self.activate(&volume.name);
            if active.is_err() && claimed {
                // The next attach or detach of this host ends what this cannot.
                let _ = self.release(id);
            }
            active?;
        }
        self.step("attach: active")?;
        Ok(Attachment::Block { path: node.to_string_lossy().into_owned() })
    }

    pub(super) fn delete_volume(&self, id: VolumeId) -> Result<bool> {
        let _busy = self.busy(id)?;
        let _change = locked(&self.changes);
        let group = self.group_when_closed(|group| group.is_open(id))?;
        let Some(shelf) = group.shelves.get(&id) else { return Ok(false) };
        if let Some(host) = shelf.host().or(shelf.unfinished()).filter(|host| *host != self.host) {
            return Err(held_elsewhere(id, host));
        }
        if shelf.is_open() {
            return Err(in_use(id));
        }
        self.step("delete volume")?;
        // The pool takes all that is in it along.
        let name = shelf.pool.as_ref().map_or_else(|| lv_name(id), |pool| pool.name.clone());
        self.lvm("delete the volume", &["lvremove", "--yes", &self.path_of(&name)])?;
        Ok(shelf.whole().is_some())
    }

    pub(super) fn create_volume(
        &self,
        wish: &VolumeWish,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<VolumeInfo> {
        check_size("size_bytes", wish.size_bytes)?;
        if wish.format != VolumeFormat::Raw {
            return Err(error::cannot("keep qcow2 disks"));
        }
        let source = match &wish.source {
            VolumeSource::Blank => None,
            VolumeSource::Image { .. } => {
                return Err(error::cannot("keep images, so no disk starts from one"));
            }
            VolumeSource::Volume { linked: true, .. } => return Err(error::cannot("clone without copying")),
            VolumeSource::Volume { id, snapshot, .. } => Some((*id, snapshot.as_str())),
        };
        let _busy = self.busy(wish.id)?;
        let change = locked(&self.changes);
        let group = self.group()?;
        let size_bytes = group.rounded(wish.size_bytes);
        if let Some(shelf) = group.shelves.get(&wish.id) {
            if let Some((volume, pool)) = shelf.whole() {
                let wish = VolumeWish { size_bytes, ..wish.clone() };
                return error::same_volume(&wish, info(wish.id, volume, pool));
            }
            if shelf.unfinished().is_some_and(|host| host != self.host) {
                return Err(error::busy("volume", wish.id));
            }
            self.remove_unfinished(wish.id)?;
        }
        let Some((from, snapshot)) = source else {
            self.make_thin(wish.id, size_bytes, &tag_made(&self.host))?;
            return Ok(made(wish.id, size_bytes));
        };
        let _source = self.busy(from)?;
        let origin = self.origin(&group, from, snapshot, wish.size_bytes)?;
        drop(change);
        let cloned = self.clone_from(wish.id, size_bytes, &origin, progress);
        let _change = locked(&self.changes);
        if origin.claimed {
            let released = self.release(origin.id);
            if cloned.is_ok() {
                released?;
            }
        }
        if cloned.is_err() {
            // What cannot be removed now is swept at the next start.
            let _ = self.remove_unfinished(wish.id);
        }
        cloned.map(|()| made(wish.id, size_bytes))
    }

    fn make_thin(&self, id: VolumeId, size_bytes: u64, tag: &str) -> Result<()> {
        self.step("create volume: begun")?;
        let (name, pool, size) = (lv_name(id), pool_name(id), format!("{size_bytes}b"));
        let group = self.spec.volume_group.as_str();
        let mut args = vec!["lvcreate", "--yes", "--type", "thin", "--name", &name, "--thinpool", &pool];
        // Zero: a chunk that was another guest's is cleared before it is handed out.
        args.extend(["--size", &size, "--virtualsize", &size, "--zero", "y", "--poolmetadataspare", "n"]);
        args.extend(["--activate", "n", "--setactivationskip", "y", "--addtag", tag, group]);
        let created = self.lvm("make the volume", &args);
        if created.is_err() {
            let _ = self.remove_unfinished(id);
        }
        created?;
        self.step("create volume: made")
    }

    fn remove_unfinished(&self, id: VolumeId) -> Result<()> {
        let path = self.path_of(&pool_name(id));
        match self.lvm("remove what was half made", &["lvremove", "--yes", &path]) {
            Err(fault) if fault.code == FaultCode::VolumeMissing => Ok(()),
            other => other.map(drop),
        }
    }

    /// What to copy, held by this host. Callers hold `changes`.
    fn origin(&self, group: &Group, id: VolumeId, snapshot: &str, size_bytes: u64) -> Result<Origin> {
        let (shelf, volume, _) = find(group, id)?;
        let lv = match snapshot {
            "" if volume.is_open() => return Err(in_use(id)),
            "" => volume,
            name => shelf.snapshot(name).ok_or_else(|| super::snapshots::missing(id, name))?.1,
        };
        if size_bytes < lv.size_bytes {
            return Err(Fault::invalid(
                "size_bytes",
                format!("The source holds {} bytes; {size_bytes} bytes are too small.", lv.size_bytes),
                format!("Choose at least {} bytes.", lv.size_bytes),
            ));
        }
        let claimed = self.claim(id, shelf)?;
        Ok(Origin { id, lv: lv.name.clone(), size_bytes: lv.size_bytes, claimed })
    }

    /// Copies into a new volume. The lock on changes is held only while there are any.
    fn clone_from(
        &self,
        id: VolumeId,
        size_bytes: u64,
        origin: &Origin,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<()> {
        let name = lv_name(id);
        let (from, to, was_active) = {
            let _change = locked(&self.changes);
            self.make_thin(id, size_bytes, &tag_new(&self.host))?;
            let was_active = self.node(&origin.lv).exists();
            (self.activate(&origin.lv)?, self.activate(&name)?, was_active)
        };
        let open = |file: std::io::Result<File>| file.map_err(|e| io("copy", &e));
        let copied = open(File::open(from)).and_then(|from| {
            let to = open(OpenOptions::new().write(true).open(to))?;
            let total_bytes = origin.size_bytes;
            copy::copy(&from, &to, total_bytes, &mut |done_bytes| {
                progress(Progress { done_bytes, total_bytes });
                self.step("create volume: copying")
            })
        });
        let _change = locked(&self.changes);
        if !was_active {
            self.deactivate(&origin.lv)?;
        }
        self.deactivate(&name)?;
        copied?;
        self.step("create volume: copied")?;
        let (tag, path) = (tag_new(&self.host), self.path_of(&pool_name(id)));
        self.lvm("finish the volume", &["lvchange", "--deltag", &tag, &path])?;
        self.step("create volume: shown")
    }

    /// Sets aside what a volume and its snapshots can come to fill, so that no guest ever meets a full pool.
    pub(super) fn reserve(&self, group: &Group, id: VolumeId, pool: &Lv, bytes: u64) -> Result<()> {
        let (size, path) = (format!("{bytes}b"), self.path_of(&pool_name(id)));
        let maps = (bytes / DATA_PER_METADATA).clamp(METADATA_BYTES_MIN, METADATA_BYTES_MAX);
        let missing = group.rounded(maps).saturating_sub(pool.metadata_bytes);
        if pool.size_bytes < bytes {
            self.lvm("set space aside", &["lvextend", "--size", &size, &path])?;
        }
        if missing > 0 {
            let more = format!("+{missing}b");
            self.lvm("set space aside", &["lvextend", "--poolmetadatasize", &more, &path])?;
        }
        Ok(())
    }
}

fn made(id: VolumeId, size_bytes: u64) -> VolumeInfo {
    VolumeInfo {
        id,
        size_bytes,
        allocated_bytes: size_bytes,
        format: VolumeFormat::Raw,
        allocation: Allocation::Thick,
        parent: None,
        clones: 0,
    }
}

impl Grow for IscsiPool {
    fn volume_grow(&self, id: VolumeId, size_bytes: u64) -> Result<VolumeInfo> {
        check_size("size_bytes", size_bytes)?;
        let _busy = self.busy(id)?;
        let _change = locked(&self.changes);
        let group = self.group()?;
        let (shelf, volume, pool) = find(&group, id)?;
        let size_bytes = group.rounded(size_bytes);
        if size_bytes == volume.size_bytes {
            return Ok(info(id, volume, pool));
        }
        if size_bytes < volume.size_bytes {
            return Err(Fault::new(
                FaultCode::VolumeCannotShrink,
                format!("The volume {id} has {} bytes and cannot shrink to {size_bytes}.", volume.size_bytes),
                "Make a smaller volume and copy the guest's data there.",
            ));
        }
        self.step("grow volume: begun")?;
        let kept: u64 = shelf.snapshots.values().map(|lv| lv.size_bytes).sum();
        self.holding(id, shelf, || {
            self.reserve(&group, id, pool, size_bytes + kept)?;
            self.step("grow volume: space set aside")?;
            let size = format!("{size_bytes}b");
            self.lvm("grow the volume", &["lvextend", "--size", &size, &self.path_of(&volume.name)])?;
            Ok(VolumeInfo { allocated_bytes: pool.size_bytes.max(size_bytes + kept), ..made(id, size_bytes) })
        })
    }
}

impl Exclusive for IscsiPool {
    fn volume_detach(&self, id: VolumeId) -> Result<()> {
        let _busy = self.busy(id)?;
        let _change = locked(&self.changes);
        let group = self.group_when_closed(|group| group.is_open(id))?;
        let Some(shelf) = group.shelves.get(&id) else { return Ok(()) };
        let active: Vec<&Lv> = shelf.all().filter(|lv| lv.is_active()).collect();
        if active.iter().any(|lv| lv.is_open()) {
            return Err(in_use(id));
        }
        for lv in active {
            self.step("detach: deactivate")?;
            self.deactivate(&lv.name)?;
        }
        if shelf.host() != Some(self.host.as_str()) {
            return Ok(());
        }
        self.step("detach: give up")?;
        self.release(id)
    }
}
