//! Starting workers: as processes for real, as threads with the fake backend in tests. Both run the same loop.

use crate::backend::PoolSetup;
use crate::error::Result;
use crate::fake::FakePool;
use crate::worker::serve;
use quantix_model::id::PoolId;
use quantix_model::{Fault, FaultCode};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::HashMap;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

/// Starts pool workers.
pub trait PoolLauncher: Send + Sync + 'static {
    /// Starts a worker. It is told what to serve over the stream. May block for milliseconds, never on a pool.
    fn launch(&self, setup: &PoolSetup) -> Result<Launched>;
}

/// A worker that was started.
pub struct Launched {
    /// Our end of the socket pair.
    pub stream: UnixStream,
    /// The worker itself.
    pub process: Box<dyn WorkerProcess>,
    /// What it writes to standard error, where that is its own.
    pub stderr: Option<OwnedFd>,
}

/// A running worker. Dropping it kills it.
pub trait WorkerProcess: Send {
    /// Process id, or a number that stands for it.
    fn id(&self) -> u32;
    /// Ends it; it may still take for ever to go.
    fn kill(&mut self);
    /// Whether it is gone; never blocks.
    fn is_gone(&mut self) -> bool;
    /// How it ended, in the system's words; empty while it is there, and when nobody knows.
    fn ended_how(&mut self) -> String;
}

/// Starts a program per pool; the socket is its standard input.
pub struct ProcessLauncher {
    orders: mpsc::Sender<Order>,
}

type Order = (UnixStream, mpsc::SyncSender<std::io::Result<Child>>);

impl ProcessLauncher {
    /// Starts `program` with `args` for each pool.
    pub fn new(program: impl Into<PathBuf>, args: Vec<OsString>) -> Result<ProcessLauncher> {
        let program = program.into();
        let (orders, inbox) = mpsc::channel::<Order>();
        // A worker dies with the thread that started it (PR_SET_PDEATHSIG), so that thread must live as long as the
        // launcher: no thread of a pool that shrinks.
        std::thread::Builder::new()
            .name("pool-launcher".into())
            .stack_size(256 << 10)
            .spawn(move || {
                for (socket, answer) in inbox {
                    let mut command = Command::new(&program);
                    command.args(&args).stdin(Stdio::from(OwnedFd::from(socket))).stdout(Stdio::null());
                    command.stderr(Stdio::piped()).current_dir("/").process_group(0);
                    // The asker waits for the answer; if it does not, the child is killed by its closed socket.
                    let _ = answer.send(command.spawn());
                }
            })
            .map_err(Fault::internal)?;
        Ok(ProcessLauncher { orders })
    }

    /// Starts this very program with `pool-worker` as its only argument.
    pub fn this_program() -> Result<ProcessLauncher> {
        ProcessLauncher::new("/proc/self/exe", vec!["pool-worker".into()])
    }
}

impl PoolLauncher for ProcessLauncher {
    fn launch(&self, _: &PoolSetup) -> Result<Launched> {
        let failed = |why: &dyn std::fmt::Display| {
            Fault::new(
                FaultCode::PoolNotReady,
                "The pool's worker could not be started.",
                "Look at the host's memory and process limits.",
            )
            .because(why)
        };
        let (ours, theirs) = UnixStream::pair().map_err(|e| failed(&e))?;
        let (sender, answer) = mpsc::sync_channel(1);
        self.orders.send((theirs, sender)).map_err(|e| failed(&e))?;
        let mut child = answer.recv().map_err(|e| failed(&e))?.map_err(|e| failed(&e))?;
        let stderr = child.stderr.take().map(OwnedFd::from);
        Ok(Launched { stream: ours, process: Box::new(ChildProcess { child: Some(child) }), stderr })
    }
}

struct ChildProcess {
    child: Option<Child>,
}

impl WorkerProcess for ChildProcess {
    fn id(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    fn kill(&mut self) {
        if let Some(child) = &mut self.child
            && matches!(child.try_wait(), Ok(None))
            && let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw)
        {
            // Not reaped, so the number is still its own.
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    fn is_gone(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)))
    }

    fn ended_how(&mut self) -> String {
        let status = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
        status.map_or_else(String::new, |status| status.to_string())
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        self.kill();
        if !self.is_gone()
            && let Some(mut child) = self.child.take()
        {
            // It goes when the kernel lets it; until then somebody must wait for it. Without a thread it stays a zombie.
            let _ = std::thread::Builder::new()
                .name("pool-reaper".into())
                .stack_size(64 << 10)
                .spawn(move || child.wait());
        }
    }
}

/// Runs the worker loop on threads, over pools that live in memory and can be made to stall or fail.
#[derive(Default)]
pub struct FakeLauncher {
    pools: Mutex<HashMap<PoolId, Arc<FakePool>>>,
    launches: AtomicU32,
}

impl FakeLauncher {
    /// No pools yet; each springs up empty when it is first asked for.
    pub fn new() -> Arc<FakeLauncher> {
        Arc::default()
    }

    /// The pool with this id; its contents survive its workers.
    pub fn pool(&self, id: PoolId) -> Arc<FakePool> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(pools.entry(id).or_insert_with(FakePool::new))
    }

    /// Workers started so far.
    pub fn launches(&self) -> u32 {
        self.launches.load(Ordering::Relaxed)
    }
}

impl PoolLauncher for FakeLauncher {
    fn launch(&self, setup: &PoolSetup) -> Result<Launched> {
        let (ours, theirs) = UnixStream::pair().map_err(Fault::internal)?;
        let socket = theirs.try_clone().map_err(Fault::internal)?;
        let killed = Arc::new(AtomicBool::new(false));
        let leave = setup.may_make || !setup.spec.is_made_once();
        let backend = self.pool(setup.id).backend(Arc::clone(&killed)).with_leave(leave);
        let id = self.launches.fetch_add(1, Ordering::Relaxed) + 1;
        let thread = std::thread::Builder::new()
            .name(format!("fake-pool-{id}"))
            .spawn(move || {
                // Whether it ended well is seen by the daemon's side of the socket.
                let _ = serve(theirs, |_| Ok(Box::new(backend)));
            })
            .map_err(Fault::internal)?;
        let process = ThreadProcess { id, thread, killed, socket, pool: self.pool(setup.id) };
        Ok(Launched { stream: ours, process: Box::new(process), stderr: None })
    }
}

struct ThreadProcess {
    id: u32,
    thread: JoinHandle<()>,
    killed: Arc<AtomicBool>,
    socket: UnixStream,
    pool: Arc<FakePool>,
}

impl WorkerProcess for ThreadProcess {
    fn id(&self) -> u32 {
        self.id
    }

    fn kill(&mut self) {
        self.killed.store(true, Ordering::SeqCst);
        self.pool.wake();
        // The only failure is that the socket is closed already.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }

    fn is_gone(&mut self) -> bool {
        self.thread.is_finished()
    }

    fn ended_how(&mut self) -> String {
        String::new()
    }
}

impl Drop for ThreadProcess {
    fn drop(&mut self) {
        self.kill();
    }
}
