//! The four registration calls over REST; what they mean stands in the module of the same name one level up.

use super::Shared;
use super::rest::{Refusal, Who};
use crate::registration::Grant;
use crate::{VERSION, clock};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use http::{HeaderMap, header};
use quantix_client::registration::{API_LEVEL, Completed, Completion, PRODUCT, Ping, TokenFacts};
use quantix_model::host::Discovery;
use quantix_model::{Fault, FaultCode};
use std::time::Duration;

/// Two certificates and a few names.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Time to send that body.
const BODY_DEADLINE: Duration = Duration::from_secs(10);
/// Asking libvirt and all of /sys.
const DISCOVERY_DEADLINE: Duration = Duration::from_secs(12);

pub async fn ping() -> Json<Ping> {
    Json(Ping {
        status: "ok".into(),
        product: PRODUCT.into(),
        version: VERSION.into(),
        time_unix_ms: clock::now().0,
        api_level: API_LEVEL,
    })
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok())
}

pub async fn token(
    State(shared): State<Shared>,
    Who(caller): Who,
    headers: HeaderMap,
) -> Result<Json<TokenFacts>, Refusal> {
    let grant = shared.daemon.judge(caller.address, bearer(&headers))?;
    let entry = match grant {
        Grant::Full(entry) => entry,
        Grant::Repeat => return Err(used().into()),
    };
    Ok(Json(TokenFacts {
        hostname: shared.daemon.facts.hostname().await,
        created_at_unix_ms: entry.created_at.0,
        expires_at_unix_ms: entry.expires_at.0,
    }))
}

pub async fn discovery(
    State(shared): State<Shared>,
    Who(caller): Who,
    headers: HeaderMap,
) -> Result<Json<Discovery>, Refusal> {
    if shared.daemon.judge(caller.address, bearer(&headers))? == Grant::Repeat {
        return Err(used().into());
    }
    let work = shared.daemon.facts.discovery(&shared.daemon.vms);
    match tokio::time::timeout(DISCOVERY_DEADLINE, work).await {
        Ok(found) => Ok(Json(found?)),
        Err(_) => Err(Refusal(Fault::new(
            FaultCode::DeadlineExceeded,
            "The host could not describe itself in time.",
            "Look at the load of the host and at libvirt, then try again.",
        ))),
    }
}

pub async fn complete(
    State(shared): State<Shared>,
    Who(caller): Who,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Completed>, Refusal> {
    let grant = shared.daemon.judge(caller.address, bearer(&headers))?;
    let read = tokio::time::timeout(BODY_DEADLINE, axum::body::to_bytes(body, BODY_BYTES_MAX)).await;
    let bytes = read.ok().and_then(Result::ok).ok_or_else(|| {
        Fault::new(
            FaultCode::TooLarge,
            "The registration did not arrive whole, or is too large.",
            "Try again; if it comes back, compare the releases of vDC and host.",
        )
    })?;
    let completion: Completion = serde_json::from_slice(&bytes).map_err(|err| {
        Fault::new(
            FaultCode::InvalidRequest,
            "The registration is not what this host expects.",
            "Compare the releases of vDC and host.",
        )
        .because(err)
    })?;
    shared.daemon.complete(grant, &completion).await?;
    Ok(Json(Completed { status: "ok".into() }))
}

fn used() -> Fault {
    Fault::new(
        FaultCode::TokenInvalid,
        "The registration token was used already; it serves once.",
        "Run `quantix-node token` on the host and use the new token.",
    )
}
