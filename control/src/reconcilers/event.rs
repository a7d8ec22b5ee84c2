//! Listens to what changed, and lets it be written down and judged.
//!
//! ```text
//!   bus ──▶ set of changed things ──(every second)──▶ look at each once ──▶ events, alerts
//! ```
//! A burst of changes of one thing costs one look. Whoever falls behind the bus looks at everything once; so does the
//! vDC at its start, because things may have gone while it was away.

use crate::bus::Thing;
use crate::services::{App, event};
use quantix_model::Fault;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;

/// Changes are gathered for so long: states that last shorter are no news.
const GATHER: Duration = Duration::from_millis(500);
/// How often old events are forgotten.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);

/// Listens until the vDC stops.
pub fn start(app: &Arc<App>) {
    let app = Arc::clone(app);
    let core = Arc::clone(&app.core);
    let mut changes = core.bus.listen();
    core.spawn(async move {
        let stop = app.core.stop.clone();
        let mut gathered = everything(&app).await;
        let mut prune = tokio::time::interval(PRUNE_EVERY);
        let mut tick = tokio::time::interval(GATHER);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                change = changes.recv() => match change {
                    Ok(thing) => {
                        gathered.insert(thing);
                    }
                    Err(RecvError::Lagged(_)) => gathered.extend(everything(&app).await),
                    Err(RecvError::Closed) => return,
                },
                _ = tick.tick() => look(&app, &mut gathered).await,
                _ = prune.tick() => {
                    if let Err(fault) = event::prune(&app).await {
                        tracing::warn!(%fault, "old events could not be forgotten");
                    }
                }
            }
        }
    });
}

/// Looks at each; what could not be looked at stays for the next time.
async fn look(app: &App, gathered: &mut BTreeSet<Thing>) {
    let mut left = BTreeSet::new();
    while let Some(thing) = gathered.pop_first() {
        if app.core.stop.is_cancelled() {
            return;
        }
        if let Err(fault) = event::look(app, thing).await {
            tracing::warn!(%fault, ?thing, "what changed could not be written down");
            left.insert(thing);
        }
    }
    gathered.append(&mut left);
}

/// Everything that may have something to tell. What the store does not give now comes with its next change.
async fn everything(app: &App) -> BTreeSet<Thing> {
    match all(app).await {
        Ok(things) => things,
        Err(fault) => {
            tracing::warn!(%fault, "what there is could not be listed");
            BTreeSet::new()
        }
    }
}

async fn all(app: &App) -> Result<BTreeSet<Thing>, Fault> {
    let store = &app.core.store;
    let mut things: BTreeSet<Thing> = store.host_all().await?.iter().map(|h| Thing::Host(h.id)).collect();
    things.extend(store.pool_all().await?.iter().map(|p| Thing::Pool(p.id)));
    things.extend(store.vm_all().await?.iter().map(|v| Thing::Vm(v.id)));
    // What an alert tells of may have gone.
    let alerts = store.alert_all().await?;
    things.extend(alerts.iter().filter_map(|a| Thing::parse(&a.object_kind, &a.object_id)));
    Ok(things)
}
