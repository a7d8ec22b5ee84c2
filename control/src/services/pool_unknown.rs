//! Pools a host has and the vDC does not know of there: made or assigned after the backup it was restored from, or
//! forgotten by force while the host was away.
//!
//! The first are kept, and somebody is told. The second the host is told to let go of.

use crate::roster::Known;
use crate::services::App;
use crate::services::live::HostLive;
use quantix_model::id::{HostId, PoolId};
use quantix_model::{Fault, FaultCode};
use quantix_store::PoolReleaseRecord;

/// Pools of a host's last words that it should neither have nor let go of.
pub fn of(known: &Known, said: &HostLive) -> Vec<PoolId> {
    let assigned = |id: &PoolId| known.roster.pools.iter().any(|(pool, _)| pool.id == *id);
    said.pools.keys().filter(|id| !assigned(id)).copied().collect()
}

/// Those among them the vDC forgot by force, with the generation up to which the host may let go.
pub async fn forgotten(app: &App, known: &Known, said: &HostLive) -> Result<Vec<(PoolId, u64)>, Fault> {
    let notes = app.core.store.pool_releases_of(known.roster.host.id).await?;
    let unknown = of(known, said);
    let has = |note: &PoolReleaseRecord| {
        let report = said.pools.get(&note.pool_id);
        unknown.contains(&note.pool_id) && report.is_some_and(|r| r.generation <= note.generation)
    };
    Ok(notes.into_iter().filter(has).map(|note| (note.pool_id, note.generation)).collect())
}

/// What to say of those that are kept, if there are any.
pub async fn fault(app: &App, host_id: HostId) -> Result<Option<Fault>, Fault> {
    let Some(said) = app.live.get(host_id) else { return Ok(None) };
    let known = app.core.rosters.get(host_id).await?;
    let mut unknown = of(&known, &said);
    if !unknown.is_empty() {
        let forgotten = forgotten(app, &known, &said).await?;
        unknown.retain(|id| !forgotten.iter().any(|(over, _)| over == id));
    }
    if unknown.is_empty() {
        return Ok(None);
    }
    let places = unknown.iter().map(|id| {
        let path = said.pools.get(id).map_or("", |report| report.mount_path.as_str());
        format!("pool {id} at {path}")
    });
    let name = &known.roster.host.name;
    let fault = Fault::new(
        FaultCode::PoolNotAssigned,
        format!("{name} has {} pools that the vDC does not know there; it keeps them.", unknown.len()),
        "They were made or assigned after the backup this vDC was restored from. Assign a pool that is listed to the \
         host again; one that is not listed stays on the host until it is removed there.",
    );
    Ok(Some(fault.because(places.collect::<Vec<_>>().join(", ")).on_host(name)))
}
