//! Pools of this host: one owner task each, a worker process behind it, and the report in front.
//!
//! ```text
//!   NodeService, beat answer ──▶ Pools ──(ledger first)──▶ owner task ──▶ PoolLauncher ──▶ worker process
//!                                  │                           │ every 10 s: info
//!   uploads, volumes, files ───────┴── worker, with a deadline ─┘──▶ report ──▶ beat
//! ```
//! The daemon itself never touches a pool's path: only workers do, and a worker may hang without anybody else
//! noticing but those who asked this pool.

mod listing;
mod owner;

use crate::clock;
use crate::ledger::{Book, Ledger, PoolEntry, bury};
use listing::Listings;
pub use owner::Workers;
use owner::{Owner, Wish};
use quantix_contract::quantix::node::v1::{BeatResponse, PoolIntent};
use quantix_model::id::{ImageId, PoolId, VolumeId};
use quantix_model::pool::{Capabilities, PoolReport, PoolSpec, change};
use quantix_model::{Fault, FaultCode, UnixMs};
use quantix_storage::backend::{Attachment, LettingGo, VolumeInfo};
use quantix_storage::explore::{Found, Question};
use quantix_storage::worker::{PoolWorker, WorkerState, explore};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Whoever looks at a pool has an answer within a second, also while a worker hangs that nobody has found out yet:
/// its own patience is longer, because slow is not dead.
const PROMPT: Duration = Duration::from_millis(900);

/// A host that leaves its vDC waits no longer for a pool to be unmounted.
const RELEASE_DEADLINE: Duration = Duration::from_secs(10);

/// A pool this host should have.
#[derive(Clone, Debug)]
pub struct Intent {
    /// Which.
    pub id: PoolId,
    /// Of the intent.
    pub generation: u64,
    /// Its name.
    pub name: String,
    /// What it should be.
    pub spec: PoolSpec,
    /// This time the host may make what all hosts share. Never written down: it is good for one attempt.
    pub may_make: bool,
}

impl TryFrom<&PoolIntent> for Intent {
    type Error = Fault;
    fn try_from(intent: &PoolIntent) -> Result<Intent, Fault> {
        let spec = intent.spec.as_option().ok_or_else(|| {
            Fault::invalid("spec", "The field spec is missing.", "Say what the pool should be.")
        })?;
        let spec = PoolSpec::try_from(spec)?;
        spec.check()?;
        quantix_model::name::check_title("name", &intent.name)?;
        Ok(Intent {
            id: intent.pool_id.parse()?,
            generation: intent.generation,
            name: intent.name.clone(),
            spec,
            may_make: intent.may_make,
        })
    }
}

/// The pools.
pub struct Pools {
    workers: Workers,
    ledger: Ledger,
    owners: Mutex<BTreeMap<PoolId, Owner>>,
    /// Pools somebody is letting go of, and how many do.
    leaving: Mutex<BTreeMap<PoolId, usize>>,
    listings: Listings,
    /// Whoever looks for what pools could be made of.
    explorer: tokio::sync::Mutex<()>,
    changed: Arc<Notify>,
}

impl Pools {
    /// The pools of the ledger; their owners start at once.
    pub fn recover(workers: Workers, ledger: Ledger, changed: Arc<Notify>) -> Arc<Pools> {
        let book = ledger.book();
        let pools = Arc::new(Pools {
            workers,
            ledger,
            owners: Mutex::default(),
            leaving: Mutex::default(),
            listings: Listings::default(),
            explorer: Default::default(),
            changed,
        });
        for (id, entry) in &book.pools {
            pools.owner(*id, entry, false);
        }
        pools
    }

