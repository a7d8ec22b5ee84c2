//! Lists of all volumes of a pool: they may take longer than anybody who looks should wait, so each is made once and
//! kept for whoever asks again.
//!
//! ```text
//!   ask ──▶ a list under way? ──no──▶ begin one ──┐
//!                   └──yes────────────────────────┴─▶ wait a moment ─┬─ done ─▶ answer, forget
//!                                                                    └─ not yet ─▶ "ask again" (it goes on)
//! ```

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use quantix_model::Fault;
use quantix_model::id::PoolId;
use quantix_storage::backend::VolumeInfo;
use quantix_storage::worker::PoolWorker;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A list that nobody fetched is of no use after so long.
const KEPT: Duration = Duration::from_secs(15);

type Made = Result<Vec<VolumeInfo>, Fault>;
type Making = Shared<BoxFuture<'static, Made>>;
type Begun = BTreeMap<PoolId, (Instant, Making)>;

/// Lists under way or waiting to be fetched, at most one per pool.
#[derive(Default)]
pub(super) struct Listings(Mutex<Begun>);

impl Listings {
    fn lock(&self) -> MutexGuard<'_, Begun> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The list of a pool, or `None` when it is not made within `patience`; it is then made all the same.
    pub async fn get(&self, pool: PoolId, worker: PoolWorker, patience: Duration) -> Option<Made> {
        let listing = {
            let mut listings = self.lock();
            let stale = |(begun, made): &(Instant, Making)| made.peek().is_some() && begun.elapsed() > KEPT;
            if listings.get(&pool).is_some_and(stale) {
                listings.remove(&pool);
            }
            let begin = || {
                let made = async move { worker.volume_list().await }.boxed().shared();
                // It goes on when everybody who asked has gone.
                tokio::spawn(made.clone());
                (Instant::now(), made)
            };
            listings.entry(pool).or_insert_with(begin).1.clone()
        };
        let made = tokio::time::timeout(patience, listing.clone()).await.ok()?;
        let mut listings = self.lock();
        if listings.get(&pool).is_some_and(|(_, there)| there.ptr_eq(&listing)) {
            listings.remove(&pool);
        }
        Some(made)
    }
}
