//! Making a linked clone independent: all it shows is copied into a new file under its temporary name, which then takes
//! the old one's place in one step. Until then the old file is untouched, so a crash leaves it linked.

use crate::backend::{Flatten, Progress, VolumeInfo, VolumeWish};
use crate::error::{self, Result, io};
use crate::local::chain::Facts;
use crate::local::qemu::Source;
use crate::local::root::{open_in, remove};
use crate::local::volumes::{name, take_alone, temporary_name};
use crate::local::{LocalPool, locked};
use quantix_model::id::VolumeId;
use quantix_model::volume::{Allocation, VolumeFormat, VolumeSource};
use quantix_model::{Fault, FaultCode};
use rustix::fs::{Mode, OFlags, fsync, renameat};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

impl Flatten for LocalPool {
    fn volume_flatten(&self, id: VolumeId, progress: &mut dyn FnMut(Progress)) -> Result<VolumeInfo> {
        let _busy = self.busy("volume", id.0)?;
        let (format, stat) = self.find_volume(id)?.ok_or_else(|| error::volume_missing(id))?;
        self.check_chain(id)?;
        let dir = self.volumes_dir()?;
        let facts = self.facts(&dir, id, format, &stat)?;
        if facts.base.is_some() {
            refuse_snapshots(id, &facts)?;
            let tmp = temporary_name(id, format);
            let made = self.flatten(id, (format, facts.size_bytes), &dir, &tmp, progress);
            if made.is_err() {
                // What cannot be removed now is swept at the next start.
                let _ = remove(&dir, &tmp);
            }
            locked(&self.known).remove(&id);
            made?;
        }
        self.volume_info(id)?.ok_or_else(|| error::volume_missing(id))
    }
}

/// A snapshot inside the file reads the other one, too, and a copy would leave it behind.
fn refuse_snapshots(id: VolumeId, facts: &Facts) -> Result<()> {
    if facts.snapshot_count == 0 {
        return Ok(());
    }
    let count = facts.snapshot_count;
    let snapshots = if count == 1 { "a snapshot that shares" } else { "snapshots that share" };
    Err(Fault::new(
        FaultCode::Conflict,
        format!("The volume {id} has {snapshots} what it is linked to ({count} in all)."),
        "Delete its snapshots first, or make a full clone of it: that needs nothing else.",
    ))
}

impl LocalPool {
    fn flatten(
        &self,
        id: VolumeId,
        (format, size_bytes): (VolumeFormat, u64),
        dir: &OwnedFd,
        tmp: &str,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<()> {
        let file_name = name(id, format);
        // Only asked: qemu-img takes locks of its own, against whoever writes the file meanwhile.
        take_alone(&self.open_volume(id, format)?)?;
        self.step("flatten volume: begun")?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC;
        let fd = open_in(dir, tmp, flags, Mode::from_raw_mode(0o600));
        let file = Arc::new(File::from(fd.map_err(|e| io("flatten volume", &e.into()))?));
        self.step("flatten volume: file made")?;
        let wish =
            VolumeWish { id, size_bytes, format, allocation: Allocation::Thin, source: VolumeSource::Blank };
        let source = (Source::Named(&file_name, None), format);
        self.convert(&wish, source, size_bytes, dir, tmp, &file, progress)?;
        self.step("flatten volume: copied")?;
        file.sync_all().map_err(|e| io("sync volume", &e))?;
        self.step("flatten volume: synced")?;
        // Who opened it meanwhile would go on with the old file, and what it writes would be lost.
        let old = self.open_volume(id, format)?;
        take_alone(&old)?;
        renameat(dir, tmp, dir, &file_name).map_err(|e| io("rename volume", &e.into()))?;
        drop(old);
        self.step("flatten volume: renamed")?;
        fsync(dir).map_err(|e| io("sync volumes", &e.into()))
    }
}
