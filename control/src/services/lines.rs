//! Lines to hosts: one kept per host, made anew when its address, name or our certificate changed.

use crate::services::App;
use crate::tasks::TaskContext;
use quantix_client::HostClient;
use quantix_model::id::{HostId, PoolId};
use quantix_model::pool::PoolHealth;
use quantix_model::{Fault, FaultCode};
use quantix_store::{HostRecord, VolumeRecord};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long a task waits for a host to come back before it says so.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two attempts, at first and at most.
const PATIENCE_RETRY: Duration = Duration::from_millis(300);
/// See [`PATIENCE_RETRY`].
const PATIENCE_RETRY_MAX: Duration = Duration::from_secs(2);
/// What an interactive call may wait for a host; the rest of its second is ours.
const SOON: Duration = Duration::from_millis(800);

/// Lines by host, with what they were made from.
#[derive(Default)]
pub struct Lines {
    lines: Mutex<HashMap<HostId, (String, HostClient)>>,
}

impl Lines {
    /// The line to a host.
    pub fn to(&self, app: &App, host: &HostRecord) -> Result<HostClient, Fault> {
        let epoch = *app.core.pki.epoch().borrow();
        let made_from = format!("{epoch} {} {}", host.url, host.name);
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((from, line)) = lines.get(&host.id)
            && *from == made_from
        {
            return Ok(line.clone());
        }
        let line = HostClient::new(host.id, &host.name, &host.url, app.core.pki.client()?)?;
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
    super::host::refuse_cloned(app, id, &host.name)?;
    app.lines.to(app, &host)
}

/// The line to the host that does the work on a volume: its VM's, which has it open, else as [`to_pool`].
pub async fn to_volume(app: &App, volume: &VolumeRecord) -> Result<HostClient, Fault> {
    match volume.vm_id {
        Some(vm) => to_host(app, app.core.store.vm_get(vm).await?.host_id).await,
        None => to_pool(app, volume.pool_id).await,
    }
}

/// The line to the host that makes a volume: where its source is open, else as [`to_volume`].
pub async fn to_maker(app: &App, volume: &VolumeRecord) -> Result<HostClient, Fault> {
    if let Some(source) = volume.source.volume()
        && let Ok(source) = app.core.store.volume_get(source).await
    {
        return to_volume(app, &source).await;
    }
    to_volume(app, volume).await
}

/// Repeats what may work in a moment: hosts need one after a restart of either side. Longer than that, it is said.
pub async fn patiently<T, F: Future<Output = Result<T, Fault>>>(
    task: &TaskContext,
    attempt: impl Fn() -> F,
) -> Result<T, Fault> {
    let end = Instant::now() + PATIENCE;
    let mut wait = PATIENCE_RETRY;
    loop {
        match attempt().await {
            Err(fault) if fault.retryable() && Instant::now() < end => {
                tracing::debug!(%fault, "trying again");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(PATIENCE_RETRY_MAX);
                task.check()?;
            }
            done => return done,
        }
    }
}

/// What a person waits for is answered within a second, whatever the pool does.
pub async fn soon<T>(
    app: &App,
    pool: PoolId,
    host: &str,
    what: &str,
    call: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    match tokio::time::timeout(SOON, call).await {
        Ok(done) => done,
        Err(_) => {
            let name = app.core.store.pool_get(pool).await.map(|pool| pool.name).unwrap_or_default();
            let message = format!("Pool {name} did not answer on {host} in time.");
            let remedy =
                "Look at the pool's page. What was asked for may still happen; ask again in a moment.";
            let cause = format!("waited {} ms for {what}", SOON.as_millis());
            Err(Fault::new(FaultCode::PoolStalled, message, remedy).because(cause).on_host(host))
        }
    }
}

/// The line to a host on which the pool works, always the same one as long as it does: the metadata of a volume
/// group has no lock between hosts; the fault says how it is on each.
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
