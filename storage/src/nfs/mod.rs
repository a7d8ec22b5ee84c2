//! A pool on an export of an NFS server, mounted by this host's kernel. Everything file-like is the local pool's work;
//! here stands what comes before and after it: reaching the server, mounting, checking, letting go.
//!
//! ```text
//!   helper there? ─▶ place ─▶ mount table ─▶ reach server ─▶ ours there? ─yes─▶ adopt ─▶ write probe ─▶ LocalPool
//!                                │ something else: refused      └─no─▶ mount.nfs ─▶ check ──▲
//!                                ▼
//!   info: stale or unmounted under us ─▶ unmount (refused while in use) ─▶ mount again
//!   destroy: close everything ─▶ unmount, by force from a dead server ─▶ remove our empty folder
//! ```
//! The mount outlives the worker and the daemon, because VMs use it: the next worker finds and adopts it. The worker
//! keeps the right to mount (CAP_SYS_ADMIN of root) for as long as it lives; `confine` in the worker takes the rest.
//!
//! Any call that touches the mount may block for ever when the server dies. Nobody here guards against that: the
//! daemon abandons a worker that misses its deadline. What must answer then (the mount table, the server's port, the
//! unmount) never touches the mount.

mod classify;
mod explore;
pub(crate) mod mounted;
pub(crate) mod note;
mod options;
mod probe;
mod reach;
pub(crate) mod release;

use crate::backend::{LettingGo, PoolInfo, PoolSetup};
use crate::error::Result;
use crate::local::{LocalPool, Steps};
use crate::on_mount::{OnMount, Open, Slot};
use crate::place::Place;
use quantix_host::mount::Line;
use quantix_host::program::{BlockingRunner, Program, SystemRunner};
use quantix_model::pool::{NfsSpec, PoolSpec};
use quantix_model::{Fault, FaultCode};
use rustix::io::Errno;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What mounts; not always in a service's PATH.
const HELPERS: &[&str] = &["/sbin/mount.nfs", "/usr/sbin/mount.nfs", "/usr/local/sbin/mount.nfs"];
/// From the start to the end of `mount.nfs`: the daemon waits 20 s for the worker, and a reason is better than silence.
/// Within a look at the pool the worker's deadline comes first, and the next worker has all of it.
const MOUNT_BUDGET: Duration = Duration::from_secs(16);
/// The least `mount.nfs` gets, however long reaching the server took.
const MOUNT_MIN: Duration = Duration::from_secs(2);

/// See the module.
pub struct NfsPool {
    setup: PoolSetup,
    spec: NfsSpec,
    runner: Arc<dyn BlockingRunner>,
    steps: Steps,
    open: Slot,
}

impl NfsPool {
    /// The pool of a setup, on the real machine.
    pub fn new(setup: &PoolSetup) -> Result<NfsPool> {
        NfsPool::with(setup, Arc::new(SystemRunner), Arc::new(|_| Ok(())))
    }

    /// The same with another way to run programs and a hook on every step; for tests.
    pub fn with(setup: &PoolSetup, runner: Arc<dyn BlockingRunner>, steps: Steps) -> Result<NfsPool> {
        let PoolSpec::Nfs(spec) = &setup.spec else {
            return Err(Fault::internal("an NFS pool was asked for with another backend's spec"));
        };
        Ok(NfsPool { setup: setup.clone(), spec: spec.clone(), runner, steps, open: Slot::default() })
    }

    fn step(&self, name: &'static str) -> Result<()> {
        (self.steps)(name)
    }

    fn find_place(&self, make: bool) -> Result<Option<Place>> {
        Place::find(&self.spec.mount_path, "spec.nfs.mount_path", self.setup.id, make)
    }

    fn place(&self) -> Result<Place> {
        let found = self.find_place(true)?;
        found.ok_or_else(|| Fault::internal("a place that was to be made is not there"))
    }

    /// Mounts or adopts, checks, and opens the files.
    fn start(&self) -> Result<Open> {
        let end = Instant::now() + MOUNT_BUDGET;
        if options::wished(&self.spec).any(|option| option == "ro") {
            return Err(option_ro());
        }
        let helper = helper()?;
        let place = self.place()?;
        self.step("nfs: place found")?;
        if let Some(there) = mounted::at(&mounted::table()?, &place.path)
            && !mounted::is_export(there, &self.spec)
        {
            return Err(mounted::foreign(there, &self.spec));
        }
        let addresses = reach::reach(&self.spec)?;
        self.step("nfs: server reached")?;
        let mut line = self.look(&place, &addresses)?;
        if line.is_some() && is_stale(&place.path) {
            self.step("nfs: stale")?;
            release::orderly(&self.spec, &place.path).map_err(|fault| self.stale_and(fault))?;
            line = None;
        }
        let line = match line {
            Some(line) => line,
            None => {
                place.make_ready()?;
                self.step("nfs: folder ready")?;
                self.mount_with(helper, &place, &addresses, end)?
            }
        };
        self.step("nfs: mounted")?;
        check_seen(&place.path, &line, &self.spec)?;
        probe::probe(&self.spec, Path::new(&place.path))?;
        self.step("nfs: probed")?;
        self.open_files(place.path)
    }

