//! The scrape token: lets a Prometheus read figures and nothing else. Only its SHA-256 is kept.

use crate::ids;
use aws_lc_rs::digest;
use quantix_model::fault::{Fault, FaultCode};
use quantix_store::Store;
use subtle::ConstantTimeEq as _;

/// Setting that holds the token's hash.
const SETTING: &str = "metrics_token_sha256";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hash(token: &str) -> String {
    hex(digest::digest(&digest::SHA256, token.as_bytes()).as_ref())
}

/// Makes a new token; the one before stops working. It is shown this once.
pub async fn make_token(store: &Store) -> Result<String, Fault> {
    let token = format!("qxm_{}", hex(&ids::secret::<32>()));
    store.setting_put(SETTING, &hash(&token)).await?;
    Ok(token)
}

/// Refuses what is not the token.
pub async fn check(store: &Store, token: Option<&str>) -> Result<(), Fault> {
    let kept = store.setting_get(SETTING).await?.unwrap_or_default();
    let fits = token.is_some_and(|token| bool::from(hash(token).as_bytes().ct_eq(kept.as_bytes())));
    if fits {
        return Ok(());
    }
    let why = match token {
        _ if kept.is_empty() => "no token was made yet",
        None => "the request carries no `Authorization: Bearer`",
        Some(_) => "the token is not the one made last",
    };
    Err(Fault::new(
        FaultCode::NotSignedIn,
        "Figures are told to those who show the scrape token.",
        "Make one with `quantix-vdc metrics-token` and put it into Prometheus' `authorization`.",
    )
    .because(why))
}
