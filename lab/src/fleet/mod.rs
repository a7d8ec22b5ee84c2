//! Thousands of hosts in one process, against a real vDC over real mutual TLS.
//!
//! ```text
//!   seed ──▶ the vDC's store and its CA: hosts, pools, VMs, a certificate for each host's own key
//!   host ──▶ quantix_node::beat, the real one: digest, figures, jitter, retry, back-off ──mTLS──▶ vDC
//!     └── its body: pools and VMs that are numbers, and what goes wrong with them (plan)
//! ```
//! What is real and what is not stands in `docs/decisions/012-simulated-hosts.md`.

pub mod host;
pub mod plan;
pub mod seed;
pub mod vdc;

use crate::fleet::host::{Host, Shared};
use crate::fleet::plan::Plan;
use crate::fleet::seed::Seeded;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Beyond so many hosts, those that come later connect for each beat anew: a process may hold 20,000 files.
pub const LINES_MAX: usize = 16_000;

/// What happened to beats, counted at the hosts.
#[derive(Debug, Default)]
pub struct Counts {
    /// Sent and answered.
    pub answered: AtomicU64,
    /// Refused, lost or not answered in time.
    pub failed: AtomicU64,
    /// Among the answered: those that told everything.
    pub whole: AtomicU64,
    /// How long answers took since somebody asked, in microseconds.
    waits: Mutex<Vec<u32>>,
}

impl Counts {
    fn waits(&self) -> MutexGuard<'_, Vec<u32>> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answered(&self, whole: bool, after: Duration) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        self.whole.fetch_add(u64::from(whole), Ordering::Relaxed);
        self.waits().push(u32::try_from(after.as_micros()).unwrap_or(u32::MAX));
    }

    /// How long answers took since this was asked last.
    pub fn take_waits(&self) -> Vec<Duration> {
        let taken = std::mem::take(&mut *self.waits());
        taken.into_iter().map(|us| Duration::from_micros(us.into())).collect()
    }
}

/// Hosts that beat until they are stopped.
pub struct Fleet {
    /// The hosts, by number.
    pub hosts: Vec<Arc<Host>>,
    /// What happened to their beats.
    pub counts: Arc<Counts>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Fleet {
    /// Starts all hosts, spread over `ramp`, against the vDC at `url`.
    pub fn start(seeded: &Seeded, url: &str, plan: &Plan, ramp: Duration) -> Fleet {
        let counts = Arc::new(Counts::default());
        let shared = Arc::new(Shared::new(url, &seeded.ca_pem, Arc::clone(&counts)));
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let mut hosts = Vec::with_capacity(seeded.hosts.len());
        let all = u32::try_from(seeded.hosts.len()).unwrap_or(u32::MAX).max(1);
        for (n, seed) in (0..).zip(&seeded.hosts) {
            let keeps_line = usize::try_from(n).is_ok_and(|n| n < LINES_MAX);
            let host = Arc::new(Host::new(seed, plan.of(n), keeps_line, Arc::clone(&shared)));
            hosts.push(Arc::clone(&host));
            let (stop, begin) = (stop.clone(), ramp * n / all);
            tasks.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(begin) => host.live(stop.clone()).await,
                }
            });
        }
        tasks.close();
        Fleet { hosts, counts, stop, tasks }
    }

    /// Ends all hosts.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}
