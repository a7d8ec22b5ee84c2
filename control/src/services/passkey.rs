//! Passkeys (WebAuthn level 3): made under My account; used as second step, or alone.
//!
//! ```text
//!   password again ─▶ question ─▶ browser makes a key ─▶ kept ─▶ shown with password ─▶ session
//!                                                          └──▶ shown alone ──────────▶ session
//! ```
//! - A passkey is bound to the name in the page's address ([`Site`]); that name is kept with it.
//! - The device must have checked who holds it (PIN, finger, face), so alone it is two factors.
//! - Its counter is kept at each use, in the transaction that compares it. One that does not grow means that there may be
//!   a copy: refused, and told as an event.
//! - Alone it lets in local people only: an account of a directory is checked there, each time.

use crate::api::Person;
use crate::core::Core;
use crate::ids;
use crate::services::ceremony::Ceremonies;
use crate::services::session::{Sessions, SignedIn, Visitor, disabled, sha256};
use crate::services::site::Site;
use crate::services::throttle::Begins;
use crate::services::{audit, event, factor};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quantix_model::fault::{Fault, FaultCode};
use quantix_model::id::{SessionId, UserId};
use quantix_model::user::{FactorKind, SessionProof, UserSource};
use quantix_store::{FactorRecord, UserRecord};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use webauthn_rs::prelude::{
    AuthenticationResult, DiscoverableAuthentication, Passkey, PasskeyAuthentication, PasskeyRegistration,
    PublicKeyCredential, RegisterPublicKeyCredential, WebauthnError,
};

/// What a browser answers is a few kilobytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Questions of one kind that wait.
const WAITING_MAX: usize = 10_000;
/// Questions that wait for one address: sign-in pages that stand open.
const PER_ADDRESS_MAX: usize = 400;

/// Questions that wait for their answer.
#[derive(Debug)]
pub struct Passkeys {
    making: Ceremonies<SessionId, Making>,
    /// By the challenge of the first step, hashed.
    second: Ceremonies<[u8; 32], PasskeyAuthentication>,
    alone: Ceremonies<IpAddr, DiscoverableAuthentication>,
    begins: Begins,
}

struct Making {
    name: String,
    state: PasskeyRegistration,
}

/// A question for the browser.
pub struct Begun {
    /// Handed back with the answer.
    pub ceremony: String,
    /// For `navigator.credentials`.
    pub options_json: String,
}

/// What a browser answered.
#[derive(Clone, Copy)]
pub struct Answer<'a> {
    /// The question's id.
    pub ceremony: &'a str,
    /// What the browser made of it.
    pub credential_json: &'a str,
}

/// What is kept of a passkey; nothing in it is secret.
#[derive(Serialize, Deserialize)]
struct Kept {
    site: String,
    key: Passkey,
}

/// The part of it that is shown.
#[derive(Deserialize)]
struct Shown {
    site: String,
}

impl Passkeys {
    /// Nothing waits.
    pub fn new(core: &Core) -> Passkeys {
        Passkeys {
            making: Ceremonies::new(core.clock.clone(), 1, WAITING_MAX),
            second: Ceremonies::new(core.clock.clone(), 1, WAITING_MAX),
            alone: Ceremonies::new(core.clock.clone(), PER_ADDRESS_MAX, WAITING_MAX),
            begins: Begins::new(core.clock.clone()),
        }
    }
}

/// Refuses who or where no passkey can be made; answers where.
pub fn check_may_add<'a>(core: &Core, user: &UserRecord, site: Option<&'a Site>) -> Result<&'a Site, Fault> {
    if user.source == UserSource::Oidc {
        return Err(Fault::new(
            FaultCode::UserNotLocal,
            "Your OpenID Connect provider checks you at each sign-in; a passkey here would go past it.",
            "Set up a passkey at the provider.",
        ));
    }
    here(core, site)
}

fn here<'a>(core: &Core, site: Option<&'a Site>) -> Result<&'a Site, Fault> {
    let site = site.ok_or_else(|| {
        let text = "The request does not say by which address the page was opened.";
        Fault::new(FaultCode::PasskeyWrongAddress, text, "Use a browser.")
    })?;
    site.check(core).map(|()| site)
}

