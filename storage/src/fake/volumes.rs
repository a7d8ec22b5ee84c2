//! Volumes in memory: what is known of them, without their bytes.

use super::{FakeBackend, MOUNT_PATH, Reach, Shelf};
use crate::backend::{
    Abilities, Attachment, Backend, Exclusive, Explore, Flatten, Grow, LettingGo, PoolInfo, Progress,
    SnapshotInfo, Snapshots, VolumeInfo, VolumeWish,
};
use crate::error::{self, Result};
use crate::explore::Found;
use quantix_model::id::{ImageId, VolumeId};
use quantix_model::pool::Capacity;
use quantix_model::volume::{Allocation, VolumeFormat, VolumeSource, check_size, check_snapshot_name};
use quantix_model::{Fault, FaultCode};
use std::time::{SystemTime, UNIX_EPOCH};

/// A volume; how many need it is counted when somebody asks.
pub(super) struct Volume {
    pub(super) info: VolumeInfo,
    /// The image it is linked to.
    pub(super) image: Option<ImageId>,
    snapshots: Vec<SnapshotInfo>,
}

impl Shelf {
    /// Volumes linked to this one.
    fn readers(&self, id: VolumeId) -> Vec<VolumeId> {
        self.volumes.values().filter(|v| v.info.parent == Some(id)).map(|v| v.info.id).collect()
    }

    fn clones(&self, id: VolumeId) -> u32 {
        u32::try_from(self.readers(id).len()).unwrap_or(u32::MAX)
    }

    fn info(&self, id: VolumeId) -> Option<VolumeInfo> {
        let volume = self.volumes.get(&id)?;
        Some(VolumeInfo { clones: self.clones(id), ..volume.info.clone() })
    }

    /// A volume that may be written.
    fn writable(&mut self, id: VolumeId) -> Result<&mut Volume> {
        let readers = self.readers(id);
        let volume = self.volumes.get_mut(&id).ok_or_else(|| error::volume_missing(id))?;
        if readers.is_empty() { Ok(volume) } else { Err(error::has_clones(id, &readers)) }
    }

    /// The bytes a new volume takes, the volume and the image it is linked to.
    fn source(&self, wish: &VolumeWish) -> Result<(u64, Option<VolumeId>, Option<ImageId>)> {
        match &wish.source {
            VolumeSource::Blank => Ok((0, None, None)),
            VolumeSource::Image { id, linked } => {
                let (bytes, facts) = self.images.get(id).ok_or_else(|| error::image_not_there(*id))?;
                error::check_image_fits(wish, facts.format, facts.virtual_size_bytes)?;
                Ok(if *linked { (0, None, Some(*id)) } else { (bytes.len() as u64, None, None) })
            }
            VolumeSource::Volume { id, .. } if *id == wish.id => Err(error::busy("volume", id)),
            VolumeSource::Volume { id, snapshot, linked } => {
                let volume = self.volumes.get(id).ok_or_else(|| error::volume_missing(*id))?;
                let mut size_bytes = volume.info.size_bytes;
                if !snapshot.is_empty() {
                    let found = volume.snapshots.iter().find(|s| s.name == *snapshot);
                    size_bytes = found.ok_or_else(|| error::snapshot_missing(*id, snapshot))?.size_bytes;
                }
                error::check_source_fits(wish, *id, size_bytes)?;
                Ok(if *linked { (0, Some(*id), None) } else { (volume.info.allocated_bytes, None, None) })
            }
        }
    }
}

fn check_possible(wish: &VolumeWish) -> Result<()> {
    let (linked, of_snapshot) = match &wish.source {
        VolumeSource::Blank => (false, false),
        VolumeSource::Image { linked, .. } => (*linked, false),
        VolumeSource::Volume { linked, snapshot, .. } => (*linked, *linked && !snapshot.is_empty()),
    };
    if of_snapshot {
        return Err(error::cannot("link a volume to a snapshot"));
    }
    if linked && (wish.format != VolumeFormat::Qcow2 || wish.allocation == Allocation::Thick) {
        return Err(error::cannot("link a raw or thick volume to another"));
    }
    Ok(())
}