    fn owners(&self) -> MutexGuard<'_, BTreeMap<PoolId, Owner>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn owner(&self, id: PoolId, entry: &PoolEntry, may_make: bool) -> Owner {
        let start = || {
            let ledger = self.ledger.clone();
            let wish = Wish { entry: entry.clone(), may_make };
            owner::start(id, wish, self.workers.clone(), ledger, Arc::clone(&self.changed))
        };
        self.owners().entry(id).or_insert_with(start).clone()
    }

    /// What is known of each pool, without asking anybody.
    pub fn reports(&self) -> Vec<(PoolId, PoolReport)> {
        self.owners().iter().map(|(id, owner)| (*id, owner.report())).collect()
    }

    /// Waits until each pool of now was looked at once, well or badly.
    pub async fn looked_at(&self) {
        let owners: Vec<Owner> = self.owners().values().cloned().collect();
        futures::future::join_all(owners.iter().map(Owner::looked_at)).await;
    }

    /// Makes a pool present; answers how the first try went, or how it is when it was there already.
    pub async fn apply(&self, intent: Intent) -> Result<PoolReport, Fault> {
        let (id, may_make) = (intent.id, intent.may_make);
        let entry = self.ledger.update(move |book| take_up(book, intent, clock::now())).await?;
        Ok(self.owner(id, &entry, may_make).apply(Wish { entry, may_make }).await)
    }

    /// Lets go of a pool: unmounts it, logs out; its files stay. Refused while a VM uses it, and when the pool itself
    /// says that something does, unless `how` is forced.
    ///
    /// It is struck out of the ledger last: a daemon that dies before finds the pool again and is told again, and no
    /// mount is left that nobody knows of.
    pub async fn release(&self, id: PoolId, generation: u64, how: LettingGo) -> Result<(), Fault> {
        let _leaving = Leaving::begin(self, id);
        let there = may_let_go(&self.ledger.book(), id, generation)?;
        let owner = self.owners().get(&id).cloned();
        if let Some(owner) = &owner {
            let worker = owner.view().worker;
            let gone = worker.destroy(how).await;
            // What a worker that serves refuses, it has a reason for; one that does not serve holds nothing more.
            let serves = worker.status().state == WorkerState::Ready;
            match gone {
                Ok(()) => {}
                Err(fault) if there && serves && how == LettingGo::Orderly => {
                    return self.noting(id, Err(fault));
                }
                Err(fault) => tracing::warn!(%fault, pool = %id, "the pool is left as it is"),
            }
        }
        let removed = self.ledger.update(move |book| let_go(book, id, generation, clock::now())).await?;
        if let Some(owner) = owner {
            self.owners().remove(&id);
            owner.stop().await;
        }
        if removed {
            tracing::info!(pool = %id, ?how, "pool released");
        }
        self.changed.notify_one();
        Ok(())
    }

    fn leaving(&self) -> MutexGuard<'_, BTreeMap<PoolId, usize>> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes true what the vDC answered to a beat sent at `sent_at`: newer or missing pools are taken up, and what it
    /// says is over is let go of. A pool it does not speak of is kept: a vDC whose time went back does not know it.
    /// What changed here after the beat was sent is left alone: the answer may not know of it.
    pub async fn converge(&self, answer: &BeatResponse, sent_at: UnixMs) {
        let book = self.ledger.book();
        for intent in &answer.pools {
            let intent = match Intent::try_from(intent) {
                Ok(intent) => intent,
                Err(fault) => {
                    tracing::warn!(%fault, pool = intent.pool_id, "the vDC wants a pool that cannot be");
                    continue;
                }
            };
            let late = book.released_pools.get(&intent.id).is_some_and(|t| t.at >= sent_at);
            let have = book.pools.get(&intent.id).is_some_and(|p| p.generation >= intent.generation);
            if !late && !have {
                self.take_up_quietly(intent).await;
            }
        }
        for over in &answer.released {
            let Ok(id) = over.pool_id.parse::<PoolId>() else { continue };
            let has = book.pools.get(&id).is_some_and(|p| p.applied_at < sent_at);
            if !has || self.leaving().contains_key(&id) {
                continue;
            }
            match self.release(id, over.generation, LettingGo::Orderly).await {
                Ok(()) => {}
                Err(fault) => tracing::info!(%fault, pool = %id, "a pool is no longer wanted, and stays"),
            }
        }
    }

    /// Writes the intent down and lets the owner work; the report tells how it goes.
    async fn take_up_quietly(&self, intent: Intent) {
        let id = intent.id;
        match self.ledger.update(move |book| take_up(book, intent, clock::now())).await {
            Ok(entry) => self.owner(id, &entry, false).apply_later(entry),
            Err(fault) => tracing::warn!(%fault, pool = %id, "a pool could not be taken up"),
        }
    }

    /// Stops all workers and takes no more work; the ledger keeps what should be.
    pub async fn let_go_of_all(&self) {
        let owners = std::mem::take(&mut *self.owners());
        futures::future::join_all(owners.into_values().map(|owner| async move { owner.stop().await })).await;
    }

    /// Ends with all pools for good: those no VM uses are let go of, as far as they let themselves.
    pub async fn release_all(&self) {
        let book = self.ledger.book();
        let owners = std::mem::take(&mut *self.owners());
        let ends = owners.into_iter().map(|(id, owner)| {
            let used = book.vms.values().any(|vm| vm.pools.contains(&id));
            async move {
                if !used {
                    let worker = owner.view().worker;
                    let gone = worker.destroy(LettingGo::Orderly);
                    match tokio::time::timeout(RELEASE_DEADLINE, gone).await {
                        Ok(Ok(())) => {}
                        Ok(Err(fault)) => tracing::warn!(%fault, pool = %id, "the pool is left as it is"),
                        Err(_) => tracing::warn!(pool = %id, "the pool does not answer and is left as it is"),
                    }
                }
                owner.stop().await;
            }
        });
        futures::future::join_all(ends).await;
    }

    /// The worker of a pool; it refuses by itself, and at once, while the pool is not usable.
    pub fn worker(&self, id: PoolId) -> Result<PoolWorker, Fault> {
        self.owners().get(&id).map(|owner| owner.view().worker).ok_or_else(|| not_assigned(id))
    }

    /// What a pool said last that it can do; nothing while it was not looked at.
    pub fn capabilities(&self, id: PoolId) -> Result<Capabilities, Fault> {
        self.owners().get(&id).map(|owner| owner.report().capabilities).ok_or_else(|| not_assigned(id))
    }

    /// Looks at the pool soon: something in it changed, or a request to it failed.
    pub fn look_again(&self, id: PoolId) {
        if let Some(owner) = self.owners().get(&id) {
            owner.look_again();
        }
    }

    /// Where a VM finds a volume.
    pub async fn volume_attach(&self, pool: PoolId, id: VolumeId) -> Result<Attachment, Fault> {
        self.noting(pool, self.worker(pool)?.volume_attach(id).await)
    }

    /// Where a VM finds an image.
    pub async fn image_attach(&self, pool: PoolId, id: ImageId) -> Result<Attachment, Fault> {
        self.noting(pool, self.worker(pool)?.image_attach(id).await)
    }

    /// Tries the pool again now, and waits a moment for it to come back.
    /// `take_in`: also what grew outside.
    pub async fn retry(&self, id: PoolId, take_in: bool) -> Result<PoolReport, Fault> {
        let owner = self.owners().get(&id).cloned().ok_or_else(|| not_assigned(id))?;
        let worker = owner.view().worker;
        worker.retry();
        if worker.status().state == WorkerState::Ready {
            // It may take longer than anybody waits; the look after it tells.
            let again = owner.clone();
            tokio::spawn(async move {
                if let Err(fault) = worker.refresh(take_in).await {
                    tracing::info!(%fault, pool = %id, "could not take in what changed outside");
                }
                again.look_again();
            });
        }
        Ok(owner.look_now(PROMPT).await)
    }

    /// Finds out what pools could be made of. Two that look at once could sign each other out.
    pub async fn explore(&self, question: &Question, patience: Duration) -> Result<Found, Fault> {
        let _alone = self.explorer.try_lock().map_err(|_| {
            let message = "The host is looking for targets, exports or pools already.";
            Fault::new(
                FaultCode::Busy,
                message,
                "Wait until that has ended, a minute at most, and ask again.",
            )
        })?;
        explore(question, Arc::clone(&self.workers.launcher), patience).await
    }

    /// Asks a worker something that changes nothing, and does not wait long.
    pub async fn promptly<T>(
        &self,
        pool: PoolId,
        call: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let fault = || {
            Fault::new(
                FaultCode::PoolStalled,
                "The pool does not answer.",
                "Try again in a moment; if it stays so, look at the pool's state and the storage behind it.",
            )
        };
        self.in_time(pool, call, fault).await
    }

    /// All volumes of ours in a pool. A list that takes long is made all the same, for whoever asks again.
    pub async fn volumes(&self, pool: PoolId) -> Result<Vec<VolumeInfo>, Fault> {
        let listed = self.listings.get(pool, self.worker(pool)?, PROMPT);
        let fault = || {
            Fault::new(
                FaultCode::PoolStalled,
                "The pool has not listed its volumes yet.",
                "Ask again in a moment: the list is being made. If it stays so, look at the pool's state.",
            )
            .because(format!("no answer for {} ms", PROMPT.as_millis()))
        };
        self.noting(pool, listed.await.unwrap_or_else(|| Err(fault())))
    }

    /// Asks a worker for a small change, and does not wait long.
    pub async fn prompt_change<T>(
        &self,
        pool: PoolId,
        call: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let fault = || {
            Fault::new(
                FaultCode::DeadlineExceeded,
                "The pool does not answer.",
                "It may still happen: look again in a moment; if it stays so, look at the pool's state.",
            )
        };
        self.in_time(pool, call, fault).await
    }

    async fn in_time<T>(
        &self,
        pool: PoolId,
        call: impl Future<Output = Result<T, Fault>>,
        fault: impl FnOnce() -> Fault,
    ) -> Result<T, Fault> {
        let result = tokio::time::timeout(PROMPT, call).await.unwrap_or_else(|_| {
            self.look_again(pool);
            Err(fault().because(format!("no answer for {} ms", PROMPT.as_millis())))
        });
        self.noting(pool, result)
    }

    /// Passes a result on; one that says something about the pool's health makes its owner look.
    pub fn noting<T>(&self, pool: PoolId, result: Result<T, Fault>) -> Result<T, Fault> {
        if let Err(fault) = &result
            && matches!(
                fault.code,
                FaultCode::PoolStalled
                    | FaultCode::PoolIoFailed
                    | FaultCode::PoolReadOnly
                    | FaultCode::PoolFull
                    | FaultCode::PoolNotReady
            )
        {
            self.look_again(pool);
        }
        result
    }
}

