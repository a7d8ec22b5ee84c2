//! Listens to what changed, and lets it be written down and judged.
//!
//! ```text
//!   bus ──▶ set of changed things ──(every half second)──▶ look at each once ──▶ events, alerts
//! ```
//! A burst of changes of one thing costs one look. Gathering never waits for looking, so that nobody falls behind the bus.
//! At its start the vDC looks at what has changed or gone while it was away. What depends on the time alone (a pool
//! that is waited for, a certificate that expires) is looked at again now and then.

use crate::bus::{Thing, VdcCertificate};
use crate::services::{App, alert, event};
use quantix_model::Fault;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// Changes are gathered for so long: states that last shorter are no news.
const GATHER: Duration = Duration::from_millis(500);
/// Looking takes a quarter of the time at most, so that a storm of changes leaves room for the beats that bring them …
const RESTS: u32 = 3;
/// … but what changed is not left for longer.
const REST_MAX: Duration = Duration::from_secs(5);
/// How often old events are forgotten.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);
/// How often a pool that hosts were waited for is looked at again.
const WAITING_EVERY: Duration = Duration::from_secs(5);
/// How often everything is looked at that may change with time alone.
const SWEEP_EVERY: Duration = Duration::from_secs(600);
/// A store that does not answer at the start is asked again so often.
const RETRY_EVERY: Duration = Duration::from_secs(2);

/// What changed and was not looked at yet.
#[derive(Default)]
struct Gathered(Mutex<BTreeSet<Thing>>);

impl Gathered {
    fn things(&self) -> MutexGuard<'_, BTreeSet<Thing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Listens until the vDC stops.
pub fn start(app: &Arc<App>) {
    let gathered = Arc::new(Gathered::default());
    let changes = app.core.bus.listen();
    app.core.spawn(gather(Arc::clone(app), Arc::clone(&gathered), changes));
    app.core.spawn(work(Arc::clone(app), gathered));
}

async fn gather(app: Arc<App>, gathered: Arc<Gathered>, mut changes: Receiver<(u64, Thing)>) {
    let stop = app.core.stop.clone();
    loop {
        let change = tokio::select! {
            () = stop.cancelled() => return,
            change = changes.recv() => change,
        };
        match change {
            Ok((_, thing)) => drop(gathered.things().insert(thing)),
            Err(RecvError::Closed) => return,
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "changes came faster than they could be gathered");
                let all = everything(&app).await;
                gathered.things().extend(all);
            }
        }
    }
}

async fn work(app: Arc<App>, gathered: Arc<Gathered>) {
    let stop = app.core.stop.clone();
    loop {
        match remember(&app).await {
            Ok(changed) => {
                gathered.things().extend(changed);
                break;
            }
            Err(fault) => tracing::warn!(%fault, "what was told before could not be read"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RETRY_EVERY) => {}
        }
    }
    let mut prune = tokio::time::interval(PRUNE_EVERY);
    let mut tick = tokio::time::interval(GATHER);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut waiting_tick = tokio::time::interval(WAITING_EVERY);
    let mut sweep = tokio::time::interval_at(tokio::time::Instant::now() + SWEEP_EVERY, SWEEP_EVERY);
    let mut waiting = BTreeSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {
                let begun = tokio::time::Instant::now();
                look(&app, &gathered, &mut waiting).await;
                tick.reset_after(GATHER.max(begun.elapsed().saturating_mul(RESTS).min(REST_MAX)));
            }
            _ = waiting_tick.tick() => gathered.things().extend(waiting.iter().copied()),
            _ = sweep.tick() => {
                let all = hosts_and_pools(&app).await;
                gathered.things().extend(all);
            }
            _ = prune.tick() => {
                if let Err(fault) = event::prune(&app).await {
                    tracing::warn!(%fault, "old events could not be forgotten");
                }
            }
        }
    }
}

async fn remember(app: &App) -> Result<BTreeSet<Thing>, Fault> {
    let mut changed = event::remember(app).await?;
    // What an alert tells of may have gone.
    changed.extend(alert::remember(app).await?);
    Ok(changed)
}

/// Looks at each; what could not be looked at stays for the next time.
async fn look(app: &App, gathered: &Gathered, waiting: &mut BTreeSet<Thing>) {
    let mut things = std::mem::take(&mut *gathered.things());
    let mut left = BTreeSet::new();
    while let Some(thing) = things.pop_first() {
        if app.core.stop.is_cancelled() {
            return;
        }
        match event::look(app, thing).await {
            // Time alone may have ended the waiting: watchers hear nothing of that.
            Ok(true) if waiting.remove(&thing) => app.core.bus.changed(thing),
            Ok(true) => {}
            Ok(false) => drop(waiting.insert(thing)),
            Err(fault) => {
                tracing::warn!(%fault, ?thing, "what changed could not be written down");
                left.insert(thing);
            }
        }
    }
    gathered.things().append(&mut left);
}

/// Everything that may have something to tell. What the store does not give now comes with its next change.
async fn everything(app: &App) -> BTreeSet<Thing> {
    let mut things = hosts_and_pools(app).await;
    let mut after = None;
    loop {
        match app.core.store.vm_brief_some(after, event::VMS_AT_ONCE).await {
            Ok(some) => {
                things.extend(some.iter().map(|vm| Thing::Vm(vm.id)));
                match some.last() {
                    Some(last) => after = Some(last.id),
                    None => break,
                }
            }
            Err(err) => {
                tracing::warn!(%err, "the VMs could not be listed");
                break;
            }
        }
    }
    things
}

async fn hosts_and_pools(app: &App) -> BTreeSet<Thing> {
    let mut things: BTreeSet<Thing> = VdcCertificate::ALL.map(Thing::Certificate).into();
    match app.core.rosters.hosts().await {
        Ok(hosts) => things.extend(hosts.iter().map(|host| Thing::Host(host.id))),
        Err(err) => tracing::warn!(%err, "the hosts could not be listed"),
    }
    match app.core.store.pool_all().await {
        Ok(pools) => things.extend(pools.iter().map(|pool| Thing::Pool(pool.id))),
        Err(err) => tracing::warn!(%err, "the pools could not be listed"),
    }
    things
}
