//! Secrets of pools: sealed in the store and in memory, opened only on their way to a host.

use crate::seal::is_sealed;
use crate::services::App;
use quantix_model::id::PoolId;
use quantix_model::pool::PoolSpec;
use quantix_model::{Fault, Secret};

fn purpose(id: PoolId, field: &str) -> String {
    format!("pool {id} {field}")
}

/// The same with its secrets sealed; what is sealed stays so.
pub fn close(app: &App, id: PoolId, mut spec: PoolSpec) -> Result<PoolSpec, Fault> {
    for (field, secret) in spec.secrets_mut() {
        if !secret.is_empty() && !is_sealed(secret.expose()) {
            *secret = Secret::new(app.core.seal.close(&purpose(id, field), secret.expose().as_bytes())?);
        }
    }
    Ok(spec)
}

/// The same with its secrets as a host needs them.
pub fn open(app: &App, id: PoolId, mut spec: PoolSpec) -> Result<PoolSpec, Fault> {
    for (field, secret) in spec.secrets_mut() {
        if !secret.is_empty() {
            *secret = Secret::new(app.core.seal.open_text(&purpose(id, field), secret.expose())?.as_str());
        }
    }
    Ok(spec)
}

/// Seals what an older release kept in clear.
pub async fn close_all(app: &App) -> Result<(), Fault> {
    for pool in app.core.store.pool_all().await? {
        let sealed = close(app, pool.id, pool.spec.clone())?;
        if sealed != pool.spec {
            app.core.store.pool_reseal(pool.id, &sealed).await?;
            tracing::info!(pool = %pool.id, "sealed the secrets of a pool");
        }
    }
    Ok(())
}