/// The fault for a pool this host was never given.
pub fn not_assigned(id: PoolId) -> Fault {
    Fault::new(
        FaultCode::PoolNotAssigned,
        "The pool is not assigned to this host.",
        "Assign the pool to this host first.",
    )
    .because(format!("pool {id}"))
}

fn stale(asked: u64, newest: u64) -> Fault {
    Fault::new(
        FaultCode::StaleGeneration,
        "This was asked for an older state of the pool.",
        "Look at the pool again, then repeat it if it is still wanted.",
    )
    .because(format!("asked for generation {asked}, the host has {newest}"))
}

/// Writes an intent down. The same one again keeps its first time.
fn take_up(book: &mut Book, intent: Intent, now: UnixMs) -> Result<PoolEntry, Fault> {
    if let Some(grave) = book.released_pools.get(&intent.id)
        && intent.generation < grave.generation
    {
        return Err(stale(intent.generation, grave.generation));
    }
    if let Some(current) = book.pools.get(&intent.id) {
        if intent.generation < current.generation {
            return Err(stale(intent.generation, current.generation));
        }
        if intent.generation == current.generation {
            if current.spec != intent.spec {
                return Err(Fault::new(
                    FaultCode::Conflict,
                    "The host has this generation of the pool with another content.",
                    "Change the pool once more, so that it gets a new generation.",
                ));
            }
            return Ok(current.clone());
        }
    }
    let Intent { id, generation, name, spec, may_make: _ } = intent;
    // Reached in another way it is still the same place, and never started anew where it is empty.
    let was_healthy =
        book.pools.get(&id).is_some_and(|p| p.was_healthy && change::moved(&p.spec, &spec).is_none());
    let entry = PoolEntry { generation, name, spec, applied_at: now, was_healthy };
    book.pools.insert(id, entry.clone());
    Ok(entry)
}