    /// The mount at the place, if it is the wanted one.
    fn look(&self, place: &Place, addresses: &[IpAddr]) -> Result<Option<Line>> {
        let table = mounted::table()?;
        let Some(line) = mounted::at(&table, &place.path) else { return Ok(None) };
        mounted::check(line, &self.spec, addresses)?;
        Ok(Some(line.clone()))
    }

    fn mount_with(&self, helper: &str, place: &Place, addresses: &[IpAddr], end: Instant) -> Result<Line> {
        let left = end.saturating_duration_since(Instant::now()).max(MOUNT_MIN);
        // A mount must not come about after its worker was abandoned, when nobody looks at it any more.
        let program = Program::new("setpriv")
            .args(["--pdeathsig", "KILL", helper])
            .args([options::source(&self.spec), place.path.clone()])
            .args(["-o".to_owned(), options::string(&self.spec, addresses)])
            .deadline(left);
        let output =
            self.runner.run_blocking(&program, &mut || Ok(())).map_err(|fault| match fault.code {
                FaultCode::DeadlineExceeded => {
                    let words =
                        if fault.cause.is_empty() { String::new() } else { format!(": {}", fault.cause) };
                    let cause = format!("mount.nfs had no answer after {:.0} s{words}", left.as_secs_f64());
                    classify::silent(&self.spec.server).because(classify::printable(&cause)).in_phase("mount")
                }
                _ => fault,
            })?;
        // Another worker's mount may have come first: then the program failed, and all is well.
        let there = self.look(place, addresses);
        match (there, output.succeeded()) {
            (Ok(Some(line)), _) => {
                if !place.standard {
                    note::keep(self.setup.id, &line);
                }
                note::keep_options(self.setup.id, &line, &self.spec.options);
                Ok(line)
            }
            (_, false) => Err(classify::classify(&self.spec, &place.path, &output)),
            (Err(fault), true) => Err(fault),
            (Ok(None), true) => Err(Fault::new(
                FaultCode::PoolMountFailed,
                format!("mount.nfs reported success, but nothing is mounted on {}.", place.path),
                "Look at the host's kernel log and at who else mounts and unmounts there.",
            )),
        }
    }

    fn open_files(&self, path: String) -> Result<Open> {
        let spec = PoolSpec::local(path.clone());
        let setup = PoolSetup {
            id: self.setup.id,
            spec,
            must_exist: self.setup.must_exist,
            may_make: self.setup.may_make,
        };
        let files = LocalPool::with(&setup, Arc::clone(&self.runner), Arc::clone(&self.steps))?;
        let mut files = files.shared_as(&probe::name_of_this_process());
        crate::backend::Backend::init(&mut files).map_err(|fault| self.translate(fault))?;
        Ok(Open { path, files })
    }

    /// Looks at the mount itself; one that went stale or away is made anew.
    fn look_after(&self) -> Result<Line> {
        let path = match self.open.path() {
            Some(path) => path,
            None => self.place()?.path,
        };
        let there = mounted::at(&mounted::table()?, &path).cloned();
        let whole = there.is_some_and(|line| mounted::is_export(&line, &self.spec)) && !is_stale(&path);
        if !whole {
            self.open.while_closed(|| match self.start() {
                Ok(open) => (Some(open), Ok(())),
                Err(fault) => (None, Err(fault)),
            })?;
        }
        let line = mounted::at(&mounted::table()?, &path).cloned().ok_or_else(not_open)?;
        check_seen(&path, &line, &self.spec)?;
        Ok(line)
    }

    fn stale_and(&self, fault: Fault) -> Fault {
        classify::stale(&self.spec).because(fault.message).in_phase("mount again")
    }
}

impl OnMount for NfsPool {
    fn mount(&mut self) -> Result<()> {
        let open = self.start()?;
        self.open.fill(open);
        Ok(())
    }

    fn slot(&self) -> &Slot {
        &self.open
    }

    fn explore(&self) -> Option<&dyn crate::backend::Explore> {
        Some(self)
    }

