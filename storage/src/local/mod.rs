//! A pool that is a folder on this host.
//!
//! ```text
//!   <root>/.quantix-pool                    which pool this is
//!         /volumes/<id>.qcow2|raw           disks;   .<id>.<format>.tmp while being made
//!         /volumes/<id>.<name>.snap         snapshots of raw disks
//!         /images/<id>.iso|qcow2|raw        library; .<id>.part while being uploaded
//!         /images/.<uuid>.copy.tmp          a file being copied
//!         /…                                what people put there
//! ```
//! A thing has its visible name only when it is whole: it is made under a temporary name, synced, renamed, and the
//! folder is synced. What a crash leaves under temporary names is swept at the next start; uploads stay, they resume.
//!
//! Whoever may write into the pool may also put links there, so every path is opened beneath the root by the kernel.

mod access;
mod chain;
mod copy;
mod files;
mod flatten;
mod images;
mod make;
pub(crate) mod paths;
mod qcow2;
mod qemu;
mod remove;
mod root;
mod snapshots;
pub mod sniff;
mod volumes;

use crate::backend::{
    Abilities, Attachment, Backend, LettingGo, PoolInfo, PoolSetup, Progress, VolumeInfo, VolumeWish,
};
use crate::error::{self, Result, io};
use images::Upload;
use quantix_host::program::{BlockingRunner, SystemRunner};
use quantix_model::id::{ImageId, PoolId, VolumeId};
use quantix_model::pool::{Capabilities, Capacity, PoolSpec};
use quantix_model::volume::VolumeFormat;
use quantix_model::{Fault, FaultCode};
use root::Root;
use rustix::fs::{
    AtFlags, FallocateFlags, Mode, OFlags, fallocate, fstatfs, fstatvfs, ioctl_ficlone, mkdirat, statat,
    unlinkat,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use uuid::Uuid;

const MARKER: &str = ".quantix-pool";
const MARKER_TMP: &str = ".quantix-pool.tmp";
const PROBE: &str = ".quantix-probe";
const PROBE_CLONE: &str = ".quantix-probe-clone";
/// How long nobody may have written to a temporary file that could be another host's, until it counts as left behind.
/// Longer than clocks differ.
const SHARED_SWEEP_AGE_S: i64 = 24 * 3600;
/// A marker is a line of JSON; more is not ours.
const MARKER_BYTES_MAX: u64 = 4096;

/// Called with the name of each step before it is taken. An error ends the work there; tests break every step with it.
pub type Steps = Arc<dyn Fn(&'static str) -> Result<()> + Send + Sync>;

/// See the module.
pub struct LocalPool {
    id: PoolId,
    path: String,
    must_exist: bool,
    /// Tells our probes from other hosts' ones, in a folder that several hosts use; `None` when it is ours alone.
    shared_as: Option<String>,
    root: Option<Root>,
    reflink: bool,
    runner: Arc<dyn BlockingRunner>,
    steps: Steps,
    thick: bool,
    /// What volumes' headers say, while their files do not change.
    known: Mutex<chain::Known>,
    uploads: Mutex<HashMap<ImageId, Upload>>,
    /// The folder last listed, for the next page of it.
    listing: Mutex<Option<(files::Whose, files::Listing)>>,
    busy: Mutex<HashSet<Uuid>>,
}

#[derive(Serialize, Deserialize)]
struct Marker {
    pool_id: PoolId,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps others from changing the same thing meanwhile.
struct BusyGuard<'a>(&'a Mutex<HashSet<Uuid>>, Uuid);

impl Drop for BusyGuard<'_> {
    fn drop(&mut self) {
        locked(self.0).remove(&self.1);
    }
}

impl LocalPool {
    /// The pool of a setup, on the real machine.
    pub fn new(setup: &PoolSetup) -> Result<LocalPool> {
        LocalPool::with(setup, Arc::new(SystemRunner), Arc::new(|_| Ok(())))
    }

    /// The same with another way to run programs and a hook on every step; for tests.
    pub fn with(setup: &PoolSetup, runner: Arc<dyn BlockingRunner>, steps: Steps) -> Result<LocalPool> {
        let PoolSpec::Local { path, .. } = &setup.spec else {
            return Err(Fault::internal("a local pool was asked for with another backend's spec"));
        };
        Ok(LocalPool {
            id: setup.id,
            path: path.clone(),
            must_exist: setup.must_exist,
            shared_as: None,
            root: None,
            reflink: false,
            runner,
            steps,
            thick: false,
            known: Mutex::default(),
            uploads: Mutex::default(),
            listing: Mutex::default(),
            busy: Mutex::default(),
        })
    }

    /// Other hosts use the folder too: temporary files may be theirs and are swept only when they are old, and the
    /// write probe is left to the caller. `host` is a word that only this process uses for its own probes.
    pub fn shared_as(mut self, host: &str) -> LocalPool {
        self.shared_as = Some(host.to_owned());
        self
    }

    fn probe_names(&self) -> [String; 2] {
        [PROBE, PROBE_CLONE].map(|name| match &self.shared_as {
            Some(host) => format!("{name}-{host}"),
            None => name.to_owned(),
        })
    }

    fn root(&self) -> Result<&Root> {
        self.root.as_ref().ok_or_else(|| Fault::internal("the pool was not initialised"))
    }

    fn step(&self, name: &'static str) -> Result<()> {
        (self.steps)(name)
    }

    fn busy(&self, kind: &str, id: Uuid) -> Result<BusyGuard<'_>> {
        if locked(&self.busy).insert(id) { Ok(BusyGuard(&self.busy, id)) } else { Err(error::busy(kind, id)) }
    }

    fn volumes_dir(&self) -> Result<OwnedFd> {
        self.root()?.folder("volumes")
    }

    fn images_dir(&self) -> Result<OwnedFd> {
        self.root()?.folder("images")
    }

    /// Refuses a folder of another pool; marks one of nobody.
    fn claim(&self, root: &Root) -> Result<()> {
        match root.open(MARKER, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()) {
            Ok(fd) => {
                let mut text = String::new();
                let read = File::from(fd).take(MARKER_BYTES_MAX).read_to_string(&mut text);
                read.map_err(|e| io("read the pool's marker", &e))?;
                match serde_json::from_str::<Marker>(&text) {
                    Ok(marker) if marker.pool_id == self.id => Ok(()),
                    Ok(marker) => Err(path_invalid(
                        format!("The folder {} belongs to the pool {}.", self.path, marker.pool_id),
                        "Choose another folder.",
                    )),
                    Err(e) => Err(path_invalid(
                        format!("The folder {} has a marker nobody can read.", self.path),
                        "Look at the file .quantix-pool in it; remove it if no pool needs the folder.",
                    )
                    .because(e)),
                }
            }
            Err(Errno::NOENT) if self.must_exist => Err(path_invalid(
                format!("The folder {} does not hold the pool any more.", self.path),
                "Mount the disk that holds it; if its contents are lost for good, delete the pool.",
            )),
            Err(Errno::NOENT) => self.mark(root),
            Err(e) => Err(io("read the pool's marker", &e.into())),
        }
    }

    fn mark(&self, root: &Root) -> Result<()> {
        let failed = |e: std::io::Error| io("mark the pool", &e);
        self.step("init: marker begun")?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
        // Another host may be marking the same folder at this moment.
        let tmp = match &self.shared_as {
            Some(host) => format!("{MARKER_TMP}-{host}"),
            None => MARKER_TMP.to_owned(),
        };
        let fd = root.open(&tmp, flags, Mode::from_raw_mode(0o644)).map_err(|e| failed(e.into()))?;
        let mut file = File::from(fd);
        let text = serde_json::to_string(&Marker { pool_id: self.id }).map_err(Fault::internal)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        self.step("init: marker written")?;
        match root::rename_new(root.fd(), &tmp, root.fd(), MARKER) {
            Ok(()) => {}
            // Somebody was first: whose it is, stands in it.
            Err(Errno::EXIST) => {
                root::remove(root.fd(), &tmp).map_err(failed)?;
                return self.claim(root);
            }
            Err(e) => return Err(failed(e.into())),
        }
        rustix::fs::fsync(root.fd()).map_err(|e| failed(e.into()))
    }

    /// Removes what a crash left under our temporary names, and nothing else.
    fn sweep(&self, root: &Root) -> Result<()> {
        let mut left: Vec<String> = [MARKER_TMP, PROBE, PROBE_CLONE].map(str::to_owned).into();
        if self.shared_as.is_some() {
            let all = root::names(root.fd()).map_err(|e| io("sweep", &e))?;
            left.extend(
                all.into_iter().filter(|name| name.starts_with(PROBE) || name.starts_with(MARKER_TMP)),
            );
        }
        for name in left.iter().filter(|name| self.may_sweep(root.fd(), name)) {
            root::remove(root.fd(), name).map_err(|e| io("sweep", &e))?;
        }
        for folder_name in ["volumes", "images"] {
            let is_temporary =
                if folder_name == "volumes" { volumes::is_temporary } else { paths::is_temporary };
            let folder = root.folder(folder_name)?;
            for name in root::names(&folder).map_err(|e| io("sweep", &e))? {
                if is_temporary(&name) && self.may_sweep(&folder, &name) {
                    root::remove(&folder, &name).map_err(|e| io("sweep", &e))?;
                }
            }
        }
        Ok(())
    }

    /// Whether nobody can be working on a temporary file any more.
    fn may_sweep(&self, dir: &OwnedFd, name: &str) -> bool {
        let old = || {
            let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
            let age = i64::try_from(now.as_secs()).ok()?.checked_sub(stat.st_mtime)?;
            Some(age > SHARED_SWEEP_AGE_S)
        };
        self.shared_as.is_none() || old().unwrap_or(false)
    }

    /// Whether copies can share extents, and whether space can be reserved; tried, because both depend on how the file
    /// system was made and is mounted.
    fn try_abilities(&mut self, root: &Root) {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC;
        let open = |name: &str| root.open(name, flags, Mode::from_raw_mode(0o600)).ok().map(File::from);
        let [probe, probe_clone] = self.probe_names();
        if let Some((mut from, to)) = open(&probe).zip(open(&probe_clone)) {
            self.reflink = from.write_all(&[1; 4096]).is_ok() && ioctl_ficlone(&to, &from).is_ok();
            let reserved = fallocate(&from, FallocateFlags::empty(), 0, 64 << 10);
            // A full file system says nothing about what it could do.
            self.thick = matches!(reserved, Ok(()) | Err(Errno::NOSPC | Errno::DQUOT));
        }
        for name in [probe, probe_clone] {
            // Swept at the next start.
            let _ = root::remove(root.fd(), &name);
        }
    }

    /// Writes and removes a small file. A full pool passes: it still reads, and its capacity says that it is full.
    fn probe_write(&self, root: &Root) -> Result<&'static str> {
        let failed = |e: std::io::Error| io("write probe", &e);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
        if self.shared_as.is_some() {
            return Ok("read its size");
        }
        let full = "read its size; it is too full for a test file";
        let mut file = match root.open(PROBE, flags, Mode::from_raw_mode(0o600)) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOSPC | Errno::DQUOT) => return Ok(full),
            Err(e) => return Err(failed(e.into())),
        };
        let wrote = file.write_all(b"quantix");
        unlinkat(root.fd(), PROBE, AtFlags::empty()).map_err(|e| failed(e.into()))?;
        match wrote {
            Ok(()) => Ok("read its size, wrote a test file"),
            Err(e) if io("write probe", &e).code == FaultCode::PoolFull => Ok(full),
            Err(e) => Err(failed(e)),
        }
    }
}