/// Whether the pool is there to be let go of. Refused while a VM uses it.
fn may_let_go(book: &Book, id: PoolId, generation: u64) -> Result<bool, Fault> {
    let current = book.pools.get(&id).map(|p| p.generation);
    let newest = current.max(book.released_pools.get(&id).map(|t| t.generation));
    if let Some(newest) = newest.filter(|newest| generation < *newest) {
        return Err(stale(generation, newest));
    }
    let users: Vec<&str> =
        book.vms.values().filter(|vm| vm.pools.contains(&id)).map(|vm| vm.name.as_str()).collect();
    if current.is_some() && !users.is_empty() {
        return Err(Fault::new(
            FaultCode::PoolInUse,
            format!("The pool is used by {} on this host.", listing(&users)),
            "Delete these VMs, or move their disks away, then try again.",
        ));
    }
    Ok(current.is_some())
}

/// Strikes a pool out; false when it was not there. Refused while a VM uses it.
fn let_go(book: &mut Book, id: PoolId, generation: u64, now: UnixMs) -> Result<bool, Fault> {
    let there = may_let_go(book, id, generation)?;
    book.pools.remove(&id);
    bury(&mut book.released_pools, id, generation, now);
    Ok(there)
}

/// Held while a pool is let go of: a beat's answer that comes meanwhile need not wait for it again.
struct Leaving<'a> {
    pools: &'a Pools,
    id: PoolId,
}

