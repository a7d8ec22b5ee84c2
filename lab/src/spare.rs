//! More machines for a [`Cluster`]: each the real daemon on fakes, with a state folder of its own, to be switched off and
//! on, and installed anew.

use crate::cluster::{Cluster, Daemon, start_node};
use quantix_hypervisor::fake::FakeDriver;
use quantix_model::Fault;
use quantix_model::host::Accelerator;
use quantix_node::NodeHandle;
use quantix_node::join::{JoinWish, Joined};
use quantix_node::log::Query;
use quantix_storage::device::fake::FakeDisks;
use quantix_storage::worker::FakeLauncher;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// One machine.
pub struct Spare {
    dir: PathBuf,
    address: SocketAddr,
    driver: FakeDriver,
    launcher: Arc<FakeLauncher>,
    disks: FakeDisks,
    daemon: Daemon<NodeHandle>,
}

impl Spare {
    /// A machine that belongs to nobody, switched on.
    pub async fn start(cluster: &Cluster, name: &str) -> Spare {
        let dir = cluster.folder().join(name);
        std::fs::create_dir_all(&dir).expect("a folder can be made");
        let (driver, launcher) = (FakeDriver::new(Accelerator::Tcg), FakeLauncher::new());
        let disks = FakeDisks::default();
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let daemon = start_node(&dir, listen, &driver, &launcher, &disks).await;
        let address = daemon.handle.as_ref().expect("just started").address();
        Spare { dir, address, driver, launcher, disks, daemon }
    }

    /// `kill -9` of the daemon.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }

    /// Starts the daemon on what it left behind.
    pub async fn restart(&mut self) {
        self.daemon = start_node(&self.dir, self.address, &self.driver, &self.launcher, &self.disks).await;
    }

    /// Forgets everything, as an installation does, and starts.
    pub async fn reinstall(&mut self) {
        self.kill();
        std::fs::remove_dir_all(self.dir.join("node")).expect("it was started before");
        self.restart().await;
    }

    fn handle(&self) -> &NodeHandle {
        self.daemon.handle.as_ref().expect("it is switched on")
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Its state folder.
    pub fn state_dir(&self) -> PathBuf {
        self.dir.join("node")
    }

    /// A new registration token.
    pub async fn token(&self) -> String {
        self.handle().token().await.expect("a token is made")
    }

    /// Whether it belongs to a vDC.
    pub fn is_registered(&self) -> bool {
        self.handle().is_registered()
    }

    /// Joins a vDC.
    pub async fn join(&self, vdc: &str, token: &str, name: &str) -> Result<Joined, Fault> {
        let wish = JoinWish { vdc: vdc.into(), token: token.into(), url: String::new(), name: name.into() };
        self.handle().join(wish).await
    }

    /// What it wrote down lately, as one text.
    pub fn said(&self) -> String {
        let query = Query { limit: usize::MAX, ..Query::default() };
        self.handle().logs().look(&query).records.iter().map(|r| r.message.clone() + "\n").collect()
    }
}
