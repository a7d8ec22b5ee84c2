//! Which files a volume reads, found out by us before QEMU may open any of them.
//!
//! ```text
//!   <id>.qcow2 ──▶ <id>.qcow2 ──▶ … ──▶ <id>.raw                 a volume linked to a volume
//!                                 └───▶ ../images/<id>.qcow2     a volume linked to an image, which stands alone
//! ```
//! A guest or another host may have written into a volume's file, so these names are hostile: only the two above are
//! taken, each is opened beneath the root by the kernel, and the format of each must be said by the file above it.

use crate::error::{self, Result, io};
use crate::local::qcow2::{self, Backing, Header};
use crate::local::root::{names, open_in, open_regular};
use crate::local::volumes::{self, is_regular};
use crate::local::{LocalPool, images, locked};
use quantix_model::id::{ImageId, VolumeId};
use quantix_model::image::ImageFormat;
use quantix_model::volume::VolumeFormat;
use quantix_model::{Fault, FaultCode};
use rustix::fs::{AtFlags, Mode, OFlags, Stat, statat};
use rustix::io::Errno;
use std::collections::HashMap;
use std::fs::File;
use std::os::fd::OwnedFd;

/// Files one volume may read in all: each more makes every read slower.
pub const DEPTH_MAX: usize = 16;

/// What a file reads where it has no data itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Base {
    /// A volume of the pool.
    Volume(VolumeId),
    /// An image of the pool.
    Image(ImageId),
}

/// What a volume's own file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// As the guest sees it; 0 when the file is damaged.
    pub size_bytes: u64,
    /// What it reads.
    pub base: Option<Base>,
    /// Snapshots inside.
    pub snapshot_count: u32,
    /// Why QEMU must not open it.
    pub refusal: Option<Refusal>,
}

/// See [`Facts::refusal`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is no sound qcow2 file.
    Damaged(&'static str),
    /// It reads something else than a volume or image of the pool.
    Reads(String),
}

/// Facts as they were when a file looked like this.
pub(super) type Known = HashMap<VolumeId, ((u64, i64, i64, i64), Facts)>;

fn version(stat: &Stat) -> (u64, i64, i64, i64) {
    let at = |seconds: i64, nanos: i64| seconds.wrapping_mul(1_000_000_000).wrapping_add(nanos);
    let modified = at(stat.st_mtime, stat.st_mtime_nsec as i64);
    (stat.st_ino, stat.st_size, modified, at(stat.st_ctime, stat.st_ctime_nsec as i64))
}

/// The volume or image a backing name stands for, when it is one of ours to the letter, with its format.
fn base(backing: &Backing) -> Option<Base> {
    let said = backing.format.as_deref()?;
    if let Some(name) = backing.name.strip_prefix("../images/") {
        let (id, format) = images::parse_name(name)?;
        return (format != ImageFormat::Iso && format.as_str() == said).then_some(Base::Image(id));
    }
    let (id, format) = volumes::parse_name(&backing.name)?;
    (format.as_str() == said).then_some(Base::Volume(id))
}

fn of_header(header: &Header) -> Facts {
    let (mut base_found, mut refusal) = (None, None);
    if let Some(backing) = &header.backing {
        base_found = base(backing);
        if base_found.is_none() {
            refusal = Some(Refusal::Reads(format!("the file {:?}", backing.name)));
        }
    }
    if header.external_data {
        refusal = Some(Refusal::Reads("an external data file".to_owned()));
    }
    if header.corrupt {
        refusal = refusal.or(Some(Refusal::Damaged("QEMU marked it as corrupt")));
    }
    Facts {
        size_bytes: header.virtual_size_bytes,
        base: base_found,
        snapshot_count: header.snapshot_count,
        refusal,
    }
}

/// The fault for a file that would make QEMU open another file that is none of ours.
pub fn reads_elsewhere(what: &str, reads: &str) -> Fault {
    Fault::new(
        FaultCode::ImageBackingFileRefused,
        format!("{what} reads {reads}, which is no volume or image of this pool."),
        "It was not opened. If that file is wanted, make the disk whole on a machine you trust: qemu-img convert.",
    )
}

fn damaged(id: VolumeId, why: &str) -> Fault {
    Fault::new(
        FaultCode::VolumeDamaged,
        format!("The file of the volume {id} is damaged."),
        "Restore it from a snapshot or backup; `qemu-img check` on the host says more.",
    )
    .because(why)
}

impl LocalPool {
    /// What a volume's file says; read again only when the file changed.
    pub(super) fn facts(
        &self,
        dir: &OwnedFd,
        id: VolumeId,
        format: VolumeFormat,
        stat: &Stat,
    ) -> Result<Facts> {
        if format == VolumeFormat::Raw {
            let size_bytes = u64::try_from(stat.st_size).unwrap_or(0);
            return Ok(Facts { size_bytes, base: None, snapshot_count: 0, refusal: None });
        }
        let now = version(stat);
        if let Some((then, facts)) = locked(&self.known).get(&id)
            && *then == now
        {
            return Ok(facts.clone());
        }
        let failed = |e: std::io::Error| io("read the volume's header", &e);
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let file =
            open_in(dir, &volumes::name(id, format), flags, Mode::empty()).map_err(|e| failed(e.into()))?;
        let facts = match qcow2::read(&File::from(file)).map_err(failed)? {
            Ok(header) => of_header(&header),
            Err(why) => {
                let refusal = Some(Refusal::Damaged(why));
                Facts { size_bytes: 0, base: None, snapshot_count: 0, refusal }
            }
        };
        locked(&self.known).insert(id, (now, facts.clone()));
        Ok(facts)
    }

