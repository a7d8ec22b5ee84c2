//! API tokens: how programs act for a person. 256 random bits, shown once; the store knows only their SHA-256.
//!
//! What a token may is looked at anew with each call: what it was made for, and no more than its owner may now.

use crate::api::Person;
use crate::api::auth::By;
use crate::core::Core;
use crate::ids;
use crate::services::role::{self, scope_view};
use crate::services::{App, audit, identity};
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quantix_contract::quantix::token::v1 as wire;
use quantix_contract::time::to_proto;
use quantix_model::fault::{Fault, FaultCode};
use quantix_model::id::ApiTokenId;
use quantix_model::name::check_label;
use quantix_model::right::{Permission, Permissions, Scope, refused};
use quantix_store::ApiTokenRecord;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// What every token begins with.
const PREFIX: &str = "qx_";
/// Characters shown again later, to recognise a token by.
const START_CHARS: usize = 9;
/// Longest life that can be asked for.
const DAYS_MAX: u32 = 3650;
/// Tokens one person may have.
const TOKENS_MAX: usize = 100;
/// The last use is written down so often.
const TOUCH_EVERY: Duration = Duration::from_secs(60);

/// Whether a bearer is an API token, and no session's.
pub fn is_one(token: &str) -> bool {
    token.starts_with(PREFIX)
}

fn hash(token: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    hash
}

/// The person behind a token, with what the token may.
pub async fn authenticate(core: &Core, token: &str, from: IpAddr) -> Result<Option<Person>, Fault> {
    if token.len() > 128 {
        return Ok(None);
    }
    let Some(found) = core.store.api_token_find(&hash(token)).await? else { return Ok(None) };
    let now = core.clock.now();
    if found.expires_at.is_some_and(|end| end <= now) {
        return Err(Fault::new(
            FaultCode::TokenExpired,
            format!("The API token {} has ended.", found.name),
            "Make a new one under My account, API tokens.",
        ));
    }
    if found.used_at.is_none_or(|used| used.age(now) > TOUCH_EVERY) || found.used_from != from.to_string() {
        // A store that takes nothing keeps nobody from looking.
        if let Err(err) = core.store.api_token_touch(found.id, now, &from.to_string()).await {
            tracing::warn!(%err, "that a token was used could not be written");
        }
    }
    let user = match core.store.user_get(found.user_id).await.map_err(Fault::from) {
        // Deleted since the token was found.
        Err(fault) if fault.code == FaultCode::NotFound => return Ok(None),
        user => user?,
    };
    if user.disabled || !identity::lets_in(&core.store, &user).await? {
        return Ok(None);
    }
    let rights = core.rights.of(&core.store, user.id).await?.limited(found.permissions, found.scope);
    Ok(Some(Person {
        user_id: user.id,
        name: user.name,
        by: By::Token(found.id),
        must_change_password: user.must_change_password,
        rights: Arc::new(rights),
    }))
}

/// What is wanted.
pub struct Wish {
    /// What it is for.
    pub name: String,
    /// What it may.
    pub permissions: Permissions,
    /// Where.
    pub scope: Scope,
    /// How long; 0: without end.
    pub days: u32,
}

/// Makes a token for the caller; the text is shown this once.
pub async fn create(app: &App, person: &Person, wish: &Wish) -> Result<(wire::ApiToken, String), Fault> {
    check_label("name", &wish.name)?;
    if wish.permissions.is_empty() {
        let text = "The token would allow nothing.";
        return Err(Fault::invalid("permissions", text, "Choose at least one permission."));
    }
    if let Some(over) = wish.permissions.iter().find(|p| !person.rights.allows(*p, &[wish.scope])) {
        let fault = refused(over);
        return Err(Fault { field: "permissions".into(), ..fault });
    }
    if wish.days > DAYS_MAX {
        let text = format!("A token cannot last {} days.", wish.days);
        return Err(Fault::invalid("days", text, format!("Choose 1 to {DAYS_MAX}, or 0 for no end.")));
    }
    let store = &app.core.store;
    let own = store.api_token_all(Some(person.user_id)).await?;
    if own.len() >= TOKENS_MAX {
        let text = format!("You have {TOKENS_MAX} tokens already.");
        return Err(Fault::new(FaultCode::Conflict, text, "Revoke some that are not used."));
    }
    if own.iter().any(|token| token.name.eq_ignore_ascii_case(&wish.name)) {
        let text = format!("You have a token {} already.", wish.name);
        let fault = Fault::new(FaultCode::NameTaken, text, "Choose another name.");
        return Err(Fault { field: "name".into(), ..fault });
    }
    let secret = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(ids::secret::<32>()));
    let now = app.core.clock.now();
    let life = Duration::from_secs(u64::from(wish.days) * 24 * 3600);
    let token = ApiTokenRecord {
        id: ids::api_token(),
        user_id: person.user_id,
        name: wish.name.clone(),
        token_sha256: hash(&secret),
        start: secret.chars().take(START_CHARS).collect(),
        permissions: wish.permissions,
        scope: wish.scope,
        created_at: now,
        expires_at: (wish.days > 0).then(|| now.plus(life)),
        used_at: None,
        used_from: String::new(),
    };
    store.api_token_insert(&token).await?;
    audit::about("token", token.id, &token.name);
    Ok((view(app, &token, &person.name).await?, secret))
}

/// The caller's tokens, or everybody's.
pub async fn list(app: &App, person: &Person, everybody: bool) -> Result<Vec<wire::ApiToken>, Fault> {
    if everybody && !person.rights.everywhere().has(Permission::PeopleView) {
        return Err(refused(Permission::PeopleView));
    }
    let store = &app.core.store;
    let tokens = store.api_token_all((!everybody).then_some(person.user_id)).await?;
    let mut views = Vec::with_capacity(tokens.len());
    for token in &tokens {
        let owner =
            if token.user_id == person.user_id { None } else { Some(store.user_get(token.user_id).await?) };
        views.push(view(app, token, owner.as_ref().map_or(&person.name, |owner| &owner.name)).await?);
    }
    Ok(views)
}

/// Ends a token: one's own, or anybody's for who manages people.
pub async fn revoke(app: &App, person: &Person, id: ApiTokenId) -> Result<(), Fault> {
    let found = app.core.store.api_token_get(id).await.map_err(Fault::from);
    let may_all = person.rights.everywhere().has(Permission::PeopleManage);
    let token = match found {
        Ok(token) if token.user_id == person.user_id || may_all => token,
        // Of others' tokens nobody learns that they exist.
        Ok(_) => return Err(Fault::not_found("token", id)),
        Err(fault) => return Err(fault),
    };
    audit::about("token", id, &token.name);
    app.core.store.api_token_delete(id).await?;
    Ok(())
}

async fn view(app: &App, token: &ApiTokenRecord, owner: &str) -> Result<wire::ApiToken, Fault> {
    Ok(wire::ApiToken {
        id: token.id.to_string(),
        name: token.name.clone(),
        user_id: token.user_id.to_string(),
        user_name: owner.to_owned(),
        start: token.start.clone(),
        permissions: role::words(token.permissions),
        scope: scope_view(app, token.scope).await?.into(),
        created_at: to_proto(token.created_at).into(),
        expires_at: token.expires_at.map(to_proto).into(),
        used_at: token.used_at.map(to_proto).into(),
        used_from: token.used_from.clone(),
        ..Default::default()
    })
}
