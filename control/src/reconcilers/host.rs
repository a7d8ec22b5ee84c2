//! Notices hosts that fell silent, and tells everybody who watches.
//!
//! Takes no input, changes nothing on any host, and may run as often as it likes: the phase follows from the age
//! of the last beat alone.

use crate::services::{App, host, report};
use quantix_model::Fault;
use std::sync::Arc;
use std::time::Duration;

/// How often silence is looked for.
const EVERY: Duration = Duration::from_millis(500);
/// How often it is written which hosts were seen.
const WRITE_EVERY: Duration = Duration::from_secs(10);

/// Looks until the vDC stops.
pub fn start(app: &Arc<App>) {
    let app = Arc::clone(app);
    let core = Arc::clone(&app.core);
    core.spawn(async move {
        if let Err(fault) = expect(&app).await {
            tracing::warn!(%fault, "the hosts could not be listed");
        }
        let mut tick = tokio::time::interval(EVERY);
        let mut write = tokio::time::interval(WRITE_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                _ = write.tick() => {
                    if let Err(fault) = report::write_seen(&app).await {
                        tracing::warn!(%fault, "which hosts were seen could not be written");
                    }
                }
                () = app.core.stop.cancelled() => return,
            }
            if let Err(fault) = report::tell_silent(&app, app.core.clock.now()).await {
                tracing::warn!(%fault, "silent hosts could not be told of");
            }
        }
    });
}

/// Hosts that spoke before the start are silent when they have not spoken for three intervals since.
async fn expect(app: &App) -> Result<(), Fault> {
    let hosts = app.core.rosters.hosts().await?;
    let heard = hosts.into_iter().filter(|host| host.seen_at.is_some());
    app.live.expect(heard.map(|host| (host.id, host::interval_of(host.beat_interval_ms))));
    Ok(())
}