impl Backend for FakeBackend {
    fn init(&mut self) -> Result<()> {
        let mut shelf = self.shelf()?;
        shelf.made |= self.leave;
        if !shelf.made {
            return Err(Fault::new(
                FaultCode::PoolDeviceMissing,
                "Nobody made this pool yet.",
                "One host makes it for all; wait for it.",
            ));
        }
        Ok(())
    }

    fn destroy(&self, how: LettingGo) -> Result<()> {
        self.shelf()?.let_go.push(how);
        Ok(())
    }

    fn info(&self) -> Result<PoolInfo> {
        let shelf = self.shelf()?;
        let used_bytes = shelf.used_bytes().min(shelf.total_bytes);
        Ok(PoolInfo {
            capacity: Capacity {
                total_bytes: shelf.total_bytes,
                used_bytes,
                available_bytes: shelf.total_bytes - used_bytes,
            },
            capabilities: shelf.capabilities.clone(),
            mount_path: MOUNT_PATH.to_owned(),
            volume_count: u32::try_from(shelf.volumes.len()).unwrap_or(u32::MAX),
            probe: "looked into memory".to_owned(),
            fault: None,
            facts: Vec::new(),
        })
    }

    fn volume_create(&self, wish: &VolumeWish, progress: &mut dyn FnMut(Progress)) -> Result<VolumeInfo> {
        check_size("size_bytes", wish.size_bytes)?;
        check_possible(wish)?;
        let mut shelf = self.shelf()?;
        if let Some(there) = shelf.info(wish.id) {
            return error::same_volume(wish, there);
        }
        let (copied_bytes, parent, image) = shelf.source(wish)?;
        progress(Progress { done_bytes: copied_bytes, total_bytes: copied_bytes });
        let allocated_bytes = match wish.allocation {
            Allocation::Thin => copied_bytes,
            Allocation::Thick => wish.size_bytes,
        };
        shelf.room_for(allocated_bytes)?;
        let info = VolumeInfo {
            id: wish.id,
            size_bytes: wish.size_bytes,
            allocated_bytes,
            format: wish.format,
            allocation: wish.allocation,
            parent,
            clones: 0,
        };
        shelf.volumes.insert(wish.id, Volume { info: info.clone(), image, snapshots: Vec::new() });
        Ok(info)
    }

    fn volume_delete(&self, id: VolumeId) -> Result<bool> {
        let mut shelf = self.shelf()?;
        let readers = shelf.readers(id);
        if !readers.is_empty() {
            return Err(error::has_clones(id, &readers));
        }
        shelf.held.remove(&id);
        Ok(shelf.volumes.remove(&id).is_some())
    }

    fn volume_list(&self) -> Result<Vec<VolumeInfo>> {
        let shelf = self.shelf()?;
        Ok(shelf.volumes.keys().filter_map(|id| shelf.info(*id)).collect())
    }

    fn volume_attach(&self, id: VolumeId) -> Result<Attachment> {
        let mut shelf = self.shelf()?;
        let format = shelf.writable(id)?.info.format;
        shelf.held.insert(id);
        Ok(match &shelf.reach {
            Reach::Files => {
                let path = format!("{MOUNT_PATH}/volumes/{id}.{}", format.as_str());
                Attachment::File { path, format }
            }
            Reach::Blocks => Attachment::Block { path: format!("/dev/fake/{id}") },
            Reach::Rbd(Attachment::Rbd { monitors, pool, user, secret_uuid, .. }) => Attachment::Rbd {
                monitors: monitors.clone(),
                pool: pool.clone(),
                image: id.to_string(),
                user: user.clone(),
                secret_uuid: *secret_uuid,
            },
            Reach::Rbd(other) => other.clone(),
        })
    }