/// The name a passkey belongs to, and why it does not work here, if it does not. Empty for what is no passkey.
pub fn place(factor: &FactorRecord, site: Option<&Site>) -> (String, String) {
    if factor.kind != FactorKind::Passkey {
        return Default::default();
    }
    let made = serde_json::from_str::<Shown>(&factor.secret).map(|shown| shown.site).unwrap_or_default();
    let reason =
        if site.and_then(Site::name) == Some(made.as_str()) { String::new() } else { elsewhere(&made) };
    (made, reason)
}

fn elsewhere(made: &str) -> String {
    format!("It was made for {made} and works only while this page is opened by that name.")
}

/// Whether a person's passkeys can be their second step here, or why not.
pub fn second_step(core: &Core, factors: &[FactorRecord], site: Option<&Site>) -> (bool, String) {
    let mut keys = factors.iter().filter(|factor| factor.kind == FactorKind::Passkey).peekable();
    if keys.peek().is_none() {
        return (false, String::new());
    }
    if let Err(fault) = here(core, site) {
        return (false, format!("{} {}", fault.message, fault.remedy));
    }
    let places: Vec<_> = keys.map(|key| place(key, site)).collect();
    if places.iter().any(|(_, reason)| reason.is_empty()) {
        return (true, String::new());
    }
    (false, places.into_iter().map(|(_, reason)| reason).next().unwrap_or_default())
}

/// Begins making a passkey for somebody who has proved themselves.
pub async fn begin(
    sessions: &Sessions,
    caller: &Person,
    user: &UserRecord,
    name: &str,
    site: Option<&Site>,
) -> Result<Begun, Fault> {
    let core = &sessions.core;
    let site = check_may_add(core, user, site)?;
    factor::check_room(core, user.id, name).await?;
    let known = keys(core, user.id).await?.into_iter().map(|kept| kept.key.cred_id().clone()).collect();
    let begun = site.verifier()?.start_passkey_registration(user.id.0, &user.name, &user.name, Some(known));
    let (options, state) = begun.map_err(Fault::internal)?;
    let mut options = serde_json::to_value(&options).map_err(Fault::internal)?;
    // The crate leaves it to chance whether a device keeps the key where it is found without a name.
    options["publicKey"]["authenticatorSelection"]["residentKey"] = "required".into();
    options["publicKey"]["authenticatorSelection"]["requireResidentKey"] = true.into();
    let making = Making { name: name.to_owned(), state };
    let ceremony = sessions.passkeys.making.begin(caller.session()?, site.clone(), making)?;
    Ok(Begun { ceremony, options_json: options["publicKey"].to_string() })
}

/// Keeps what the browser made. With the first factor come recovery codes.
pub async fn confirm(
    sessions: &Sessions,
    caller: &Person,
    answer: Answer<'_>,
) -> Result<(FactorRecord, Vec<String>), Fault> {
    let (core, user) = (&sessions.core, caller.user_id);
    let (site, making) = sessions.passkeys.making.take(answer.ceremony, &caller.session()?)?;
    let said: RegisterPublicKeyCredential = read(answer.credential_json)?;
    check_new(core, &said.raw_id).await?;
    let key = site.verifier()?.finish_passkey_registration(&said, &making.state).map_err(refused)?;
    // What was signed counts, not what stood beside it.
    check_new(core, key.cred_id()).await?;
    factor::check_room(core, user, &making.name).await?;
    let first = factor::confirmed(core, user).await?.is_empty();
    let credential_id = Some(URL_SAFE_NO_PAD.encode(key.cred_id()));
    let kept = Kept { site: site.name().unwrap_or_default().to_owned(), key };
    let factor = FactorRecord {
        id: ids::factor(),
        user_id: user,
        kind: FactorKind::Passkey,
        name: making.name,
        secret: serde_json::to_string(&kept).map_err(Fault::internal)?,
        credential_id,
        confirmed: true,
        last_step: 0,
        created_at: core.clock.now(),
        used_at: None,
    };
    core.store.factor_insert(&factor).await?;
    let codes = if first { factor::make_recovery_codes(core, user).await? } else { Vec::new() };
    Ok((factor, codes))
}

