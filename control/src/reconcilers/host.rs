//! Notices hosts that fell silent, and tells everybody who watches.
//!
//! Takes no input, changes nothing on any host, and may run as often as it likes: the phase follows from the age
//! of the last beat alone.

use crate::services::{App, report};
use std::sync::Arc;
use std::time::Duration;

/// How often silence is looked for.
const EVERY: Duration = Duration::from_millis(500);

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
            if let Err(fault) = report::tell_silent(&app, app.core.clock.now()).await {
                tracing::warn!(%fault, "silent hosts could not be told of");
            }
        }
    });
}
