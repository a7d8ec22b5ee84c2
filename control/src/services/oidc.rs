//! Signing in at an OpenID Connect provider: authorization code flow with PKCE, state and nonce.
//!
//! ```text
//!   sign-in page ─▶ begin ─▶ 303 to the provider, cookie in this browser
//!                                 └─▶ callback: state, cookie ─▶ code for tokens ─▶ who it is ─▶ person ─▶ session
//! ```
//! What a provider tells of itself is kept for an hour, its keys too, and these are read anew when a token names one that is
//! not among them. One that does not answer is asked by one sign-in at a time; the others are told what came of that.

use crate::core::Core;
use crate::services::audit;
use crate::services::identity::open_secret;
use crate::services::identity_admit::{self, Asked};
use crate::services::oidc_provider::{Door, Metadata, unreachable, unusable};
use crate::services::oidc_state::{Begun, States};
use crate::services::oidc_token::{Exchange, Keys, refused};
use crate::services::session::{Sessions, SignedIn, Visitor};
use openidconnect::core::CoreJsonWebKeySet;
use openidconnect::url::Url;
use quantix_model::UnixMs;
use quantix_model::fault::{Fault, FaultCode};
use quantix_model::id::IdentitySourceId;
use quantix_model::identity::{OidcConfig, SourceConfig};
use quantix_model::user::SessionProof;
use quantix_store::IdentitySourceRecord;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What a provider told of itself counts so long.
const METADATA_LIFE: Duration = Duration::from_secs(3600);
/// One that did not answer is not asked again before.
const FAILURE_LIFE: Duration = Duration::from_secs(3);
/// A step of a sign-in takes no longer, whatever the provider does.
const STEP_DEADLINE: Duration = Duration::from_secs(30);

/// The service.
pub struct Oidc {
    /// Where sessions begin.
    pub sessions: Arc<Sessions>,
    states: States,
    slots: Mutex<HashMap<IdentitySourceId, Arc<tokio::sync::Mutex<Slot>>>>,
}

/// What is known of one provider.
#[derive(Default)]
struct Slot {
    known: Option<Arc<Provider>>,
    failed: Option<(UnixMs, Fault)>,
}

/// A provider that answered.
struct Provider {
    generation: u64,
    config: OidcConfig,
    door: Door,
    metadata: Metadata,
    keys: Mutex<CoreJsonWebKeySet>,
    read_at: UnixMs,
}

/// Keys of a provider for one sign-in.
struct OneRead<'a> {
    provider: &'a Provider,
    done: bool,
}

impl Keys for OneRead<'_> {
    fn known(&self) -> CoreJsonWebKeySet {
        self.provider.keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn renewed(
        &mut self,
        door: &Door,
        metadata: &Metadata,
    ) -> Result<Option<CoreJsonWebKeySet>, Fault> {
        if std::mem::replace(&mut self.done, true) {
            return Ok(None);
        }
        let keys = door.keys(metadata).await?;
        keys.clone_into(&mut self.provider.keys.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(Some(keys))
    }
}

/// A sign-in that came back.
pub struct Returned<'a> {
    /// As it was sent along.
    pub state: &'a str,
    /// The browser's cookie for it.
    pub cookie: Option<&'a str>,
    /// Good once.
    pub code: Option<&'a str>,
    /// The provider says no, with a word and a sentence.
    pub error: Option<(&'a str, &'a str)>,
    /// Who answers, if they say (RFC 9207).
    pub issuer: Option<&'a str>,
}

impl Oidc {
    /// The service; nothing is known of any provider yet.
    pub fn new(sessions: Arc<Sessions>) -> Oidc {
        let states = States::new(sessions.core.clock.clone());
        Oidc { sessions, states, slots: Mutex::default() }
    }

    fn core(&self) -> &Core {
        &self.sessions.core
    }