impl<'a> Leaving<'a> {
    fn begin(pools: &'a Pools, id: PoolId) -> Leaving<'a> {
        *pools.leaving().entry(id).or_default() += 1;
        Leaving { pools, id }
    }
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let mut leaving = self.pools.leaving();
        if let Some(count) = leaving.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                leaving.remove(&self.id);
            }
        }
    }
}

fn listing(names: &[&str]) -> String {
    let shown: Vec<&str> = names.iter().take(5).copied().collect();
    let rest = names.len() - shown.len();
    let word = if names.len() == 1 { "the VM" } else { "the VMs" };
    if rest > 0 {
        format!("{word} {} and {rest} more", shown.join(", "))
    } else {
        format!("{word} {}", shown.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::VmEntry;
    use quantix_model::id::VmId;
    use quantix_model::pool::{NfsSpec, NfsVersion};
    use uuid::Uuid;

    fn intent(generation: u64, path: &str) -> Intent {
        Intent {
            id: PoolId(Uuid::from_u128(1)),
            generation,
            name: "main".into(),
            spec: PoolSpec::local(path),
            may_make: false,
        }
    }

    const ID: PoolId = PoolId(Uuid::from_u128(1));

    #[test]
    fn older_intents_are_refused_and_equal_ones_change_nothing() {
        let mut book = Book::default();
        take_up(&mut book, intent(2, "/a"), UnixMs(1)).unwrap();
        assert_eq!(take_up(&mut book, intent(2, "/a"), UnixMs(9)).unwrap().applied_at, UnixMs(1));
        let code = |r: Result<PoolEntry, Fault>| r.unwrap_err().code;
        assert_eq!(code(take_up(&mut book, intent(1, "/a"), UnixMs(9))), FaultCode::StaleGeneration);
        assert_eq!(code(take_up(&mut book, intent(2, "/b"), UnixMs(9))), FaultCode::Conflict);
        assert_eq!(take_up(&mut book, intent(3, "/b"), UnixMs(9)).unwrap().generation, 3);
        assert!(let_go(&mut book, ID, 3, UnixMs(10)).unwrap());
        assert!(!let_go(&mut book, ID, 3, UnixMs(11)).unwrap());
        assert_eq!(code(take_up(&mut book, intent(2, "/a"), UnixMs(12))), FaultCode::StaleGeneration);
        assert!(take_up(&mut book, intent(3, "/b"), UnixMs(13)).is_ok());
    }

    #[test]
    fn a_place_that_is_reached_in_another_way_keeps_that_it_was_healthy() {
        let nfs = |export: &str, options: &str| {
            let spec = NfsSpec {
                server: "nas".into(),
                export: export.into(),
                version: NfsVersion::V41,
                options: options.into(),
                mount_path: String::new(),
            };
            PoolSpec::Nfs(spec)
        };
        let mut book = Book::default();
        let with = |generation, spec| Intent { spec, ..intent(generation, "/a") };
        take_up(&mut book, with(1, nfs("/x", "")), UnixMs(1)).unwrap();
        book.pools.get_mut(&ID).unwrap().was_healthy = true;
        assert!(take_up(&mut book, with(2, nfs("/x", "hard")), UnixMs(2)).unwrap().was_healthy);
        assert!(!take_up(&mut book, with(3, nfs("/y", "hard")), UnixMs(3)).unwrap().was_healthy);
    }

    #[test]
    fn a_pool_in_use_is_kept_and_its_users_are_named() {
        let mut book = Book::default();
        take_up(&mut book, intent(1, "/a"), UnixMs(1)).unwrap();
        for n in 0..7 {
            let vm =
                VmEntry { name: format!("web-{n}"), generation: 1, pools: vec![ID], ..VmEntry::default() };
            book.vms.insert(VmId(Uuid::from_u128(n)), vm);
        }
        let fault = let_go(&mut book, ID, 1, UnixMs(2)).unwrap_err();
        assert_eq!(fault.code, FaultCode::PoolInUse);
        assert!(fault.message.contains("web-0") && fault.message.contains("2 more"), "{fault}");
        assert!(book.pools.contains_key(&ID));
        book.vms.clear();
        assert!(let_go(&mut book, ID, 1, UnixMs(3)).unwrap());
    }
}
