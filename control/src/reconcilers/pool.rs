//! Sees to pools that nobody prepared within their task's time.
//!
//! Changes nothing that hosts did not do, and may run as often as it likes: whoever has a pool says so.

use crate::services::{App, pool_prepare};
use std::sync::Arc;
use std::time::Duration;

/// How often it looks.
const EVERY: Duration = Duration::from_secs(10);

/// Looks until the vDC stops.
pub fn start(app: &Arc<App>) {
    let app = Arc::clone(app);
    let core = Arc::clone(&app.core);
    core.spawn(async move {
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = app.core.stop.cancelled() => return,
            }
            if let Err(fault) = pool_prepare::prepare_left(&app).await {
                tracing::warn!(%fault, "pools could not be prepared");
            }
        }
    });
}
