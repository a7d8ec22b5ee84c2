//! A pool that is an LVM volume group on an iSCSI LUN, shared by hosts that take turns with each volume.
//!
//! ```text
//!   target ─login─▶ LUN (by WWID) ─▶ volume group, tagged with the pool
//!                                      ├ quantix-<id>.pool      thin pool of one volume: its space is set aside
//!                                      │   ├ quantix-<id>       the disk;      tag quantix.host=<initiator name>
//!                                      │   └ quantix-<id>.s1    a snapshot;    tag quantix.snapshot=<name>
//!                                      └ …
//!   free ──volume_attach: tag, read back, activate──▶ held by one host ──volume_detach: deactivate, untag──▶ free
//! ```
//! LVM has no lock between hosts here: who may activate a volume is said by its tag. What that covers and what it does
//! not stands in `docs/decisions/011-lvm-on-shared-luns.md`.
//!
//! Nothing asks the disk while the session is down: the kernel queues such I/O, and whoever waits for it hangs. So each
//! look begins in `/sys`, which always answers.

pub mod classify;
mod copy;
mod explore;
mod group;
mod login;
mod lvm;
mod record;
mod refresh;
mod session;
mod snapshots;
mod volumes;

use crate::backend::{
    Abilities, Attachment, Backend, LettingGo, PoolInfo, PoolSetup, Progress, VolumeInfo, VolumeWish,
};
use crate::error::{self, Result};
use crate::local::Steps;
use quantix_host::program::{BlockingRunner, Program, SystemRunner};
use quantix_model::id::{PoolId, VolumeId};
use quantix_model::pool::{Capabilities, Capacity, Fact, IscsiSpec, PoolSpec};
use quantix_model::volume::VolumeFormat;
use quantix_model::{Fault, FaultCode};
use session::{Disk, Session};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use uuid::Uuid;

/// One device-mapper command on a device whose disk is gone.
const FORCE: Duration = Duration::from_secs(5);

/// See the module.
pub struct IscsiPool {
    id: PoolId,
    spec: IscsiSpec,
    must_exist: bool,
    may_make: bool,
    runner: Arc<dyn BlockingRunner>,
    steps: Steps,
    sys: PathBuf,
    run_dir: PathBuf,
    etc: PathBuf,
    /// Who this host is in tags: its initiator name, which no two hosts of one target can share.
    host: String,
    /// Paths that there should be, when we signed in.
    expected: AtomicUsize,
    /// The LUN's identity, once known.
    wwid: Mutex<String>,
    /// One change of metadata at a time.
    changes: Mutex<()>,
    busy: Mutex<HashSet<Uuid>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps others from changing the same volume meanwhile.
struct BusyGuard<'a>(&'a Mutex<HashSet<Uuid>>, Uuid);

impl Drop for BusyGuard<'_> {
    fn drop(&mut self) {
        locked(self.0).remove(&self.1);
    }
}

/// The fault while a target does not answer. The kernel and iscsid keep trying by themselves.
fn stalled(target: &str, cause: impl std::fmt::Display) -> Fault {
    Fault::new(
        FaultCode::PoolStalled,
        format!("The target {target} does not answer."),
        "Look at the target and the network; the pool comes back by itself when it answers again.",
    )
    .because(cause)
}

impl IscsiPool {
    /// The pool of a setup, on the real machine.
    pub fn new(setup: &PoolSetup) -> Result<IscsiPool> {
        IscsiPool::with(setup, Arc::new(SystemRunner), Arc::new(|_| Ok(())))
    }

    /// The same with another way to run programs and a hook on every step; for tests.
    pub fn with(setup: &PoolSetup, runner: Arc<dyn BlockingRunner>, steps: Steps) -> Result<IscsiPool> {
        let PoolSpec::Iscsi(spec) = &setup.spec else {
            return Err(Fault::internal("an iSCSI pool was asked for with another backend's spec"));
        };
        Ok(IscsiPool {
            id: setup.id,
            spec: spec.clone(),
            must_exist: setup.must_exist,
            may_make: setup.may_make,
            runner,
            steps,
            sys: "/sys".into(),
            run_dir: "/run".into(),
            etc: "/etc".into(),
            host: String::new(),
            expected: AtomicUsize::new(0),
            wwid: Mutex::default(),
            changes: Mutex::default(),
            busy: Mutex::default(),
        })
    }

    fn step(&self, name: &'static str) -> Result<()> {
        (self.steps)(name)
    }