/// Begins showing a passkey: as second step after `challenge`, or alone when there is none.
pub async fn begin_sign_in(sessions: &Sessions, challenge: &str, visitor: &Visitor) -> Result<Begun, Fault> {
    let (core, passkeys) = (&sessions.core, &sessions.passkeys);
    if challenge.is_empty() {
        passkeys.begins.count(visitor.address)?;
        let site = here(core, visitor.site.as_ref())?;
        let begun = site.verifier()?.start_discoverable_authentication().map_err(Fault::internal)?;
        let ceremony = passkeys.alone.begin(visitor.address, site.clone(), begun.1)?;
        return Ok(Begun { ceremony, options_json: options(&begun.0)? });
    }
    let user = sessions.challenges.owner(challenge, visitor.address)?;
    let site = here(core, visitor.site.as_ref())?;
    let mut keys = keys(core, user).await?;
    keys.retain(|kept| Some(kept.site.as_str()) == site.name());
    if keys.is_empty() {
        return Err(unknown("You have no passkey for the name that this page was opened by."));
    }
    let keys: Vec<Passkey> = keys.into_iter().map(|kept| kept.key).collect();
    let begun = site.verifier()?.start_passkey_authentication(&keys).map_err(Fault::internal)?;
    let ceremony = passkeys.second.begin(sha256(challenge.as_bytes()), site.clone(), begun.1)?;
    Ok(Begun { ceremony, options_json: options(&begun.0)? })
}

/// The person's passkey as second step.
pub async fn use_second(
    sessions: &Sessions,
    user: &UserRecord,
    challenge: &str,
    answer: Answer<'_>,
) -> Result<(), Fault> {
    let owner = sha256(challenge.as_bytes());
    let (site, state) = sessions.passkeys.second.take(answer.ceremony, &owner)?;
    let said: PublicKeyCredential = read(answer.credential_json)?;
    let factor = find(&sessions.core, &said).await?;
    let names_other = said.get_user_unique_id().is_some_and(|id| id != user.id.0.as_bytes());
    if factor.user_id != user.id || names_other {
        return Err(unknown("This passkey is somebody else's."));
    }
    let checked = site.verifier()?.finish_passkey_authentication(&said, &state);
    settle(&sessions.core, user, &factor, checked).await
}

/// Lets somebody in by a passkey alone.
pub async fn sign_in(sessions: &Sessions, answer: Answer<'_>, visitor: &Visitor) -> Result<SignedIn, Fault> {
    let core = &sessions.core;
    let (site, state) = sessions.passkeys.alone.take(answer.ceremony, &visitor.address)?;
    let said: PublicKeyCredential = read(answer.credential_json)?;
    let factor = find(core, &said).await?;
    if said.get_user_unique_id() != Some(factor.user_id.0.as_bytes().as_slice()) {
        return Err(refused(WebauthnError::InvalidUserUniqueId));
    }
    let user = core.store.user_get(factor.user_id).await?;
    audit::actor("nobody", "", &user.name);
    let kept = open(&factor)?;
    if Some(kept.site.as_str()) != site.name() {
        return Err(refused(WebauthnError::InvalidRPIDHash));
    }
    let checked = site.verifier()?.finish_discoverable_authentication_v2(&said, state, &kept.key);
    settle(core, &user, &factor, checked).await?;
    if user.disabled {
        return Err(disabled());
    }
    if user.source != UserSource::Local {
        return Err(Fault::new(
            FaultCode::PasskeyNotAlone,
            "A passkey alone lets in only people whose account is kept here: yours is checked elsewhere at each sign-in.",
            "Sign in with name and password first; the passkey is your second step.",
        ));
    }
    sessions.begin(user, visitor, SessionProof::Passkey).await
}

/// Writes down that a passkey was used, if it was used rightly; in the same transaction its counter is compared again, for
/// two answers at once.
async fn settle(
    core: &Core,
    user: &UserRecord,
    factor: &FactorRecord,
    checked: Result<AuthenticationResult, WebauthnError>,
) -> Result<(), Fault> {
    let now = core.clock.now();
    let done = match checked {
        Err(err) => Err(refused(err)),
        Ok(result) => core
            .store
            .factor_update(factor.id, |factor| {
                let counter = i64::from(result.counter());
                if counter <= factor.last_step && (counter > 0 || factor.last_step > 0) {
                    return Err(refused(WebauthnError::CredentialPossibleCompromise));
                }
                let mut kept = open(factor)?;
                kept.key.update_credential(&result);
                factor.secret = serde_json::to_string(&kept).map_err(Fault::internal)?;
                factor.last_step = counter;
                factor.used_at = Some(now);
                Ok::<(), Fault>(())
            })
            .await
            .map(drop),
    };
    match done {
        Err(fault) if fault.code == FaultCode::PasskeyCloned => {
            tracing::warn!(user = user.name, passkey = factor.name, "the counter of a passkey went back");
            audit::about("passkey", factor.id, &factor.name);
            event::passkey_cloned(core, user, &fault).await?;
            Err(fault)
        }
        // Removed since it was found.
        Err(fault) if fault.code == FaultCode::NotFound => Err(unknown(NOT_HERE)),
        done => done,
    }
}

