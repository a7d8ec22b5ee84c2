//! Lines to hosts: one kept per host, made anew when its address, name or our certificate changed.

use crate::services::App;
use quantix_client::{HostClient, tls};
use quantix_model::id::{HostId, PoolId};
use quantix_model::pool::PoolHealth;
use quantix_model::{Fault, FaultCode};
use quantix_store::HostRecord;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Lines by host, with what they were made from.
#[derive(Default)]
pub struct Lines {
    lines: Mutex<HashMap<HostId, (String, HostClient)>>,
}

impl Lines {
    /// The line to a host.
    pub fn to(&self, app: &App, host: &HostRecord) -> Result<HostClient, Fault> {
        let made_from = format!("{} {}", host.url, host.name);
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((from, line)) = lines.get(&host.id)
            && *from == made_from
        {
            return Ok(line.clone());
        }
        let line = HostClient::new(
            host.id,
            &host.name,
            &host.url,
            tls::mutual_client(&app.core.pki.identity()?, app.core.pki.ca_pem())?,
        )?;
        lines.insert(host.id, (made_from, line.clone()));
        Ok(line)
    }

    /// Lets go of a host's line.
    pub fn remove(&self, id: HostId) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }
}

/// The line to the host with this id.
pub async fn to_host(app: &App, id: HostId) -> Result<HostClient, Fault> {
    let host = app.core.store.host_get(id).await?;
    app.lines.to(app, &host)
}

/// The line to a host on which the pool works; the fault says how it is on each.
pub async fn to_pool(app: &App, id: PoolId) -> Result<HostClient, Fault> {
    let pool = app.core.store.pool_get(id).await?;
    let statuses = super::pool::statuses(app, id).await?;
    let usable = |health| matches!(health, PoolHealth::Healthy | PoolHealth::Degraded);
    let best = statuses.iter().find(|s| s.health() == PoolHealth::Healthy);
    let best = best.or_else(|| statuses.iter().find(|s| usable(s.health())));
    if let Some(status) = best {
        return to_host(app, status.host_id).await;
    }
    let fault = super::pool::why_unusable(app, &pool, &statuses);
    Err(Fault { code: FaultCode::PoolNotReady, ..fault })
}
