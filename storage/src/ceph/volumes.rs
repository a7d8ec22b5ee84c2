//! Making, listing, growing and removing volumes.

use crate::backend::{Grow, Progress, VolumeInfo, VolumeWish};
use crate::ceph::command::Pace;
use crate::ceph::fault::{self, Refusal, errno};
use crate::ceph::{CephPool, exists, locked, names};
use crate::error::{self, Result};
use quantix_model::Fault;
use quantix_model::id::VolumeId;
use quantix_model::volume::{Allocation, VolumeFormat, VolumeSource, check_size};
use serde::Deserialize;
use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// Larger volumes are moved out of sight and removed in the background: `rbd rm` goes through all their objects.
const AT_ONCE_BYTES_MAX: u64 = 8 << 30;

#[derive(Deserialize)]
struct Listed {
    image: String,
    size: u64,
    #[serde(default)]
    snapshot: Option<String>,
    #[serde(default)]
    parent: Option<Parent>,
}

#[derive(Deserialize)]
pub(super) struct Parent {
    pool: String,
    /// Its name.
    pub image: String,
    #[serde(default)]
    pub snapshot: String,
}

#[derive(Deserialize)]
struct Usage {
    images: Vec<UsedBy>,
}

#[derive(Deserialize)]
struct UsedBy {
    name: String,
    #[serde(default)]
    used_size: u64,
}

/// What `rbd info` says of one image.
#[derive(Deserialize)]
pub(super) struct Image {
    /// As the guest sees it.
    pub size: u64,
    #[serde(default)]
    pub parent: Option<Parent>,
}

/// A linked clone of an image.
#[derive(Deserialize)]
pub(super) struct Child {
    image: String,
}

#[derive(Deserialize)]
struct Status {
    watchers: Vec<Watcher>,
}

#[derive(Deserialize)]
struct Watcher {
    address: String,
}

fn nonce() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_nanos())
}

fn blank(wish: &VolumeWish) -> VolumeInfo {
    VolumeInfo {
        id: wish.id,
        size_bytes: wish.size_bytes,
        allocated_bytes: if wish.allocation == Allocation::Thick { wish.size_bytes } else { 0 },
        format: VolumeFormat::Raw,
        allocation: wish.allocation,
        parent: None,
        clones: 0,
    }
}

/// A name that stays reserved until it was made whole and renamed, or given up.
struct Making<'a> {
    pool: &'a CephPool,
    image: String,
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        locked(&self.pool.shared.making).remove(&self.image);
        self.pool.sweep_soon();
    }
}