/// A person's passkeys.
async fn keys(core: &Core, user: UserId) -> Result<Vec<Kept>, Fault> {
    let all = factor::confirmed(core, user).await?;
    all.iter().filter(|factor| factor.kind == FactorKind::Passkey).map(open).collect()
}

fn open(factor: &FactorRecord) -> Result<Kept, Fault> {
    serde_json::from_str(&factor.secret).map_err(Fault::internal)
}

/// The browser's part of a question. How it asks is the page's own business: in a window, or as a name is typed.
fn options(question: &impl Serialize) -> Result<String, Fault> {
    let question = serde_json::to_value(question).map_err(Fault::internal)?;
    Ok(question["publicKey"].to_string())
}

fn read<T: DeserializeOwned>(json: &str) -> Result<T, Fault> {
    let text = "What the browser answered is no passkey.";
    let fault = || Fault::invalid("credential_json", text, "Try again, or use another browser.");
    if json.len() > ANSWER_BYTES_MAX {
        return Err(fault().because("it is longer than 64 KiB"));
    }
    serde_json::from_str(json).map_err(|err| fault().because(err))
}

async fn find(core: &Core, said: &PublicKeyCredential) -> Result<FactorRecord, Fault> {
    let id = URL_SAFE_NO_PAD.encode(said.get_credential_id());
    core.store.factor_find(&id).await?.ok_or_else(|| unknown(NOT_HERE))
}

/// Refuses a passkey that is somebody's already.
async fn check_new(core: &Core, credential_id: &[u8]) -> Result<(), Fault> {
    match core.store.factor_find(&URL_SAFE_NO_PAD.encode(credential_id)).await? {
        None => Ok(()),
        Some(_) => Err(Fault::new(
            FaultCode::Conflict,
            "This passkey is known here already.",
            "Use it, or make a new one on another device.",
        )),
    }
}

const NOT_HERE: &str = "This passkey is not known here.";

fn unknown(message: &str) -> Fault {
    let remedy = "Choose another passkey, or sign in another way and add this device under My account.";
    Fault::new(FaultCode::PasskeyUnknown, message, remedy)
}

/// Why an answer does not hold, in plain words; the verifier's own stand beside it.
fn refused(err: WebauthnError) -> Fault {
    use WebauthnError as E;
    let code = match err {
        E::CredentialPossibleCompromise => FaultCode::PasskeyCloned,
        E::CredentialNotFound => return unknown(NOT_HERE),
        _ => FaultCode::PasskeyRefused,
    };
    let (message, remedy) = match err {
        E::CredentialPossibleCompromise => (
            "The counter of this passkey went back: there may be a copy of it.",
            "Sign in another way, remove this passkey under My account, and add the device anew.",
        ),
        E::UserNotVerified | E::UserNotPresent => (
            "The device did not check who holds it.",
            "Set up a PIN, a fingerprint or a face on it, and try again.",
        ),
        E::InvalidRPOrigin | E::InvalidRPIDHash | E::CredentialCrossOrigin => (
            "The passkey was asked for by a page of another address.",
            "Open the vDC's own address in the browser, and try again there.",
        ),
        E::MismatchedChallenge | E::InvalidClientDataType => {
            ("The passkey answers another question than was asked.", "Try again.")
        }
        E::CredentialAlteredAlgFromRequest | E::AttestationNotSupported | E::COSEKeyInvalidType => (
            "The device made a passkey of a kind that is not used here.",
            "Use another device, or an authenticator app.",
        ),
        _ => ("The passkey could not be verified.", "Try again, or sign in another way."),
    };
    Fault::new(code, message, remedy).because(err)
}