    fn abilities(&self) -> Abilities<'_> {
        Abilities {
            files: Some(self),
            file_access: Some(self),
            images: Some(self),
            grow: Some(self),
            flatten: Some(self),
            snapshots: Some(self),
            exclusive: Some(self),
            refresh: None,
            explore: Some(self),
        }
    }
}

impl Exclusive for FakeBackend {
    fn volume_detach(&self, id: VolumeId) -> Result<()> {
        self.shelf()?.held.remove(&id);
        Ok(())
    }
}

impl Grow for FakeBackend {
    fn volume_grow(&self, id: VolumeId, size_bytes: u64) -> Result<VolumeInfo> {
        check_size("size_bytes", size_bytes)?;
        let mut shelf = self.shelf()?;
        let before = shelf.writable(id)?.info.clone();
        if size_bytes < before.size_bytes {
            return Err(error::cannot_shrink(id, before.size_bytes, size_bytes));
        }
        if before.allocation == Allocation::Thick {
            shelf.room_for(size_bytes - before.size_bytes)?;
        }
        let volume = shelf.writable(id)?;
        volume.info.size_bytes = size_bytes;
        if before.allocation == Allocation::Thick {
            volume.info.allocated_bytes = size_bytes;
        }
        Ok(volume.info.clone())
    }
}

impl Explore for FakeBackend {
    fn explore(&self) -> Result<Found> {
        let nothing = || {
            Fault::new(FaultCode::PoolServerUnreachable, "Nobody is there.", "Tell the fake what it finds.")
        };
        self.shelf()?.found.clone().ok_or_else(nothing)
    }
}

impl Flatten for FakeBackend {
    fn volume_flatten(&self, id: VolumeId, progress: &mut dyn FnMut(Progress)) -> Result<VolumeInfo> {
        let mut shelf = self.shelf()?;
        let volume = shelf.volumes.get_mut(&id).ok_or_else(|| error::volume_missing(id))?;
        let total_bytes = volume.info.size_bytes;
        progress(Progress { done_bytes: total_bytes, total_bytes });
        volume.info.parent = None;
        volume.image = None;
        shelf.info(id).ok_or_else(|| error::volume_missing(id))
    }
}

impl Snapshots for FakeBackend {
    fn snapshot_create(&self, id: VolumeId, name: &str) -> Result<SnapshotInfo> {
        check_snapshot_name("name", name)?;
        let mut shelf = self.shelf()?;
        let volume = shelf.writable(id)?;
        if let Some(there) = volume.snapshots.iter().find(|s| s.name == name) {
            return Ok(there.clone());
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let made = SnapshotInfo {
            name: name.to_owned(),
            created_at_ms: i64::try_from(now.as_millis()).unwrap_or(i64::MAX),
            size_bytes: volume.info.size_bytes,
            clones: 0,
        };
        volume.snapshots.push(made.clone());
        Ok(made)
    }

    fn snapshot_list(&self, id: VolumeId) -> Result<Vec<SnapshotInfo>> {
        let shelf = self.shelf()?;
        shelf.volumes.get(&id).map(|v| v.snapshots.clone()).ok_or_else(|| error::volume_missing(id))
    }

    fn snapshot_revert(&self, id: VolumeId, name: &str) -> Result<()> {
        check_snapshot_name("name", name)?;
        let mut shelf = self.shelf()?;
        let found = shelf.writable(id)?.snapshots.iter().any(|s| s.name == name);
        if found { Ok(()) } else { Err(error::snapshot_missing(id, name)) }
    }

    fn snapshot_delete(&self, id: VolumeId, name: &str) -> Result<bool> {
        check_snapshot_name("name", name)?;
        let mut shelf = self.shelf()?;
        if !shelf.volumes.contains_key(&id) {
            return Ok(false);
        }
        let volume = shelf.writable(id)?;
        let before = volume.snapshots.len();
        volume.snapshots.retain(|s| s.name != name);
        Ok(volume.snapshots.len() < before)
    }
}