    fn busy(&self, id: VolumeId) -> Result<BusyGuard<'_>> {
        if locked(&self.busy).insert(id.0) {
            Ok(BusyGuard(&self.busy, id.0))
        } else {
            Err(error::busy("volume", id))
        }
    }

    fn sessions(&self) -> Vec<Session> {
        session::sessions(&self.sys, &self.spec.target)
    }

    /// Why there is no disk to ask.
    fn no_session(&self, sessions: &[Session]) -> Fault {
        if sessions.is_empty() {
            return Fault::new(
                FaultCode::PoolNotReady,
                format!("The host is not signed in to the target {}.", self.spec.target),
                "Somebody signed out by hand; the pool signs in again by itself.",
            );
        }
        let states: Vec<String> = sessions.iter().map(|s| format!("{} is {}", s.name, s.state)).collect();
        stalled(&self.spec.target, states.join(", "))
    }

    /// Every path to our LUN that works now.
    fn paths(&self, sessions: &[Session]) -> Vec<Disk> {
        let wwid = locked(&self.wwid).clone();
        let shown = |s: &Session| s.disk(&self.sys, self.spec.lun);
        let up = sessions.iter().filter(|s| s.is_up()).filter_map(shown);
        up.filter(|disk| disk.is_running() && (wwid.is_empty() || disk.wwid == wwid)).collect()
    }

    /// The device to open now. Its name is looked up by the LUN's identity each time.
    fn device(&self) -> Result<String> {
        let sessions = self.sessions();
        let paths = self.paths(&sessions);
        // A disk that is part of a multipath device cannot be opened beside it.
        if let Some(path) = paths.iter().find(|path| path.is_joined()).or(paths.first()) {
            return Ok(path.device.clone());
        }
        if !sessions.iter().any(Session::is_up) {
            return Err(self.no_session(&sessions));
        }
        let shown = sessions.iter().filter_map(|s| s.disk(&self.sys, self.spec.lun)).next();
        let (message, remedy) = match &shown {
            Some(disk) if !disk.is_running() => {
                let cause = format!("{} is {}", disk.name, disk.state);
                return Err(stalled(&self.spec.target, cause));
            }
            Some(disk) => (
                format!("LUN {} of {} is another disk now.", self.spec.lun, self.spec.target),
                format!("It was {} and is {}; map the right one.", locked(&self.wwid), disk.wwid),
            ),
            None => (
                format!("The target {} shows this host no LUN {} any more.", self.spec.target, self.spec.lun),
                "Check that the target maps it to this host's initiator name.".to_owned(),
            ),
        };
        Err(Fault::new(FaultCode::PoolDeviceMissing, message, remedy))
    }

    fn open(&self) -> Result<()> {
        self.connect()?;
        let sessions = self.sessions();
        let paths = self.paths(&sessions);
        let first = paths.first().ok_or_else(|| self.no_session(&sessions))?;
        locked(&self.wwid).clone_from(&first.wwid);
        self.step("init: volume group")?;
        self.open_group()?;
        self.step("init: sweep")?;
        self.sweep()
    }

    fn facts(&self, sessions: &[Session], paths: &[Disk]) -> (Vec<Fact>, Option<Fault>) {
        let fact = |name: &str, value: String| Fact { name: name.to_owned(), value };
        let session = |s: &Session| format!("{} at {}: {}", s.name, s.portal.replace(',', ":"), s.state);
        // Records outlive the worker, and stay when a path could not be signed in to.
        let several = session::multipath_runs(&self.run_dir);
        let recorded = if several { record::count(&self.spec.target) } else { 0 };
        let expected = sessions.len().max(self.expected.load(Ordering::SeqCst)).max(recorded);
        let facts = vec![
            fact("target", self.spec.target.clone()),
            fact("lun", self.spec.lun.to_string()),
            fact("wwid", locked(&self.wwid).clone()),
            fact("device", paths.first().map(|disk| disk.device.clone()).unwrap_or_default()),
            fact("paths", format!("{} of {expected}", paths.len())),
            fact("sessions", sessions.iter().map(session).collect::<Vec<_>>().join("; ")),
            fact("host", self.host.clone()),
        ];
        let apart = several && paths.len() > 1 && !paths.iter().all(Disk::is_joined);
        let split = || {
            Fault::new(
                FaultCode::PoolMountFailed,
                "The paths to the LUN are not one device: I/O uses one of them only.",
                "Press Retry; if it stays so, look at `multipath -ll` and /etc/multipath.conf on the host.",
            )
        };
        let fault = (paths.len() < expected).then(|| {
            Fault::new(
                FaultCode::PoolServerUnreachable,
                format!("{} of {expected} paths to the target work.", paths.len()),
                "Look at the portals without a session, or whose session is not LOGGED_IN; Retry signs in there again.",
            )
            .because(sessions.iter().map(session).collect::<Vec<_>>().join("; "))
        });
        (facts, fault.or_else(|| apart.then(split)))
    }

    /// Takes a dead target's devices away without asking it: what waits for it gets an error.
    fn let_go_by_force(&self) -> Result<()> {
        let group = group::uuid_of(&self.sys, &self.spec.volume_group);
        let map = self.map();
        if let Some(map) = &map {
            // Otherwise multipathd lets whatever waits there wait for ever.
            self.dmsetup(&["message", map, "0", "fail_if_no_path"])?;
        }
        self.sign_out()?;
        let mapped = group.iter().flat_map(|uuid| session::mapped(&self.sys, uuid));
        for name in mapped.chain(map) {
            self.dmsetup(&["remove", "--force", "--deferred", "--noudevsync", &name])?;
        }
        Ok(())
    }

    fn dmsetup(&self, args: &[&str]) -> Result<()> {
        let output =
            self.run("remove devices", &Program::new("dmsetup").args(args.iter().copied()).deadline(FORCE))?;
        if !output.succeeded() {
            tracing::warn!(?args, said = output.complaint(), "a device stays");
        }
        Ok(())
    }
}

