//! Asks the directories now and then whether the people they told of are still there: a session lasts for hours, and who
//! left in the meantime must not go on.

use crate::services::ldap_sign_in;
use crate::services::session::Sessions;
use std::sync::Arc;
use std::time::Duration;

/// How often they are asked.
const EVERY: Duration = Duration::from_secs(15 * 60);
/// How often it is looked whether it is time.
const TICK: Duration = Duration::from_secs(5);

/// Asks until the vDC stops.
pub fn start(sessions: &Arc<Sessions>) {
    let sessions = Arc::clone(sessions);
    let core = Arc::clone(&sessions.core);
    core.spawn(async move {
        let mut last = sessions.core.clock.now();
        loop {
            tokio::select! {
                () = sessions.core.stop.cancelled() => return,
                () = tokio::time::sleep(TICK) => {}
            }
            let now = sessions.core.clock.now();
            if last.age(now) < EVERY {
                continue;
            }
            last = now;
            let looked = tokio::select! {
                () = sessions.core.stop.cancelled() => return,
                looked = ldap_sign_in::look_again(&sessions) => looked,
            };
            if let Err(fault) = looked {
                tracing::warn!(%fault, "the people of the directories could not be looked at");
            }
        }
    });
}