    /// Where to send the browser, and what it must bring back.
    pub async fn begin(
        &self,
        id: IdentitySourceId,
        next: String,
        visitor: &Visitor,
    ) -> Result<(Url, Begun), Fault> {
        self.sessions.throttle.count_address(visitor.address)?;
        let (source, config) = self.source(id).await?;
        let provider = self.in_time(&config, self.provider(&source, &config)).await?;
        let begun = self.states.begin(Asked { id, generation: source.generation }, next)?;
        let mut url = provider.metadata.authorization_endpoint().url().clone();
        let scope: Vec<&str> =
            std::iter::once("openid").chain(config.scopes.iter().map(String::as_str)).collect();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &config.client_id)
            .append_pair("redirect_uri", &self.core().redirect_uri())
            .append_pair("scope", &scope.join(" "))
            .append_pair("state", &begun.state)
            .append_pair("nonce", &begun.nonce)
            .append_pair("code_challenge", &begun.challenge)
            .append_pair("code_challenge_method", "S256");
        Ok((url, begun))
    }

    /// A session for who came back, and where they wanted to go; that also when it goes wrong.
    pub async fn finish(
        &self,
        returned: &Returned<'_>,
        visitor: &Visitor,
    ) -> (Result<SignedIn, Fault>, Option<String>) {
        let pending = match self.states.take(returned.state, returned.cookie) {
            Ok(pending) => pending,
            Err(lost) => {
                let slowed = self.sessions.throttle.count_address(visitor.address);
                return (Err(slowed.err().unwrap_or(lost)), None);
            }
        };
        let done = self.admit(&pending, returned, visitor).await;
        match &done {
            Ok(_) => self.sessions.throttle.forgive_address(visitor.address),
            // What it tells of itself may have changed meanwhile: the next one asks anew.
            Err(fault) if of_provider(fault.code) => self.forget(pending.asked.id),
            Err(_) => {}
        }
        (done, Some(pending.next))
    }

    async fn admit(
        &self,
        pending: &crate::services::oidc_state::Pending,
        returned: &Returned<'_>,
        visitor: &Visitor,
    ) -> Result<SignedIn, Fault> {
        let asked = Asked { id: pending.asked.id, generation: pending.asked.generation };
        let (source, config) = self.source(asked.id).await?;
        identity_admit::still(self.core(), &asked).await?;
        let told = self.in_time(&config, async {
            let provider = self.provider(&source, &config).await?;
            if returned.issuer.is_some_and(|issuer| issuer != provider.metadata.issuer().as_str()) {
                let text = "Another identity provider answered than the one that was asked.";
                return Err(unusable(text, returned.issuer.unwrap_or_default()));
            }
            if let Some((error, description)) = returned.error {
                return Err(refused(error, description));
            }
            let code = returned.code.filter(|code| !code.is_empty());
            let code = code.ok_or_else(|| unusable("The identity provider sent no code.", ""))?;
            let secret = open_secret(&self.sessions, &source)?;
            let exchange = Exchange {
                door: &provider.door,
                metadata: &provider.metadata,
                config: &provider.config,
                secret: &secret,
                redirect_uri: &self.core().redirect_uri(),
            };
            let mut keys = OneRead { provider: &provider, done: false };
            exchange.told(self.core(), code, pending.verifier.expose(), &pending.nonce, &mut keys).await
        });
        let told = told.await?;
        identity_admit::sign_in(&self.sessions, &asked, &told, visitor, SessionProof::Oidc).await
    }

    async fn source(&self, id: IdentitySourceId) -> Result<(IdentitySourceRecord, OidcConfig), Fault> {
        let source = self.core().store.identity_source_get(id).await?;
        audit::about("identity_source", id, &source.title);
        match source.config.clone() {
            SourceConfig::Ldap(_) => Err(Fault::not_found("OpenID Connect provider", id)),
            SourceConfig::Oidc(_) if !source.enabled => Err(identity_admit::disabled(&source.title)),
            SourceConfig::Oidc(config) => Ok((source, config)),
        }
    }

    /// Bounds what a provider can keep somebody waiting for.
    async fn in_time<T>(
        &self,
        config: &OidcConfig,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        tokio::time::timeout(STEP_DEADLINE, work).await.unwrap_or_else(|_| {
            let cause = format!("no answer within {} s", STEP_DEADLINE.as_secs());
            Err(unreachable(&config.issuer_url, cause))
        })
    }

    fn forget(&self, id: IdentitySourceId) {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    fn slot(&self, id: IdentitySourceId) -> Arc<tokio::sync::Mutex<Slot>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.entry(id).or_default().clone()
    }

    async fn provider(
        &self,
        source: &IdentitySourceRecord,
        config: &OidcConfig,
    ) -> Result<Arc<Provider>, Fault> {
        let slot = self.slot(source.id);
        let mut slot = slot.lock().await;
        let now = self.core().clock.now();
        let fresh =
            |p: &&Arc<Provider>| p.generation == source.generation && p.read_at.age(now) < METADATA_LIFE;
        if let Some(known) = slot.known.as_ref().filter(fresh) {
            return Ok(known.clone());
        }
        if let Some((at, fault)) = &slot.failed
            && at.age(now) < FAILURE_LIFE
        {
            return Err(fault.clone());
        }
        let door = Door::new(config)?;
        match door.discover(config).await {
            Ok(metadata) => {
                let keys = Mutex::new(metadata.jwks().clone());
                let (generation, config) = (source.generation, config.clone());
                let known = Arc::new(Provider { generation, config, door, metadata, keys, read_at: now });
                *slot = Slot { known: Some(known.clone()), failed: None };
                Ok(known)
            }
            Err(fault) => {
                *slot = Slot { known: None, failed: Some((self.core().clock.now(), fault.clone())) };
                Err(fault)
            }
        }
    }
}

fn of_provider(code: FaultCode) -> bool {
    use FaultCode::{IdentitySourceInvalid, IdentitySourceRefused, IdentitySourceUnreachable};
    [IdentitySourceInvalid, IdentitySourceRefused, IdentitySourceUnreachable].contains(&code)
}

/// A path of the app to go on at: never another site, never a page that asks to sign in.
pub fn safe_next(next: &str) -> String {
    let plain = next.len() <= 2000 && next.chars().all(|c| c.is_ascii_graphic() && c != '\\');
    let elsewhere = ["//", "/login", "/api/", "/quantix."].iter().any(|start| next.starts_with(start));
    if plain && next.starts_with('/') && !elsewhere { next.to_owned() } else { "/".to_owned() }
}

/// Said to who asks for a page by anything but going there.
pub fn no_page() -> Fault {
    Fault::new(
        FaultCode::Forbidden,
        "A sign-in at a provider is a page to go to.",
        "Open the address in the browser; programs use API tokens.",
    )
}

#[cfg(test)]
mod tests {
    use super::safe_next;

    #[test]
    fn never_another_site() {
        for good in ["/", "/vms?filter=a", "/hosts/0190#x"] {
            assert_eq!(safe_next(good), good);
        }
        for bad in [
            "",
            "vms",
            "//evil.example",
            "/\\evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            "https://evil.example",
            "javascript:alert(1)",
            "/login?fault=x",
            "/api/v1/sign-in/oidc/x",
            "/ä",
            &format!("/{}", "x".repeat(2000)),
        ] {
            assert_eq!(safe_next(bad), "/", "{bad:?}");
        }
    }
}
