//! Keeps the vDC's certificates and authorities alive: looks each second whether something is due, which nearly always it
//! is not. What the time asks for and what hosts have made possible is in [`crate::pki`].

use crate::services::{App, certificate};
use std::sync::Arc;
use std::time::Duration;

/// How often it looks.
const EVERY: Duration = Duration::from_secs(1);
/// After a failure (a full disk) it waits so long.
const REST: Duration = Duration::from_secs(60);

/// Looks until the vDC stops.
pub fn start(app: &Arc<App>) {
    let app = Arc::clone(app);
    let core = Arc::clone(&app.core);
    core.spawn(async move {
        loop {
            let rest = match certificate::tend(&app).await {
                Ok(()) => EVERY,
                Err(fault) => {
                    tracing::error!(%fault, "the vDC's certificates could not be tended");
                    REST
                }
            };
            tokio::select! {
                () = app.core.stop.cancelled() => return,
                () = tokio::time::sleep(rest) => {}
            }
        }
    });
}
