//! This host's disks: who looks at them is answered soon, and one at a time is made a pool's.
//!
//! ```text
//!   ListDevices ──▶ a look under way? ──no──▶ begin one ──┐
//!                         └──yes──────────────────────────┴─▶ wait a moment ─┬─ done ─▶ answer
//!                                                                            └─ not yet ─▶ "ask again" (it goes on)
//!   InitialiseDevice ──▶ turn ──▶ a thread: look, note in the ledger, change, strike the note ──▶ answer
//! ```
//! A caller that goes away stops nothing; the same call again waits for its turn and finds the work done.

use crate::clock;
use crate::ledger::Ledger;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use quantix_host::program::BlockingRunner;
use quantix_model::device::BlockDevice;
use quantix_model::id::PoolId;
use quantix_model::{Fault, FaultCode, UnixMs};
use quantix_storage::device::{Disks, Wish};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;

/// Whoever looks has an answer by then.
const PROMPT: Duration = Duration::from_millis(1200);
/// A look that nobody fetched is of no use after so long.
const KEPT: Duration = Duration::from_secs(15);

type Seen = Result<(Arc<Vec<BlockDevice>>, UnixMs), Fault>;
type Looking = Shared<BoxFuture<'static, Seen>>;

/// The disks.
pub struct Devices {
    disks: Arc<Disks>,
    ledger: Ledger,
    looking: Mutex<Option<(tokio::time::Instant, Looking)>>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Devices {
    /// Asked by these programs.
    pub fn new(runner: Arc<dyn BlockingRunner>, ledger: Ledger) -> Devices {
        Devices {
            disks: Arc::new(Disks::new(runner)),
            ledger,
            looking: Mutex::default(),
            turn: Arc::default(),
        }
    }

    /// All disks, and when they were looked at. A look that takes long goes on for whoever asks again.
    pub async fn list(&self) -> Seen {
        let looking = {
            let mut slot = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
            let stale = |(begun, seen): &(tokio::time::Instant, Looking)| {
                seen.peek().is_some() && begun.elapsed() > KEPT
            };
            if slot.as_ref().is_some_and(stale) {
                *slot = None;
            }
            let begin = || {
                let disks = Arc::clone(&self.disks);
                let look = async move {
                    let seen = tokio::task::spawn_blocking(move || disks.list()).await;
                    let seen = seen.map_err(Fault::internal)??;
                    Ok((Arc::new(seen), clock::now()))
                };
                let look = look.boxed().shared();
                // It goes on when everybody who asked has gone.
                tokio::spawn(look.clone());
                (tokio::time::Instant::now(), look)
            };
            slot.get_or_insert_with(begin).1.clone()
        };
        let seen = tokio::time::timeout(PROMPT, looking.clone()).await.map_err(|_| slow())?;
        let mut slot = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.as_ref().is_some_and(|(_, there)| there.ptr_eq(&looking)) {
            *slot = None;
        }
        seen
    }

    /// Makes a disk a pool's. Goes on when the caller goes away.
    pub async fn initialise(&self, wish: Wish) -> Result<(), Fault> {
        let (disks, ledger, turn) = (Arc::clone(&self.disks), self.ledger.clone(), Arc::clone(&self.turn));
        let work = async move {
            let _turn = turn.lock().await;
            let pool = wish.pool;
            let begun = ledger.book().begun_disks.get(&pool).is_some_and(|noted| *noted == wish.fingerprint);
            let wish = Wish { begun, ..wish };
            let (notes, runtime) = (ledger.clone(), Handle::current());
            let done = tokio::task::spawn_blocking(move || {
                disks.initialise(&wish, &|| runtime.block_on(note(&notes, pool, &wish.fingerprint)))
            });
            done.await.map_err(Fault::internal)??;
            strike(&ledger, pool).await
        };
        tokio::spawn(work).await.map_err(Fault::internal)?
    }
}

fn slow() -> Fault {
    Fault::new(
        FaultCode::DeadlineExceeded,
        "The host's disks have not all answered yet.",
        "Ask again in a moment: the look goes on. If it stays so, look at the host's kernel log.",
    )
    .because(format!("no answer for {} ms", PROMPT.as_millis()))
}

/// From now on what is on the disk is ours to destroy, also for a daemon after this one.
async fn note(ledger: &Ledger, pool: PoolId, fingerprint: &str) -> Result<(), Fault> {
    let fingerprint = fingerprint.to_owned();
    let note = move |book: &mut crate::ledger::Book| {
        crate::ledger::note_disk(book, pool, fingerprint);
        Ok(())
    };
    ledger.update(note).await
}

async fn strike(ledger: &Ledger, pool: PoolId) -> Result<(), Fault> {
    if !ledger.book().begun_disks.contains_key(&pool) {
        return Ok(());
    }
    ledger
        .update(move |book| {
            book.begun_disks.remove(&pool);
            Ok(())
        })
        .await
}