impl Backend for IscsiPool {
    fn init(&mut self) -> Result<()> {
        self.host = record::initiator(&self.etc)?;
        let opened = self.open();
        // A pool that never came up is not asked to let go, so nothing of it may stay. What VMs use stays.
        if opened.is_err() && group::uuid_of(&self.sys, &self.spec.volume_group).is_none() {
            let _ = self.sign_out();
        }
        opened
    }

    fn destroy(&self, how: LettingGo) -> Result<()> {
        let _change = locked(&self.changes);
        if how == LettingGo::Forced && !self.sessions().iter().any(Session::is_up) {
            return self.let_go_by_force();
        }
        match self.device() {
            Ok(_) => self.close_group(how)?,
            // Nobody is signed in, or the LUN is gone: nothing of it can be active but by force.
            Err(fault) if matches!(fault.code, FaultCode::PoolNotReady | FaultCode::PoolDeviceMissing) => {}
            Err(fault) if how == LettingGo::Orderly => return Err(fault),
            Err(_) => return self.let_go_by_force(),
        }
        self.step("destroy: sign out")?;
        self.part_paths();
        self.sign_out()
    }

    fn info(&self) -> Result<PoolInfo> {
        if self.sessions().is_empty() {
            // Somebody signed us out by hand.
            self.connect()?;
        }
        let group = self.group()?;
        let sessions = self.sessions();
        let paths = self.paths(&sessions);
        let (mut facts, fault) = self.facts(&sessions, &paths);
        if group.disk_grew() {
            let value = format!("the LUN grew to {} bytes: press Retry", group.device_bytes);
            facts.push(Fact { name: "size".to_owned(), value });
        }
        let value = error::none_or_some(&group.foreign);
        facts.push(Fact { name: "volumes of others".to_owned(), value });
        let volumes = group.shelves.values().filter(|shelf| shelf.whole().is_some()).count();
        Ok(PoolInfo {
            capacity: Capacity {
                total_bytes: group.size_bytes,
                used_bytes: group.size_bytes.saturating_sub(group.free_bytes),
                available_bytes: group.free_bytes,
            },
            capabilities: Capabilities {
                snapshots: true,
                snapshots_running: true,
                grow: true,
                grow_running: true,
                thick: true,
                file_system: "lvm".to_owned(),
                formats: vec![VolumeFormat::Raw],
                ..Capabilities::default()
            },
            mount_path: format!("/dev/{}", self.spec.volume_group),
            volume_count: u32::try_from(volumes).unwrap_or(u32::MAX),
            probe: "read the volume group's metadata from the LUN".to_owned(),
            fault,
            facts,
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
            grow: Some(self),
            snapshots: Some(self),
            exclusive: Some(self),
            refresh: Some(self),
            explore: Some(self),
            ..Abilities::default()
        }
    }
}

/// Whether a path is there; for devices that udev is still making.
fn appears(path: &Path, within: Duration) -> bool {
    let end = std::time::Instant::now() + within;
    while !path.exists() {
        if std::time::Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}
