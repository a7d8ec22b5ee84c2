//! Letting somebody in whom a source told of: the person here is found or made, their roles are made what the rules say
//! now, and a session begins.
//!
//! ```text
//!   Told ──▶ known by source and subject? ─ yes ─▶ not turned off? ─▶ name as told, if it is free ─┐
//!                   └ no ─▶ may be made? ─▶ name free? ─▶ made ───────────────────────────────────┴▶ grants ─▶ session
//! ```
//! A name alone opens nothing: who is called like somebody here is somebody else until the source and the subject say so.

use crate::core::Core;
use crate::ids;
use crate::services::session::{Sessions, SignedIn, Visitor};
use crate::services::{audit, session};
use quantix_model::fault::{Fault, FaultCode};
use quantix_model::id::{IdentitySourceId, RoleId};
use quantix_model::identity::{Told, external_id, granted_by, roles_for};
use quantix_model::right::{Scope, built_in};
use quantix_model::user::{SessionProof, check_user_name};
use quantix_store::{GrantRecord, IdentitySourceRecord, StoreError, UserRecord};

/// What is asked of a source counts only while the source is still the one that was asked.
pub struct Asked {
    /// Which.
    pub id: IdentitySourceId,
    /// As it was then.
    pub generation: u64,
}

/// The person here whom a source told of, with the roles that its rules give now. Held while the session begins: the lock
/// keeps the source as it is.
pub async fn person<'a>(
    sessions: &'a Sessions,
    asked: &Asked,
    told: &Told,
) -> Result<(tokio::sync::RwLockReadGuard<'a, ()>, UserRecord), Fault> {
    let turn = sessions.sources.read().await;
    let core = &sessions.core;
    let source = still(core, asked).await?;
    let known = core.store.user_find_external(&external_id(source.id, &told.subject)).await?;
    let user = match known {
        Some(user) => {
            audit::actor("person", user.id, &user.name);
            if user.disabled {
                return Err(session::disabled());
            }
            renamed(core, user, told).await?
        }
        None => made(core, &source, told).await?,
    };
    settle(core, &source, &user, told).await?;
    Ok((turn, user))
}

/// Lets somebody in who needs no second factor here, because their source is trusted with that.
pub async fn sign_in(
    sessions: &Sessions,
    asked: &Asked,
    told: &Told,
    visitor: &Visitor,
    proof: SessionProof,
) -> Result<SignedIn, Fault> {
    let (_turn, user) = person(sessions, asked, told).await?;
    sessions.begin(user, visitor, proof).await
}

/// The source, when it is still there, turned on, and the one that was asked.
pub async fn still(core: &Core, asked: &Asked) -> Result<IdentitySourceRecord, Fault> {
    let source = core.store.identity_source_get(asked.id).await?;
    if !source.enabled {
        return Err(disabled(&source.title));
    }
    if source.generation != asked.generation {
        return Err(Fault::new(
            FaultCode::SignInStateLost,
            format!("{} was changed while you signed in.", source.title),
            "Sign in again.",
        ));
    }
    Ok(source)
}

/// The refusal of a source that is turned off.
pub fn disabled(title: &str) -> Fault {
    Fault::new(
        FaultCode::IdentitySourceDisabled,
        format!("Signing in by {title} is turned off."),
        "Ask an administrator, or sign in another way.",
    )
}

/// Takes up another name of somebody known, unless it is none or somebody else's.
async fn renamed(core: &Core, user: UserRecord, told: &Told) -> Result<UserRecord, Fault> {
    if user.name == told.name || check_user_name("name", &told.name).is_err() {
        return Ok(user);
    }
    let done = core.store.user_update(user.id, |user| {
        user.name.clone_from(&told.name);
        Ok::<(), StoreError>(())
    });
    match done.await {
        Err(StoreError::Taken { .. }) => {
            tracing::warn!(user = %user.id, "another name of this person is taken here; the one before stays");
            Ok(user)
        }
        done => Ok(done?),
    }
}

async fn made(core: &Core, source: &IdentitySourceRecord, told: &Told) -> Result<UserRecord, Fault> {
    audit::actor("nobody", "", &told.name);
    check_user_name("name", &told.name).map_err(|fault| {
        let text = format!("{} gives you a name that nobody can have here.", source.title);
        let remedy = "Choose another claim or attribute for the name under Sign-in.";
        Fault::new(FaultCode::IdentitySourceInvalid, text, remedy).because(fault.message)
    })?;
    if !source.create_users {
        return Err(Fault::new(
            FaultCode::PersonUnknown,
            format!("{} is not among the people of this vDC.", told.name),
            "Ask an administrator to let people of this source in at their first sign-in.",
        ));
    }
    let now = core.clock.now();
    let user = UserRecord {
        id: ids::user(),
        name: told.name.clone(),
        // No text has this hash.
        password_hash: String::new(),
        must_change_password: false,
        created_at: now,
        password_set_at: now,
        disabled: false,
        source: source.config.kind(),
        external_id: Some(external_id(source.id, &told.subject)),
        signed_in_at: None,
    };
    match core.store.user_insert(&user).await {
        Err(StoreError::Taken { field: "name", .. }) => Err(Fault::new(
            FaultCode::NameTaken,
            format!("There is somebody else called {} here.", told.name),
            "Ask an administrator to rename or delete that person, or to take another claim or attribute for the name.",
        )),
        done => {
            done?;
            audit::about("user", user.id, &user.name);
            tracing::info!(user = %user.id, source = %source.id, "a person signed in for the first time");
            Ok(user)
        }
    }
}

/// Makes the roles that came from this source's rules what the rules say now.
async fn settle(
    core: &Core,
    source: &IdentitySourceRecord,
    user: &UserRecord,
    told: &Told,
) -> Result<(), Fault> {
    let (giver, now) = (granted_by(source.id), core.clock.now());
    let mut wanted = Vec::new();
    for role in roles_for(&source.rules, &source.default_role, &told.groups) {
        // One that is gone gives nothing; it must not come back to life under the same id.
        let there = match role.parse::<RoleId>() {
            Ok(id) => match core.store.role_get(id).await {
                Err(StoreError::NotFound { .. }) => false,
                found => found.map(|_| true)?,
            },
            Err(_) => built_in(&role).is_some(),
        };
        if there {
            let (user_id, created_by) = (user.id, giver.clone());
            wanted.push(GrantRecord { user_id, role, scope: Scope::Everything, created_at: now, created_by });
        }
    }
    if core.store.grant_settle(user.id, &giver, &wanted).await? {
        core.rights.forget();
    }
    Ok(())
}