impl CephPool {
    pub(super) fn create_volume(
        &self,
        wish: &VolumeWish,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<VolumeInfo> {
        check_size("size_bytes", wish.size_bytes)?;
        if wish.format != VolumeFormat::Raw {
            return Err(Fault::invalid(
                "format",
                format!("A Ceph pool does not keep {} volumes.", wish.format.as_str()),
                "Choose raw: Ceph itself makes volumes thin, snapshots and clones.",
            ));
        }
        let _busy = self.busy(wish.id)?;
        let made = match &wish.source {
            VolumeSource::Blank if wish.allocation == Allocation::Thin => self.create_blank(wish),
            VolumeSource::Blank => self.create_thick(wish, progress),
            VolumeSource::Image { .. } => Err(error::cannot("keep images")),
            VolumeSource::Volume { id, snapshot, linked } => {
                self.create_clone(wish, *id, snapshot, *linked, progress)
            }
        }?;
        locked(&self.shared.known).insert(made.id, made.clone());
        Ok(made)
    }

    /// One call. What is there already is looked at; what nothing can open is cleared and made again.
    fn create_blank(&self, wish: &VolumeWish) -> Result<VolumeInfo> {
        let size = format!("{}B", wish.size_bytes);
        let image = self.cluster().image(&names::volume(wish.id));
        let create =
            || self.cluster().rbd("making an image", Pace::Change, &["create", "--size", &size, &image]);
        self.step("create: blank")?;
        match create()? {
            Ok(_) => Ok(blank(wish)),
            Err(refusal) if exists(&refusal) => match self.find_volume(wish.id)? {
                Some(there) => error::same_volume(wish, there),
                None => {
                    self.step("create: half-made")?;
                    let cleared = self.shared.clear(&names::volume(wish.id))?;
                    cleared.map_err(|refusal| self.volume_fault(wish.id, &refusal))?;
                    create()?.map_err(|refusal| self.cluster().fault(&refusal))?;
                    Ok(blank(wish))
                }
            },
            Err(refusal) => Err(self.cluster().fault(&refusal)),
        }
    }

    fn create_thick(&self, wish: &VolumeWish, progress: &mut dyn FnMut(Progress)) -> Result<VolumeInfo> {
        if let Some(there) = self.find_volume(wish.id)? {
            return error::same_volume(wish, there);
        }
        let making = self.making(wish.id);
        let (size, path) = (format!("{}B", wish.size_bytes), self.cluster().image(&making.image));
        self.step("create: thick")?;
        let args = ["create", "--size", &size, "--thick-provision", &path];
        let made =
            self.cluster().rbd_long("filling an image", &args, &mut in_bytes(wish.size_bytes, progress))?;
        made.map_err(|refusal| self.cluster().fault(&refusal))?;
        self.keep(making, wish.id)?;
        Ok(blank(wish))
    }

    fn create_clone(
        &self,
        wish: &VolumeWish,
        source: VolumeId,
        snapshot: &str,
        linked: bool,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<VolumeInfo> {
        if let Some(there) = self.find_volume(wish.id)? {
            return error::same_volume(wish, there);
        }
        let from = self.source(source, snapshot)?;
        if wish.size_bytes < from.size {
            return Err(Fault::invalid(
                "size_bytes",
                format!("The source has {} bytes; {} bytes are too small.", from.size, wish.size_bytes),
                format!("Choose at least {} bytes.", from.size),
            ));
        }
        let making = self.making(wish.id);
        let origin = self.cluster().image(&names::volume(source));
        // Without a snapshot of its own a source that may be written needs one for the moment.
        let base = names::base(wish.id);
        let own_base = snapshot.is_empty() && (linked || !self.watchers(source)?.is_empty());
        if own_base {
            self.step("clone: snapshot")?;
            self.make_snapshot(source, &base)?;
        }
        let snapshot = if own_base { base.as_str() } else { snapshot };
        let origin = if snapshot.is_empty() { origin } else { format!("{origin}@{snapshot}") };
        self.step("clone: copy")?;
        let copied = self.copy(&origin, &making, linked, from.size, progress);
        if own_base {
            self.step("clone: forget the snapshot")?;
            // Ceph keeps it out of sight as long as a linked clone needs it.
            self.remove_snapshot(source, &base)?;
        }
        copied.and_then(|copied| copied.map_err(|refusal| self.volume_fault(source, &refusal)))?;
        if wish.size_bytes > from.size {
            self.step("clone: grow")?;
            self.resize(&making.image, wish.size_bytes)?.map_err(|refusal| self.cluster().fault(&refusal))?;
        }
        self.keep(making, wish.id)?;
        let parent = linked.then_some(source);
        let measured = locked(&self.shared.known).get(&source).map_or(0, |known| known.allocated_bytes);
        let allocated_bytes = if linked { 0 } else { measured };
        Ok(VolumeInfo { parent, allocated_bytes, allocation: Allocation::Thin, ..blank(wish) })
    }

    fn copy(
        &self,
        origin: &str,
        making: &Making<'_>,
        linked: bool,
        size_bytes: u64,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<std::result::Result<(), Refusal>> {
        let target = self.cluster().image(&making.image);
        let copied = if linked {
            self.cluster().rbd("cloning an image", Pace::Change, &["clone", origin, &target])?
        } else {
            let tell = &mut in_bytes(size_bytes, progress);
            self.cluster().rbd_long("copying an image", &["cp", origin, &target], tell)?
        };
        Ok(copied.map(drop))
    }

    pub(super) fn source(&self, id: VolumeId, snapshot: &str) -> Result<Image> {
        let image = self.cluster().image(&names::volume(id));
        let image = if snapshot.is_empty() { image } else { format!("{image}@{snapshot}") };
        self.cluster().rbd_json::<Image>("finding the source", &["info", &image])?.map_err(|refusal| {
            if refusal.is_missing_snapshot() {
                fault::snapshot_missing(id, snapshot)
            } else {
                self.volume_fault(id, &refusal)
            }
        })
    }

    fn making(&self, id: VolumeId) -> Making<'_> {
        let image = names::new(id, nonce());
        locked(&self.shared.making).insert(image.clone());
        Making { pool: self, image }
    }

    /// Gives what was made its visible name.
    fn keep(&self, making: Making<'_>, id: VolumeId) -> Result<()> {
        self.step("create: rename")?;
        self.rename(&making.image, &names::volume(id))?.map_err(|refusal| {
            if exists(&refusal) { error::busy("volume", id) } else { self.cluster().fault(&refusal) }
        })
    }

    fn rename(&self, from: &str, to: &str) -> Result<std::result::Result<(), Refusal>> {
        let (from, to) = (self.cluster().image(from), self.cluster().image(to));
        Ok(self.cluster().rbd("renaming an image", Pace::Change, &["rename", &from, &to])?.map(drop))
    }

    fn resize(&self, image: &str, size_bytes: u64) -> Result<std::result::Result<(), Refusal>> {
        let (size, image) = (format!("{size_bytes}B"), self.cluster().image(image));
        let args = ["resize", "--no-progress", "--size", &size, &image];
        Ok(self.cluster().rbd("growing an image", Pace::Change, &args)?.map(drop))
    }

    /// The volume as it is now, if it is there and can be opened; its clones are not counted.
    pub(super) fn find_volume(&self, id: VolumeId) -> Result<Option<VolumeInfo>> {
        let image = self.cluster().image(&names::volume(id));
        match self.cluster().rbd_json::<Image>("finding an image", &["info", &image])? {
            Ok(image) => {
                let known = locked(&self.shared.known).get(&id).cloned();
                let (allocated_bytes, clones) =
                    known.as_ref().map_or((0, 0), |k| (k.allocated_bytes, k.clones));
                Ok(Some(VolumeInfo {
                    id,
                    size_bytes: image.size,
                    allocated_bytes,
                    format: VolumeFormat::Raw,
                    allocation: known.map(|k| k.allocation).unwrap_or_default(),
                    parent: self.parent(image.parent.as_ref()),
                    clones,
                }))
            }
            Err(refusal) if refusal.is_missing_image() => Ok(None),
            Err(refusal) => Err(self.cluster().fault(&refusal)),
        }
    }

    pub(super) fn parent(&self, parent: Option<&Parent>) -> Option<VolumeId> {
        parent
            .filter(|parent| parent.pool == self.spec.pool)
            .and_then(|parent| names::volume_of(&parent.image))
    }

    /// The fault of a refusal about one volume.
    pub(super) fn volume_fault(&self, id: VolumeId, refusal: &Refusal) -> Fault {
        if refusal.is_missing_image() {
            return error::volume_missing(id);
        }
        if refusal.errno == errno::BUSY && refusal.said.contains("watchers") {
            return fault::in_use(id, "somebody watches it").because(&refusal.said).in_phase(refusal.step);
        }
        self.cluster().fault(refusal)
    }

    pub(super) fn list_volumes(&self) -> Result<Vec<VolumeInfo>> {
        let cluster = self.cluster();
        let pool = self.spec.pool.as_str();
        let (listed, used) = std::thread::scope(|scope| {
            let using = scope.spawn(|| cluster.rbd_json::<Usage>("measuring images", &["du", "-p", pool]));
            let listed = self.listed();
            (listed, using.join().unwrap_or_else(|_| Err(Fault::internal("a thread panicked"))))
        });
        let listed = listed?;
        let mut used_bytes: HashMap<String, u64> = HashMap::new();
        // An image that vanishes meanwhile spoils the whole measurement; sizes are then those of the last one.
        if let Ok(usage) = used? {
            for by in usage.images {
                *used_bytes.entry(by.name).or_default() += by.used_size;
            }
        }
        let volumes = self.volumes_of(&listed, &used_bytes);
        *locked(&self.shared.known) = volumes.iter().map(|volume| (volume.id, volume.clone())).collect();
        Ok(volumes)
    }

    /// `rbd ls -l` gives up on all when one image vanishes meanwhile, or cannot be opened: then each is asked for alone.
    fn listed(&self) -> Result<Vec<Listed>> {
        let pool = self.spec.pool.as_str();
        match self.cluster().rbd_json::<Vec<Listed>>("listing images", &["ls", "-l", pool])? {
            Ok(listed) => return Ok(listed),
            Err(refusal) if refusal.said.contains("error opening ") && refusal.is_missing_image() => {}
            Err(refusal) => return Err(self.cluster().fault(&refusal)),
        }
        let names = self.cluster().rbd_json::<Vec<String>>("listing images", &["ls", pool])?;
        let names = names.map_err(|refusal| self.cluster().fault(&refusal))?;
        let mut listed = Vec::new();
        for image in names.into_iter().filter(|name| names::volume_of(name).is_some()) {
            match self
                .cluster()
                .rbd_json::<Image>("finding an image", &["info", &self.cluster().image(&image)])?
            {
                Ok(found) => {
                    listed.push(Listed { image, size: found.size, snapshot: None, parent: found.parent });
                }
                Err(refusal) if refusal.is_missing_image() => {}
                Err(refusal) => return Err(self.cluster().fault(&refusal)),
            }
        }
        Ok(listed)
    }

    fn volumes_of(&self, listed: &[Listed], used_bytes: &HashMap<String, u64>) -> Vec<VolumeInfo> {
        let known = locked(&self.shared.known);
        let mut clones: HashMap<VolumeId, u32> = HashMap::new();
        for parent in
            listed.iter().filter(|l| l.snapshot.is_none()).filter_map(|l| self.parent(l.parent.as_ref()))
        {
            *clones.entry(parent).or_default() += 1;
        }
        let volume = |listed: &Listed| {
            let id = names::volume_of(&listed.image)?;
            let before = known.get(&id);
            let measured = used_bytes.get(&listed.image).copied();
            let allocated_bytes = measured.or(before.map(|b| b.allocated_bytes)).unwrap_or(0);
            // Ceph does not remember how an image was made; a full one is as good as a thick one.
            let allocation =
                if allocated_bytes >= listed.size { Allocation::Thick } else { Allocation::Thin };
            let parent = self.parent(listed.parent.as_ref());
            let clones = clones.get(&id).copied().unwrap_or(0);
            let format = VolumeFormat::Raw;
            Some(VolumeInfo {
                id,
                size_bytes: listed.size,
                allocated_bytes,
                format,
                allocation,
                parent,
                clones,
            })
        };
        listed.iter().filter(|listed| listed.snapshot.is_none()).filter_map(volume).collect()
    }

    pub(super) fn delete_volume(&self, id: VolumeId) -> Result<bool> {
        let _busy = self.busy(id)?;
        let known = locked(&self.shared.known).remove(&id);
        let image = self.cluster().image(&names::volume(id));
        self.step("delete: begin")?;
        if known.is_some_and(|known| known.size_bytes <= AT_ONCE_BYTES_MAX) {
            let args = ["rm", "--no-progress", &image];
            match self.cluster().rbd("removing an image", Pace::Change, &args)? {
                Ok(_) => return Ok(true),
                Err(refusal) if refusal.is_missing_image() => return Ok(false),
                Err(refusal) if refusal.errno == errno::NOTEMPTY => {}
                Err(refusal) => return Err(self.volume_fault(id, &refusal)),
            }
        }
        let clones = match self.children(&image)? {
            Ok(clones) => clones,
            Err(refusal) if refusal.is_missing_image() => return self.clear_half_made(id),
            Err(refusal) => return Err(self.cluster().fault(&refusal)),
        };
        if !clones.is_empty() {
            return Err(fault::has_clones(&format!("The volume {id}"), &clones));
        }
        self.refuse_in_use(id)?;
        self.step("delete: out of sight")?;
        let gone = names::gone(id, nonce());
        self.rename(&names::volume(id), &gone)?.map_err(|refusal| self.volume_fault(id, &refusal))?;
        self.sweep_soon();
        Ok(true)
    }

    /// Nothing to open; but a creation that was killed may have left an entry.
    fn clear_half_made(&self, id: VolumeId) -> Result<bool> {
        let image = names::volume(id);
        let listed = self.cluster().rbd_json::<Vec<String>>("listing images", &["ls", &self.spec.pool])?;
        let listed = listed.map_err(|refusal| self.cluster().fault(&refusal))?;
        if listed.contains(&image) {
            self.shared.clear(&image)?.map_err(|refusal| self.volume_fault(id, &refusal))?;
        }
        Ok(false)
    }

    /// The linked clones of an image, or of one snapshot of it, by volume where they are ours; also those in Ceph's trash.
    pub(super) fn children(&self, image: &str) -> Result<std::result::Result<Vec<String>, Refusal>> {
        let args = ["children", "--all", image];
        let children = self.cluster().rbd_json::<Vec<Child>>("looking for linked clones", &args)?;
        let name = |child: Child| names::volume_of(&child.image).map_or(child.image, |id| id.to_string());
        Ok(children.map(|children| children.into_iter().map(name).collect()))
    }

    fn watchers(&self, id: VolumeId) -> Result<Vec<String>> {
        let image = self.cluster().image(&names::volume(id));
        let status = self.cluster().rbd_json::<Status>("asking who has it open", &["status", &image])?;
        let status = status.map_err(|refusal| self.volume_fault(id, &refusal))?;
        Ok(status.watchers.into_iter().map(|watcher| watcher.address).collect())
    }

    /// Refuses when anybody in the whole cluster has the volume open.
    pub(super) fn refuse_in_use(&self, id: VolumeId) -> Result<()> {
        let watchers = self.watchers(id)?;
        if watchers.is_empty() {
            Ok(())
        } else {
            Err(fault::in_use(id, &format!("by {}", watchers.join(", "))))
        }
    }
}

/// Turns parts of a hundred into bytes.
pub(super) fn in_bytes(total_bytes: u64, progress: &mut dyn FnMut(Progress)) -> impl FnMut(u64) {
    move |hundredths| {
        progress(Progress { done_bytes: total_bytes / 100 * hundredths.min(100), total_bytes });
    }
}

impl Grow for CephPool {
    fn volume_grow(&self, id: VolumeId, size_bytes: u64) -> Result<VolumeInfo> {
        check_size("size_bytes", size_bytes)?;
        let _busy = self.busy(id)?;
        self.step("grow")?;
        match self.resize(&names::volume(id), size_bytes)? {
            Ok(()) => {}
            Err(refusal) if refusal.said.contains("equal to original") => {}
            Err(refusal) if refusal.said.contains("shrink") => {
                return Err(Fault::new(
                    quantix_model::FaultCode::VolumeCannotShrink,
                    format!("The volume {id} is larger than {size_bytes} bytes, and volumes only grow."),
                    "Make a new smaller volume and copy the data inside a VM.",
                )
                .because(refusal.said));
            }
            Err(refusal) => return Err(self.volume_fault(id, &refusal)),
        }
        let known = locked(&self.shared.known).get(&id).cloned();
        if let Some(mut known) = known {
            if known.allocation == Allocation::Thick && known.size_bytes < size_bytes {
                self.step("grow: fill")?;
                let filled = self.cluster().fill(
                    "filling an image",
                    &names::volume(id),
                    known.size_bytes,
                    size_bytes,
                )?;
                filled.map_err(|refusal| self.volume_fault(id, &refusal))?;
                known.allocated_bytes = size_bytes;
            }
            known.size_bytes = size_bytes;
            locked(&self.shared.known).insert(id, known.clone());
            return Ok(known);
        }
        self.find_volume(id)?.ok_or_else(|| error::volume_missing(id))
    }
}
