//! Looks whether the store takes writes: now and then, at once when somebody could not use it, and often while it is in
//! trouble, so that its end is noticed. Nothing needs a restart: every write is tried anew by whoever wants it.
//!
//! What was wrong can be written down only afterwards; until then `/readyz` and the dashboard say it.

use crate::services::{App, event};
use quantix_model::{Fault, FaultCode};
use std::sync::Arc;
use std::time::Duration;

/// How often it looks while all is well.
const EVERY: Duration = Duration::from_secs(60);
/// How often it looks while something is wrong, and at most when somebody could not use it.
const AGAIN: Duration = Duration::from_secs(1);
/// A store that takes longer does not answer. It waits five seconds for a lock, ten for a connection.
const PATIENCE: Duration = Duration::from_secs(15);
/// What is written to see whether it can be.
const PROBE: &str = "store_probed_at";

/// Looks until the vDC stops.
pub fn start(app: &Arc<App>) {
    let app = Arc::clone(app);
    let core = Arc::clone(&app.core);
    core.spawn(async move {
        loop {
            let wait = if app.core.store_health.fault().is_some() { AGAIN } else { EVERY };
            tokio::select! {
                () = app.core.stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
                () = app.core.store_health.suspected() => {}
            }
            tokio::select! {
                () = app.core.stop.cancelled() => return,
                () = look(&app) => {}
            }
            tokio::time::sleep(AGAIN).await;
        }
    });
}

async fn look(app: &App) {
    let (now, health) = (app.core.clock.now(), &app.core.store_health);
    let text = now.0.to_string();
    let probe = app.core.store.setting_put(PROBE, &text);
    let fault = match tokio::time::timeout(PATIENCE, probe).await {
        Ok(Ok(())) => {
            if let Some((since, fault)) = health.recovered() {
                let lasted = since.age(app.core.clock.now());
                tracing::warn!(seconds = lasted.as_secs(), "the store takes writes again");
                if let Err(fault) = event::store_failed(app, lasted, fault).await {
                    tracing::warn!(%fault, "that the store was in trouble could not be written down");
                }
            }
            return;
        }
        Ok(Err(err)) => Fault::from(err),
        Err(_) => Fault::new(
            FaultCode::StoreUnavailable,
            "The vDC's database does not answer, so nothing can be changed.",
            "Check the disk of the vDC's data folder, or the database server.",
        )
        .because(format!("no answer for {} s", PATIENCE.as_secs())),
    };
    if health.failed(now, fault.clone()) {
        tracing::error!(%fault, "the store takes no writes");
    }
}
