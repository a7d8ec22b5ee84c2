//! What a host's beat is held against, kept in memory: the host, the pools it should have, where its VMs stand.
//!
//! ```text
//!   beat ─▶ kept, and nothing written since? ─ yes ─▶ it        writes ─▶ the store's mark of that host moves on
//!                        └─ no: read, keep
//! ```
//! A fleet at rest reads nothing. The store's mark tells of every write, so that what is kept is never older than the
//! last one; for all that, each entry is read anew once in a while.

use quantix_model::id::{HostId, PoolId};
use quantix_store::{HostBrief, PoolRecord, Roster, Store, StoreError};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Read anew when older, whatever the mark says.
const AGE_MAX: Duration = Duration::from_secs(600);

/// A store that takes longer is not waited for when something is kept …
const PATIENCE: Duration = Duration::from_secs(1);
/// … nor asked again for so long.
const AWAY: Duration = Duration::from_secs(3);

/// One host as read.
#[derive(Debug)]
pub struct Known {
    /// The host with what is on it.
    pub roster: Roster,
    read_at: Instant,
}

/// All hosts, as far as they were asked for.
#[derive(Debug)]
pub struct Rosters {
    store: Store,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    hosts: HashMap<HostId, Arc<Known>>,
    keys: HashMap<[u8; 32], HostId>,
    /// Many hosts have the same pools: each is held once.
    pools: HashMap<PoolId, Weak<PoolRecord>>,
    /// The store did not answer, and is not asked before that.
    away_until: Option<Instant>,
}

impl Kept {
    fn share(&mut self, roster: &mut Roster) {
        for (pool, _) in &mut roster.pools {
            match self.pools.get(&pool.id).and_then(Weak::upgrade) {
                Some(same) if same == *pool => *pool = same,
                _ => drop(self.pools.insert(pool.id, Arc::downgrade(pool))),
            }
        }
    }
}

impl Rosters {
    /// Nothing known yet.
    pub fn new(store: Store) -> Rosters {
        Rosters { store, kept: Mutex::default() }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The host with what is on it, as the store has it now.
    pub async fn get(&self, id: HostId) -> Result<Arc<Known>, StoreError> {
        let known = self.kept().hosts.get(&id).cloned();
        if let Some(known) = known.as_ref().filter(|known| self.holds(known)) {
            return Ok(Arc::clone(known));
        }
        if let Some(known) = known.as_ref().filter(|_| self.is_away()) {
            return Ok(Arc::clone(known));
        }
        let read = self.store.host_roster(id);
        // Whoever has something to go on with does not wait for a store that is gone.
        let read = match &known {
            None => read.await,
            Some(_) => tokio::time::timeout(PATIENCE, read)
                .await
                .unwrap_or_else(|_| Err(StoreError::Unavailable("it takes too long".to_owned()))),
        };
        match read {
            Ok(mut roster) => {
                let mut kept = self.kept();
                kept.share(&mut roster);
                let known = Arc::new(Known { roster, read_at: Instant::now() });
                kept.keys.insert(known.roster.host.key_sha256, id);
                kept.hosts.insert(id, Arc::clone(&known));
                Ok(known)
            }
            Err(err) => {
                if matches!(err, StoreError::NotFound { .. }) {
                    self.forget(id);
                }
                // While the store is away nothing can be written to it either: what is kept is true, and a host that
                // beats must not fall silent because of us.
                let known = known.filter(|_| err.may_pass()).ok_or(err)?;
                self.kept().away_until = Some(Instant::now() + AWAY);
                Ok(known)
            }
        }
    }

    /// The host with this key.
    pub async fn by_key(&self, key_sha256: &[u8; 32]) -> Result<Option<HostId>, StoreError> {
        let named = self.kept().keys.get(key_sha256).copied();
        if let Some(id) = named {
            match self.get(id).await {
                Ok(known) if known.roster.host.key_sha256 == *key_sha256 => return Ok(Some(id)),
                Ok(_) | Err(StoreError::NotFound { .. }) => {}
                Err(err) => return Err(err),
            }
        }
        Ok(self.store.host_find_by_key(key_sha256).await?.map(|host| host.id))
    }

    /// Every host, briefly. What is kept of none of them is read at once.
    pub async fn hosts(&self) -> Result<Vec<HostBrief>, StoreError> {
        self.store.host_brief_all().await
    }

    fn holds(&self, known: &Known) -> bool {
        self.store.host_mark(known.roster.host.id) == known.roster.mark && known.read_at.elapsed() < AGE_MAX
    }

    fn is_away(&self) -> bool {
        self.kept().away_until.is_some_and(|until| Instant::now() < until)
    }

    fn forget(&self, id: HostId) {
        let mut kept = self.kept();
        if let Some(known) = kept.hosts.remove(&id) {
            kept.keys.remove(&known.roster.host.key_sha256);
        }
    }
}
