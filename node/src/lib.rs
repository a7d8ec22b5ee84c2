//! The hands: the daemon that runs on each host, carries out what the vDC wants, and reports what is.
//!
//! ```text
//!             vDC ◀──beat── beat ◀── facts, pool reports, VM table
//!              │                        ▲            ▲
//!              └──NodeService, uploads, consoles──▶ api ──▶ pool/ (one owner per pool) ──▶ worker processes
//!                                        │     └────────▶ vm/   (one owner per VM)   ──▶ hypervisor
//!   administrator ── node.sock: token ───┘
//! ```
//! `ledger` remembers, `identity` proves who we are, `registration` makes a vDC ours. Nothing here waits without a
//! deadline, and no pool or hypervisor that hangs holds up anybody who did not ask it.

mod api;
pub mod beat;
pub mod clock;
mod daemon;
mod device;
mod facts;
mod file;
pub mod identity;
pub mod join;
pub mod ledger;
pub mod log;
pub mod metrics;
pub mod pool;
pub mod registration;
pub mod renewal;
mod server;
pub mod socket;
pub mod vm;

use daemon::Daemon;
use device::Devices;
use facts::Facts;
use identity::HostIdentity;
use ledger::Ledger;
use log::Logs;
use metrics::{Counted, Metrics};
use pool::{Pools, Workers};
use quantix_host::program::BlockingRunner;
use quantix_hypervisor::driver::Driver;
use quantix_model::{Fault, FaultCode};
use quantix_storage::worker::{Limits, PoolLauncher};
use server::Tls;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use vm::Vms;

/// Release of this daemon.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Everything has this long to end.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// How a daemon is to run.
pub struct NodeOptions {
    /// Where it keeps its key and ledger. One daemon per folder.
    pub state_dir: PathBuf,
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The hypervisor.
    pub driver: Arc<dyn Driver>,
    /// What starts pool workers.
    pub launcher: Arc<dyn PoolLauncher>,
    /// How patient it is with them.
    pub pool_limits: Limits,
    /// What runs the programs that look at disks and change them.
    pub runner: Arc<dyn BlockingRunner>,
    /// Root of /proc, /sys and /etc: `/` but in tests.
    pub machine_root: PathBuf,
    /// What the program writes down: fed by the layer of it that stands in the program's subscriber.
    pub logs: Logs,
}

/// The daemon.
pub struct Node;

/// A state folder that is locked and read: the first step of a start, taken before anything else is touched.
pub struct Prepared {
    ledger: Ledger,
    identity: HostIdentity,
}

impl Node {
    /// Locks and reads the state folder; makes key and certificate at the first start.
    pub fn prepare(state_dir: &Path) -> Result<Prepared, Fault> {
        let ledger = Ledger::open(state_dir)?;
        let identity = HostIdentity::open(state_dir, clock::now())?;
        Ok(Prepared { ledger, identity })
    }

    /// Starts a daemon: recovers its pools, listens, and beats if it belongs to a vDC.
    pub async fn start(options: NodeOptions) -> Result<NodeHandle, Fault> {
        Node::prepare(&options.state_dir)?.start(options).await
    }
}

impl Prepared {
    /// Starts the daemon on what was prepared.
    pub async fn start(self, options: NodeOptions) -> Result<NodeHandle, Fault> {
        let Prepared { ledger, identity } = self;
        let NodeOptions { state_dir, listen, driver, launcher, pool_limits, runner, machine_root, logs } =
            options;
        let door = socket::listen(&state_dir)?;
        let (listener, address) = bind(listen).await?;
        let config = identity.server_config(ledger.book().registration.as_ref())?;
        let (tls, tls_now) = watch::channel(Tls { config, epoch: 1 });
        let changed = Arc::new(Notify::new());
        let metrics = Metrics::new()?;
        let driver = Counted::wrap(driver, Arc::clone(&metrics));
        let devices = Devices::new(runner, ledger.clone());
        let facts = Facts::new(machine_root);
        let observer = Some(metrics.pool_observer());
        let workers = Workers { launcher, limits: pool_limits, observer };
        let pools = Pools::recover(workers, ledger.clone(), Arc::clone(&changed));
        let vms = Vms::new(
            Arc::clone(&driver),
            ledger.clone(),
            Arc::clone(&pools),
            Arc::clone(&facts),
            Arc::clone(&changed),
        );
        let daemon = Arc::new(Daemon {
            identity,
            ledger,
            tries: Default::default(),
            renewal: Default::default(),
            pools,
            devices,
            vms: Arc::clone(&vms),
            facts: Arc::clone(&facts),
            changed: Arc::clone(&changed),
            metrics,
            logs,
            tls,
        });
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(server::serve(listener, api::app(Arc::clone(&daemon)), tls_now, stop.clone()));
        tasks.spawn(socket::serve(door, Arc::clone(&daemon), address, stop.clone()));
        tasks.spawn(vms.watch(stop.clone()));
        tasks.spawn(Arc::clone(&facts).watch_inventory(Arc::clone(&changed), stop.clone()));
        tasks.spawn(facts.watch_engine(driver, changed, stop.clone()));
        tasks.spawn(beat::run(Arc::clone(&daemon), stop.clone()));
        tasks.close();
        Ok(NodeHandle { address, daemon, stop, tasks })
    }
}

async fn bind(listen: SocketAddr) -> Result<(TcpListener, SocketAddr), Fault> {
    let refuse = |err: std::io::Error| {
        Fault::new(
            FaultCode::InvalidArgument,
            format!("The daemon cannot listen on {listen}."),
            "Free the port, or choose another one with --listen.",
        )
        .because(err)
    };
    let listener = TcpListener::bind(listen).await.map_err(refuse)?;
    let address = listener.local_addr().map_err(refuse)?;
    Ok((listener, address))
}

/// A running daemon. Dropping it stops nothing; call [`NodeHandle::stop`].
pub struct NodeHandle {
    address: SocketAddr,
    daemon: Arc<Daemon>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl NodeHandle {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes a registration token, as `quantix-node token` does.
    pub async fn token(&self) -> Result<String, Fault> {
        Ok(self.daemon.make_token().await?.0.to_string())
    }

    /// Joins a vDC, as `quantix-node join` does.
    pub async fn join(&self, wish: join::JoinWish) -> Result<join::Joined, Fault> {
        self.daemon.join(wish, self.address).await
    }

    /// What it wrote down lately.
    pub fn logs(&self) -> &Logs {
        &self.daemon.logs
    }

    /// Whether it belongs to a vDC.
    pub fn is_registered(&self) -> bool {
        self.daemon.ledger.book().registration.is_some()
    }

    /// Ends the daemon: what is under way is ended, workers stop, VMs go on running.
    pub async fn stop(self) {
        self.stop.cancel();
        self.daemon.vms.stop();
        let end = async {
            self.tasks.wait().await;
            self.daemon.pools.let_go_of_all().await;
        };
        if tokio::time::timeout(STOP_DEADLINE, end).await.is_err() {
            tracing::warn!("some work did not end in time and was left behind");
        }
        self.daemon.ledger.close().await;
    }
}