fn path_invalid(message: String, remedy: &str) -> Fault {
    Fault { code: FaultCode::PoolPathInvalid, ..Fault::invalid("spec.local.path", message, remedy) }
}

/// Names of file systems by their magic numbers (statfs(2)).
fn file_system(magic: i64) -> String {
    match magic & 0xffff_ffff {
        0xef53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x0102_1994 => "tmpfs",
        0x2fc1_2fc1 => "zfs",
        0xf2f5_2010 => "f2fs",
        0xca45_1a4e => "bcachefs",
        0x794c_7630 => "overlay",
        0x6969 => "nfs",
        other => return format!("0x{other:x}"),
    }
    .to_owned()
}

impl Backend for LocalPool {
    fn init(&mut self) -> Result<()> {
        self.step("init: folder")?;
        let root = Root::open_or_make(&self.path, !self.must_exist)?;
        self.claim(&root)?;
        self.step("init: folders")?;
        for name in ["volumes", "images"] {
            match mkdirat(root.fd(), name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(io("make folders", &e.into())),
            }
            root.folder(name)?;
        }
        rustix::fs::fsync(root.fd()).map_err(|e| io("make folders", &e.into()))?;
        self.step("init: sweep")?;
        self.sweep(&root)?;
        self.try_abilities(&root);
        self.root = Some(root);
        Ok(())
    }

