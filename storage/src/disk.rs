//! A pool on a disk of this host: a file system found by its UUID and mounted at the pool's path. Everything file-like
//! is the local pool's work.
//!
//! ```text
//!   place ─▶ mount table ─┬─ our file system ─────────────▶ adopt ─▶ LocalPool
//!                         ├─ nothing ─▶ disk by UUID ─▶ mount(2) ──▲
//!                         ├─ ours, of a disk that is gone ─▶ taken away, then as with nothing
//!                         └─ something else: refused
//!   info: unmounted under us, or the disk came back ─▶ mounted again;  the disk is gone ─▶ POOL_DEVICE_MISSING
//! ```
//! The mount outlives the worker and the daemon, because VMs use it: the next worker adopts it. Whether its disk is
//! still there is told by /sys, which always answers.

use crate::backend::{Backend, LettingGo, PoolInfo, PoolSetup};
use crate::device::printable;
use crate::error::{Result, io};
use crate::local::{LocalPool, Steps};
use crate::nfs::mounted::{at, table};
use crate::nfs::{note, release};
use crate::on_mount::{OnMount, Open, Slot};
use crate::place::Place;
use quantix_host::mount::Line;
use quantix_host::program::{BlockingRunner, Program, SystemRunner};
use quantix_model::pool::{Fact, PoolSpec};
use quantix_model::{Fault, FaultCode};
use rustix::fs::{major, minor, stat};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// For asking every disk who it is, when udev does not know.
const BLKID: Duration = Duration::from_secs(5);
/// What is not written yet goes to the disk.
const ORDERLY: Duration = Duration::from_secs(20);
/// A disk that is gone takes nothing more.
const FORCED: Duration = Duration::from_secs(5);
const FIELD: &str = "spec.local.path";
const FILE_SYSTEM: &str = "xfs";

/// See the module.
pub struct DiskPool {
    setup: PoolSetup,
    path: String,
    uuid: String,
    runner: Arc<dyn BlockingRunner>,
    steps: Steps,
    /// `major:minor` of what we mounted or adopted.
    device: Mutex<String>,
    open: Slot,
}

impl DiskPool {
    /// The pool of a setup, on the real machine.
    pub fn new(setup: &PoolSetup) -> Result<DiskPool> {
        DiskPool::with(setup, Arc::new(SystemRunner), Arc::new(|_| Ok(())))
    }

    /// The same with another way to run programs and a hook on every step; for tests.
    pub fn with(setup: &PoolSetup, runner: Arc<dyn BlockingRunner>, steps: Steps) -> Result<DiskPool> {
        let PoolSpec::Local { path, file_system_uuid } = &setup.spec else {
            return Err(Fault::internal("a pool on a disk was asked for with another backend's spec"));
        };
        Ok(DiskPool {
            setup: setup.clone(),
            path: path.clone(),
            uuid: file_system_uuid.to_ascii_lowercase(),
            runner,
            steps,
            device: Mutex::default(),
            open: Slot::default(),
        })
    }

    fn step(&self, name: &'static str) -> Result<()> {
        (self.steps)(name)
    }

    fn find_place(&self, make: bool) -> Result<Option<Place>> {
        let PoolSpec::Local { path: standard, .. } = PoolSpec::disk(self.setup.id) else {
            return Err(Fault::internal("a disk's pool is a local pool"));
        };
        let chosen = if self.path == standard { "" } else { self.path.as_str() };
        Place::find(chosen, FIELD, self.setup.id, make)
    }

    fn place(&self) -> Result<Place> {
        self.find_place(true)?.ok_or_else(|| Fault::internal("a place that was to be made is not there"))
    }

    /// The block device that carries the file system: as udev says, or as the disks themselves do.
    fn find(&self) -> Result<(PathBuf, String)> {
        let link = Path::new("/dev/disk/by-uuid").join(&self.uuid);
        if let Ok(device) = std::fs::canonicalize(&link)
            && let Some(number) = number(&device)
        {
            return Ok((device, number));
        }
        let program = Program::new("blkid")
            .args(["--cache-file", "/dev/null", "--uuid", self.uuid.as_str()])
            .deadline(BLKID);
        let output =
            self.runner.run_blocking(&program, &mut || Ok(())).map_err(|f| f.in_phase("find the disk"))?;
        let device = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        match number(&device) {
            Some(number) if output.succeeded() && device.starts_with("/dev") => Ok((device, number)),
            _ => Err(self.missing("the host has no disk with this file system")),
        }
    }