    fn not_open(&self) -> Fault {
        not_open()
    }

    fn look_closely(&self) -> Result<PoolInfo> {
        let line = self.look_after()?;
        let probe = probe::probe(&self.spec, Path::new(&line.mount.target))?;
        let mut info = self.with_files(crate::backend::Backend::info)?;
        info.facts.extend(mounted::facts(&line, &self.spec));
        info.facts.extend(mounted::change(note::options(self.setup.id, &line), &self.spec));
        info.fault = info.fault.or(probe.fault);
        info.probe = format!("{}; {}", probe.what, info.probe);
        Ok(info)
    }

    fn let_go(&self, how: LettingGo) -> Result<()> {
        let Some(place) = self.find_place(false)? else { return Ok(()) };
        if !place.standard && !note::is_ours(self.setup.id, mounted::at(&mounted::table()?, &place.path)) {
            // Somebody else mounted it on a folder of theirs, and we only used it.
            return self.open.while_closed(|| (None, Ok(())));
        }
        match how {
            LettingGo::Orderly => self.open.while_closed(|| {
                let gone = release::orderly(&self.spec, &place.path);
                let refused = gone.as_ref().is_err_and(|fault| fault.code == FaultCode::PoolInUse);
                // Still mounted: the pool goes on as it was.
                (if refused { self.open_files(place.path.clone()).ok() } else { None }, gone)
            })?,
            LettingGo::Forced => {
                // First this: it ends calls that wait for the server, which nothing else can.
                release::forced(&self.spec, &place.path)?;
                self.open.while_closed(|| (None, Ok(())))?;
            }
        }
        note::forget(self.setup.id);
        place.remove()
    }

    fn translate(&self, fault: Fault) -> Fault {
        let errno = |number: i32| fault.cause.contains(&format!("(os error {number})"));
        let io = fault.code == FaultCode::PoolIoFailed;
        if fault.code == FaultCode::PoolReadOnly {
            return classify::read_only(&self.spec).because(&fault.cause).in_phase(&fault.phase);
        }
        if io && errno(Errno::STALE.raw_os_error()) {
            return classify::stale(&self.spec).because(&fault.cause).in_phase(&fault.phase);
        }
        if io && (errno(Errno::ACCESS.raw_os_error()) || errno(Errno::PERM.raw_os_error())) {
            return classify::squashed(&self.spec).because(&fault.cause).in_phase(&fault.phase);
        }
        if fault.field.starts_with("spec.local") {
            return Fault { field: "spec.nfs.export".into(), ..fault };
        }
        fault
    }
}

fn helper() -> Result<&'static str> {
    HELPERS.iter().copied().find(|path| Path::new(path).exists()).ok_or_else(|| {
        Fault::new(
            FaultCode::HostProgramMissing,
            "The program mount.nfs is not installed on the host.",
            "Install it on the host: apt-get install nfs-common",
        )
        .because(format!("looked for {}", HELPERS.join(", ")))
    })
}

fn option_ro() -> Fault {
    Fault {
        field: "spec.nfs.options".into(),
        ..Fault::new(
            FaultCode::PoolReadOnly,
            "The mount option ro makes the pool read-only.",
            "Remove the option ro: a pool must be able to write.",
        )
    }
}

fn not_open() -> Fault {
    Fault::new(
        FaultCode::PoolNotReady,
        "The export is not mounted.",
        "It is mounted again by itself as soon as that is possible.",
    )
}

/// Whether the server has forgotten the mount's root. Touches the mount.
fn is_stale(path: &str) -> bool {
    matches!(rustix::fs::stat(path), Err(Errno::STALE))
}

/// Checks that the folder leads to that mount, and to nothing mounted above it. Touches the mount.
fn check_seen(path: &str, line: &Line, spec: &NfsSpec) -> Result<()> {
    let stat = match rustix::fs::stat(path) {
        Ok(stat) => stat,
        Err(Errno::ACCESS | Errno::PERM) => {
            return Err(classify::squashed(spec).in_phase("look at the mount"));
        }
        Err(Errno::STALE) => return Err(classify::stale(spec).in_phase("look at the mount")),
        Err(err) => return Err(crate::error::io("look at the mount", &err.into())),
    };
    let seen = format!("{}:{}", rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev));
    if seen == line.device {
        return Ok(());
    }
    Err(Fault::new(
        FaultCode::PoolForeignMount,
        format!("{} is mounted on {path}, but something else hides it.", options::source(spec)),
        format!("See what is mounted above it on the host: findmnt -T {path}"),
    )
    .because(format!("the folder is on device {seen}, the mount is {}", line.device)))
}