    /// A folder needs no letting go.
    fn destroy(&self, _: LettingGo) -> Result<()> {
        Ok(())
    }

    fn info(&self) -> Result<PoolInfo> {
        let root = self.root()?;
        root.check_still_there(MARKER)?;
        let sizes = fstatvfs(root.fd()).map_err(|e| io("statfs", &e.into()))?;
        let kind = fstatfs(root.fd()).map_err(|e| io("statfs", &e.into()))?;
        let probe = self.probe_write(root)?;
        let bytes = |blocks: u64| blocks.saturating_mul(sizes.f_frsize);
        let names = root::names(&self.volumes_dir()?).map_err(|e| io("list volumes", &e))?;
        let volumes = names.iter().filter(|name| volumes::parse_name(name).is_some()).count();
        Ok(PoolInfo {
            capacity: Capacity {
                total_bytes: bytes(sizes.f_blocks),
                used_bytes: bytes(sizes.f_blocks.saturating_sub(sizes.f_bfree)),
                available_bytes: bytes(sizes.f_bavail),
            },
            capabilities: Capabilities {
                files: true,
                images: true,
                // qcow2 keeps them itself; raw volumes only where extents are shared.
                snapshots: true,
                clones: true,
                flatten: true,
                grow: true,
                grow_running: true,
                thick: self.thick,
                reflink: self.reflink,
                file_system: file_system(kind.f_type as i64),
                formats: vec![VolumeFormat::Qcow2, VolumeFormat::Raw],
                ..Capabilities::default()
            },
            mount_path: self.path.clone(),
            volume_count: u32::try_from(volumes).unwrap_or(u32::MAX),
            probe: probe.to_owned(),
            fault: None,
            facts: Vec::new(),
        })
    }

    fn volume_create(&self, wish: &VolumeWish, progress: &mut dyn FnMut(Progress)) -> Result<VolumeInfo> {
        self.create_volume(wish, progress)
    }

    fn volume_delete(&self, id: VolumeId) -> Result<bool> {
        self.delete_volume(id)
    }

    fn volume_list(&self) -> Result<Vec<VolumeInfo>> {
        self.list_volumes()
    }

    fn volume_attach(&self, id: VolumeId) -> Result<Attachment> {
        self.attach_volume(id)
    }

    fn abilities(&self) -> Abilities<'_> {
        Abilities {
            files: Some(self),
            file_access: Some(self),
            images: Some(self),
            grow: Some(self),
            flatten: Some(self),
            snapshots: Some(self),
            exclusive: None,
            refresh: None,
            explore: None,
        }
    }
}