    fn missing(&self, cause: &str) -> Fault {
        Fault::new(
            FaultCode::PoolDeviceMissing,
            format!("The disk with the file system {} is not there.", self.uuid),
            "Put the disk back or look at its cables and the kernel log; the pool then comes back by itself.",
        )
        .because(cause)
        .in_phase("find the disk")
    }

    fn foreign(&self, line: &Line) -> Fault {
        let target = printable(&line.mount.target);
        let there = format!("{} ({})", printable(&line.mount.source), line.mount.fs_type);
        Fault::new(
            FaultCode::PoolForeignMount,
            format!("On {target} something else is mounted: {there}."),
            format!("Unmount it on the host (`umount {target}`); the pool then comes by itself."),
        )
        .because(format!("wanted the file system {}", self.uuid))
    }

    /// Mounts or adopts, checks, and opens the files.
    fn start(&self) -> Result<Open> {
        let place = self.place()?;
        self.step("disk: place found")?;
        let seen = table()?;
        let mut there = at(&seen, &place.path);
        if let Some(line) = there
            && line.mount.fs_type == FILE_SYSTEM
            && is_gone(line)
        {
            self.step("disk: gone")?;
            take_away(&place.path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW, FORCED)?;
            there = None;
        }
        let (device, number) = self.find()?;
        self.step("disk: found")?;
        match there {
            Some(line) if line.device != number || line.root != "/" => return Err(self.foreign(line)),
            Some(_) => {}
            None => {
                place.make_ready()?;
                self.step("disk: folder ready")?;
                self.mount_on(&device, &place)?;
            }
        }
        self.step("disk: mounted")?;
        let line = at(&table()?, &place.path).cloned().ok_or_else(not_open)?;
        self.check_seen(&place.path, &line, &number)?;
        *self.device.lock().unwrap_or_else(PoisonError::into_inner) = number;
        self.open_files(place.path)
    }

    fn mount_on(&self, device: &Path, place: &Place) -> Result<()> {
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::NOATIME;
        mount(device, place.path.as_str(), FILE_SYSTEM, flags, None).map_err(|err| {
            let remedy = match err {
                Errno::NODEV => "The kernel has no XFS: load or install its module.",
                Errno::BUSY => "Somebody on the host uses the disk: look with `lsblk` and `fuser -vm`.",
                _ => "Look at the host's kernel log, which says why; `xfs_repair -n` looks closer.",
            };
            let message = format!("The file system on {} cannot be mounted.", device.display());
            let said = std::io::Error::from(err);
            Fault::new(FaultCode::PoolMountFailed, message, remedy).because(said).in_phase("mount")
        })?;
        if !place.standard
            && let Some(line) = at(&table()?, &place.path)
        {
            note::keep(self.setup.id, line);
        }
        Ok(())
    }

    /// Checks that the folder leads to that file system, and that it takes writes.
    fn check_seen(&self, path: &str, line: &Line, number: &str) -> Result<()> {
        let seen = stat(path).map_err(|e| io("look at the mount", &e.into()))?;
        let seen = format!("{}:{}", major(seen.st_dev), minor(seen.st_dev));
        if line.device != number || seen != number {
            return Err(self.foreign(line));
        }
        if line.has_option("ro") {
            return Err(Fault::new(
                FaultCode::PoolReadOnly,
                format!("The file system {} is mounted read-only on {path}.", self.uuid),
                format!(
                    "Make it writable on the host (`mount -o remount,rw {path}`), or look at the kernel log."
                ),
            ));
        }
        Ok(())
    }

    fn open_files(&self, path: String) -> Result<Open> {
        let spec = PoolSpec::local(path.clone());
        let setup = PoolSetup {
            id: self.setup.id,
            spec,
            must_exist: self.setup.must_exist,
            may_make: self.setup.may_make,
        };
        let mut files = LocalPool::with(&setup, Arc::clone(&self.runner), Arc::clone(&self.steps))?;
        Backend::init(&mut files)?;
        Ok(Open { path, files })
    }

    /// Looks at the mount itself; one that went away, or whose disk came back, is made anew.
    fn look_after(&self) -> Result<Line> {
        let path = match self.open.path() {
            Some(path) => path,
            None => self.place()?.path,
        };
        let ours = self.device.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let seen = table()?;
        let there = at(&seen, &path);
        let whole = match there {
            Some(line) if line.device == ours && is_gone(line) => {
                // Only a disk that is back is worth closing everything for.
                self.find().map_err(|_| self.missing("it vanished while the pool was mounted"))?;
                false
            }
            Some(line) if line.device == ours => self.open.path().is_some(),
            Some(line) => return Err(self.foreign(line)),
            None => false,
        };
        if !whole {
            self.open.while_closed(|| match self.start() {
                Ok(open) => (Some(open), Ok(())),
                Err(fault) => (None, Err(fault)),
            })?;
        }
        at(&table()?, &path).cloned().ok_or_else(not_open)
    }
}