    /// Every volume with what its file says.
    pub(super) fn all_facts(&self) -> Result<Vec<(VolumeId, VolumeFormat, Stat, Facts)>> {
        let dir = self.volumes_dir()?;
        let mut all = Vec::new();
        for file in names(&dir).map_err(|e| io("list volumes", &e))? {
            let Some((id, format)) = volumes::parse_name(&file) else { continue };
            match statat(&dir, file.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if is_regular(&stat) => match self.facts(&dir, id, format, &stat) {
                    Ok(facts) => all.push((id, format, stat, facts)),
                    // Deleted between the two looks.
                    Err(_) if statat(&dir, file.as_str(), AtFlags::SYMLINK_NOFOLLOW).is_err() => {}
                    Err(fault) => return Err(fault),
                },
                // Deleted meanwhile, or not a file of ours.
                Ok(_) | Err(Errno::NOENT) => {}
                Err(e) => return Err(io("list volumes", &e.into())),
            }
        }
        let mut known = locked(&self.known);
        if known.len() > 2 * all.len() + 16 {
            let there: std::collections::HashSet<_> = all.iter().map(|(id, ..)| *id).collect();
            known.retain(|id, _| there.contains(id));
        }
        drop(known);
        Ok(all)
    }

    /// Volumes that read this volume or image directly.
    pub(super) fn readers(&self, base: Base) -> Result<Vec<VolumeId>> {
        let all = self.all_facts()?;
        Ok(all.iter().filter(|(.., facts)| facts.base == Some(base)).map(|(id, ..)| *id).collect())
    }

    /// How many those are.
    pub(super) fn clones(&self, base: Base) -> Result<u32> {
        Ok(u32::try_from(self.readers(base)?.len()).unwrap_or(u32::MAX))
    }

    /// Refuses to change a volume that others read.
    pub(super) fn check_unread(&self, id: VolumeId) -> Result<()> {
        let readers = self.readers(Base::Volume(id))?;
        if readers.is_empty() { Ok(()) } else { Err(error::has_clones(id, &readers)) }
    }

    /// Follows what a volume reads down to the end, and refuses what QEMU must not open. Answers how many files it is.
    pub(super) fn check_chain(&self, id: VolumeId) -> Result<usize> {
        let dir = self.volumes_dir()?;
        let mut next = id;
        for depth in 1..=DEPTH_MAX {
            let Some((format, stat)) = self.find_volume(next)? else {
                if next == id {
                    return Err(error::volume_missing(id));
                }
                return Err(damaged(id, &format!("it reads the volume {next}, which is not in the pool")));
            };
            let facts = self.facts(&dir, next, format, &stat)?;
            match facts.refusal {
                Some(Refusal::Reads(reads)) => {
                    return Err(reads_elsewhere(&format!("The volume {next}"), &reads));
                }
                Some(Refusal::Damaged(why)) => {
                    return Err(self.in_qemus_words(&dir, next, why).in_phase("read the header"));
                }
                None => {}
            }
            match facts.base {
                None => return Ok(depth),
                Some(Base::Volume(base)) => next = base,
                Some(Base::Image(image)) => {
                    let there = self.find_image(image)?.ok_or_else(|| {
                        damaged(id, &format!("it reads the image {image}, which is not in the pool"))
                    })?;
                    self.check_stands_alone(&there)?;
                    return Ok(depth + 1);
                }
            }
        }
        Err(reads_elsewhere(&format!("The volume {id}"), &format!("more than {DEPTH_MAX} files in a row")))
    }

    /// A finished image that somebody changed behind our back is not opened either.
    pub(super) fn check_stands_alone(&self, image: &images::Image) -> Result<()> {
        if image.format != ImageFormat::Qcow2 {
            return Ok(());
        }
        let what = format!("The image {}", image.name);
        match qcow2::read(&image.file).map_err(|e| io("read the image's header", &e))? {
            Ok(Header { backing: Some(backing), .. }) => {
                Err(reads_elsewhere(&what, &format!("the file {:?}", backing.name)))
            }
            Ok(Header { external_data: true, .. }) => Err(reads_elsewhere(&what, "an external data file")),
            Ok(_) => Ok(()),
            Err(why) => Err(Fault::new(
                FaultCode::VolumeDamaged,
                format!("{what} is damaged."),
                "Delete it and upload it again.",
            )
            .because(why)),
        }
    }

    /// The fault for a damaged file. One that names no other file is safe to show to QEMU, which says more.
    fn in_qemus_words(&self, dir: &OwnedFd, id: VolumeId, why: &str) -> Fault {
        let file = volumes::name(id, VolumeFormat::Qcow2);
        let safe = open_regular(dir, &file).ok().flatten().is_some_and(|file| qcow2::names_no_file(&file));
        let said = if safe { self.qemu_check(dir, &file).err() } else { None };
        match said {
            Some(fault) if !fault.cause.is_empty() => damaged(id, &fault.cause),
            _ => damaged(id, why),
        }
    }
}
