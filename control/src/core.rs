//! What every service stands on: store, clock, bus, tasks, certificates, settings. Made once at start.

use crate::bus::Bus;
use crate::clock::Clock;
use crate::config::Config;
use crate::health::StoreHealth;
use crate::metrics::Metrics;
use crate::pki::Pki;
use crate::roster::Rosters;
use crate::seal::Seal;
use crate::services::{audit, right};
use crate::tasks::Tasks;
use quantix_model::UnixMs;
use quantix_store::Store;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The ground. Shared as `Arc<Core>`.
#[derive(Debug)]
pub struct Core {
    /// What must survive.
    pub store: Store,
    /// Whether it takes writes.
    pub store_health: Arc<StoreHealth>,
    /// What beats are held against.
    pub rosters: Rosters,
    /// The time.
    pub clock: Clock,
    /// Who changed.
    pub bus: Bus,
    /// Long work.
    pub tasks: Tasks,
    /// What people may do.
    pub rights: right::Known,
    /// Who did what.
    pub audit: audit::Log,
    /// For secrets in the store.
    pub seal: Arc<Seal>,
    /// Our certificate authority and our own certificate.
    pub pki: Pki,
    /// As started with.
    pub config: Config,
    /// Figures of this process.
    pub metrics: Metrics,
    /// `https://…` that hosts are told to report to.
    pub host_facing_url: String,
    /// Origin under which browsers reach us, without a slash at its end.
    pub public_url: String,
    /// New at each start.
    pub epoch: String,
    /// This start.
    pub started_at: UnixMs,
    /// Fires when the vDC stops: loops and streams end then.
    pub stop: CancellationToken,
    /// Background work that stopping waits for.
    pub background: TaskTracker,
}

impl Core {
    /// Where identity providers send people back to: the same for all of them, and what is entered there.
    pub fn redirect_uri(&self) -> String {
        format!("{}/api/v1/sign-in/oidc/callback", self.public_url)
    }

    /// Starts background work that ends by itself when `stop` fires.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.background.spawn(work);
    }
}