impl OnMount for DiskPool {
    fn mount(&mut self) -> Result<()> {
        let open = self.start()?;
        self.open.fill(open);
        Ok(())
    }

    fn let_go(&self, how: LettingGo) -> Result<()> {
        let Some(place) = self.find_place(false)? else { return Ok(()) };
        let seen = table()?;
        let there = at(&seen, &place.path);
        let theirs = !place.standard && !note::is_ours(self.setup.id, there);
        // A disk that cannot be found now is still ours below our own folder.
        let other = there.filter(|line| {
            let another = || self.find().is_ok_and(|(_, number)| number != line.device);
            line.mount.fs_type != FILE_SYSTEM || (!is_gone(line) && another())
        });
        if there.is_none() || theirs || other.is_some() {
            // Nothing of ours is mounted there, or somebody else did it and we only used it.
            self.open.while_closed(|| (None, Ok(())))?;
        } else {
            self.step("disk: unmount")?;
            let gone = there.is_some_and(is_gone);
            match (how, gone) {
                (LettingGo::Orderly, false) => self.open.while_closed(|| {
                    let left = take_away(&place.path, UnmountFlags::NOFOLLOW, ORDERLY);
                    let used = left.as_ref().is_err_and(|fault| fault.code == FaultCode::PoolInUse);
                    // Still mounted: the pool goes on as it was.
                    (if used { self.open_files(place.path.clone()).ok() } else { None }, left)
                })?,
                (LettingGo::Forced, _) | (LettingGo::Orderly, true) => {
                    self.open.while_closed(|| (None, Ok(())))?;
                    take_away(&place.path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW, FORCED)?;
                }
            }
            self.step("disk: unmounted")?;
        }
        note::forget(self.setup.id);
        place.remove()
    }

    fn look_closely(&self) -> Result<PoolInfo> {
        let line = self.look_after()?;
        let mut info = self.with_files(Backend::info)?;
        let fact = |name: &str, value: &str| Fact { name: name.to_owned(), value: printable(value) };
        info.facts.push(fact("device", &line.mount.source));
        info.facts.push(fact("file_system_uuid", &self.uuid));
        if line.has_option("ro") {
            info.fault = Some(Fault::new(
                FaultCode::PoolReadOnly,
                "The disk is mounted read-only.",
                "Look at the host's kernel log: the file system may have met an error.",
            ));
        }
        Ok(info)
    }

    fn slot(&self) -> &Slot {
        &self.open
    }

    fn not_open(&self) -> Fault {
        not_open()
    }

    fn translate(&self, fault: Fault) -> Fault {
        fault
    }
}

fn not_open() -> Fault {
    Fault::new(
        FaultCode::PoolNotReady,
        "The disk is not mounted.",
        "It is mounted again by itself as soon as that is possible.",
    )
}

/// `major:minor` of a device's file. The file is looked at, the device is not opened.
fn number(device: &Path) -> Option<String> {
    let seen = stat(device).ok()?;
    let block = rustix::fs::FileType::from_raw_mode(seen.st_mode) == rustix::fs::FileType::BlockDevice;
    block.then(|| format!("{}:{}", major(seen.st_rdev), minor(seen.st_rdev)))
}

/// Whether the disk below a mount has left the machine.
fn is_gone(line: &Line) -> bool {
    matches!(std::fs::exists(Path::new("/sys/dev/block").join(&line.device)), Ok(false))
}

/// Unmounts; the mount table was looked at before.
fn take_away(path: &str, flags: UnmountFlags, patience: Duration) -> Result<()> {
    match release::ask(path, flags, patience)? {
        Some(Ok(()) | Err(Errno::INVAL)) => Ok(()),
        Some(Err(Errno::BUSY)) => Err(release::in_use(path)),
        Some(Err(err)) => Err(io("unmount", &err.into())),
        None => Err(Fault::new(
            FaultCode::PoolStalled,
            format!("The disk did not take what was left to write within {} s.", patience.as_secs()),
            "Look at the host's kernel log; or let go of the pool by force: what was not written is then lost.",
        )),
    }
}
