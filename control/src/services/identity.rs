//! Identity sources: made, changed, tested, turned off and taken away. How somebody of one gets in stands in
//! `identity_admit`; how a provider is spoken to, in `oidc`, and a directory, in `ldap`.
//!
//! Whoever changes a source decides who gets in as whom. So nobody changes one whose people or rules may do more than they
//! may themselves, and a saved secret is never sent to an address that somebody else typed.

use crate::api::Person;
use crate::ids;
use crate::services::ldap::Directory;
use crate::services::session::Sessions;
use crate::services::{audit, identity_check, oidc_provider, right, role};
use quantix_contract::identity::kind;
use quantix_contract::quantix::identity::v1 as wire;
use quantix_contract::time::to_proto;
use quantix_model::Secret;
use quantix_model::fault::{Fault, FaultCode};
use quantix_model::id::{IdentitySourceId, RoleId};
use quantix_model::identity::{RoleRule, SourceConfig, source_of};
use quantix_model::name::check_title;
use quantix_model::right::{Scope, built_in};
use quantix_store::{IdentitySourceRecord, Store, StoreError, UserRecord};

/// Sources there may be.
const SOURCES_MAX: usize = 20;

/// What a source should be.
pub struct Wish {
    /// What the sign-in page calls it.
    pub title: String,
    /// People of it may sign in.
    pub enabled: bool,
    /// How to reach it.
    pub config: SourceConfig,
    /// Empty: none, or the one that is kept.
    pub secret: Secret,
    /// Which groups bring which roles.
    pub rules: Vec<RoleRule>,
    /// Role for everybody of it; empty: none.
    pub default_role: String,
    /// Who signs in for the first time becomes a person here.
    pub create_users: bool,
}

fn purpose(id: IdentitySourceId) -> String {
    format!("identity source {id}")
}

/// The secret of a saved source, as the provider or directory wants it.
pub fn open_secret(sessions: &Sessions, source: &IdentitySourceRecord) -> Result<Secret, Fault> {
    if source.secret.is_empty() {
        return Ok(Secret::default());
    }
    let text = sessions.core.seal.open_text(&purpose(source.id), &source.secret)?;
    Ok(Secret::new(text.as_str()))
}

fn close_secret(sessions: &Sessions, id: IdentitySourceId, secret: &Secret) -> Result<String, Fault> {
    if secret.is_empty() {
        return Ok(String::new());
    }
    sessions.core.seal.close(&purpose(id), secret.expose().as_bytes())
}

/// What the sign-in page offers.
pub async fn ways(sessions: &Sessions) -> Result<Vec<wire::SignInWay>, Fault> {
    let sources = by_title(sessions).await?;
    let enabled = sources.into_iter().filter(|source| source.enabled);
    let way = |source: IdentitySourceRecord| wire::SignInWay {
        id: source.id.to_string(),
        kind: kind(source.config.kind()).into(),
        title: source.title,
        ..Default::default()
    };
    Ok(enabled.map(way).collect())
}

async fn by_title(sessions: &Sessions) -> Result<Vec<IdentitySourceRecord>, Fault> {
    let mut sources = sessions.core.store.identity_source_all().await?;
    sources.sort_by_key(|source| source.title.to_lowercase());
    Ok(sources)
}

/// All of them.
pub async fn list(sessions: &Sessions) -> Result<wire::ListIdentitySourcesResponse, Fault> {
    let mut views = Vec::new();
    for source in by_title(sessions).await? {
        views.push(view(sessions, &source).await?);
    }
    Ok(wire::ListIdentitySourcesResponse {
        sources: views,
        redirect_uri: sessions.core.redirect_uri(),
        ..Default::default()
    })
}

async fn view(sessions: &Sessions, source: &IdentitySourceRecord) -> Result<wire::IdentitySource, Fault> {
    let people = sessions.core.store.identity_source_people_count(source.id).await?;
    Ok(wire::IdentitySource {
        id: source.id.to_string(),
        title: source.title.clone(),
        enabled: source.enabled,
        config: Some((&source.config).into()),
        has_secret: !source.secret.is_empty(),
        rules: source.rules.iter().map(wire::RoleRule::from).collect(),
        default_role: source.default_role.clone(),
        create_users: source.create_users,
        people: u32::try_from(people).unwrap_or(u32::MAX),
        created_at: to_proto(source.created_at).into(),
        changed_at: to_proto(source.changed_at).into(),
        generation: source.generation,
        ..Default::default()
    })
}

/// Everything but the secret, in its usual form.
async fn check(sessions: &Sessions, caller: &Person, wish: Wish, has_secret: bool) -> Result<Wish, Fault> {
    check_title("title", &wish.title)?;
    let config = identity_check::check(wish.config, has_secret)?;
    let rules = identity_check::rules(wish.rules)?;
    check_roles(sessions, caller, &rules, &wish.default_role, true).await?;
    Ok(Wish { config, rules, ..wish })
}

/// Refuses roles that the caller could not give, and, where they are `new`, ones that are not there.
async fn check_roles(
    sessions: &Sessions,
    caller: &Person,
    rules: &[RoleRule],
    default_role: &str,
    new: bool,
) -> Result<(), Fault> {
    let store = &sessions.core.store;
    let named = rules.iter().map(|rule| ("rules", rule.role.as_str()));
    let default = Some(("default_role", default_role)).filter(|(_, role)| !role.is_empty());
    for (field, role) in named.chain(default) {
        let at_field = |fault: Fault| Fault { field: field.into(), ..fault };
        if new && built_in(role).is_none() {
            let there = match role.parse::<RoleId>() {
                Ok(id) => store.role_get(id).await.map(drop).map_err(Fault::from),
                Err(_) => Err(Fault::not_found("role", role)),
            };
            there.map_err(at_field)?;
        }
        let permissions = right::permissions(store, role).await?;
        role::covered(caller, permissions, Scope::Everything).map_err(at_field)?;
    }
    Ok(())
}

/// Makes a source.
pub async fn create(sessions: &Sessions, caller: &Person, wish: Wish) -> Result<wire::IdentitySource, Fault> {
    identity_check::secret(wish.secret.expose())?;
    let has_secret = !wish.secret.is_empty();
    let wish = check(sessions, caller, wish, has_secret).await?;
    let store = &sessions.core.store;
    let _turn = sessions.sources.write().await;
    if store.identity_source_all().await?.len() >= SOURCES_MAX {
        let text = format!("There are {SOURCES_MAX} identity sources already.");
        return Err(Fault::new(FaultCode::Conflict, text, "Delete one that is not needed."));
    }
    let (id, now) = (ids::identity_source(), sessions.core.clock.now());
    audit::about("identity_source", id, &wish.title);
    let source = IdentitySourceRecord {
        id,
        secret: close_secret(sessions, id, &wish.secret)?,
        title: wish.title,
        enabled: wish.enabled,
        config: wish.config,
        rules: wish.rules,
        default_role: wish.default_role,
        create_users: wish.create_users,
        created_at: now,
        changed_at: now,
        generation: 1,
    };
    store.identity_source_insert(&source).await.map_err(taken)?;
    view(sessions, &source).await
}

fn taken(err: StoreError) -> Fault {
    match Fault::from(err) {
        fault if fault.code == FaultCode::NameTaken => Fault { field: "title".into(), ..fault },
        fault => fault,
    }
}

/// Changes a source.
pub async fn update(
    sessions: &Sessions,
    caller: &Person,
    id: IdentitySourceId,
    generation: u64,
    wish: Wish,
) -> Result<wire::IdentitySource, Fault> {
    // Nobody signs in by what is being changed.
    let _turn = sessions.sources.write().await;
    let store = &sessions.core.store;
    let there = store.identity_source_get(id).await?;
    audit::about("identity_source", id, &there.title);
    if generation != there.generation {
        return Err(changed_meanwhile(&there, generation));
    }
    if wish.config.kind() != there.config.kind() {
        let text = "A provider cannot become a directory, nor the other way round.";
        return Err(Fault::invalid("config", text, "Make a new source, and delete this one."));
    }
    identity_check::secret(wish.secret.expose())?;
    let keeps = wish.secret.is_empty() && !there.secret.is_empty();
    let has_secret = keeps || !wish.secret.is_empty();
    let wish = check(sessions, caller, wish, has_secret).await?;
    if keeps && !wish.config.sends_secret_as(&there.config) {
        return Err(secret_elsewhere());
    }
    check_reach(sessions, caller, &there).await?;
    if !wish.enabled && there.enabled {
        check_not_own(sessions, caller, &there).await?;
    }
    let secret = if keeps { there.secret.clone() } else { close_secret(sessions, id, &wish.secret)? };
    let now = sessions.core.clock.now();
    let changed = store.identity_source_update(id, |source: &mut IdentitySourceRecord| {
        if source.generation != generation {
            return Err(changed_meanwhile(source, generation));
        }
        *source = IdentitySourceRecord {
            id,
            title: wish.title,
            enabled: wish.enabled,
            config: wish.config,
            secret,
            rules: wish.rules,
            default_role: wish.default_role,
            create_users: wish.create_users,
            created_at: source.created_at,
            changed_at: now,
            generation: generation + 1,
        };
        Ok(())
    });
    let source = changed.await.map_err(|fault: Fault| match fault.code {
        FaultCode::NameTaken => Fault { field: "title".into(), ..fault },
        _ => fault,
    })?;
    audit::about("identity_source", id, &source.title);
    view(sessions, &source).await
}

fn changed_meanwhile(there: &IdentitySourceRecord, seen: u64) -> Fault {
    let message = format!("The identity source {} was changed since you looked at it.", there.title);
    let remedy = "Look at what it is now, then change it again if that is still wanted.";
    let cause = format!("you saw generation {seen}, it has {}", there.generation);
    Fault { field: "generation".into(), ..Fault::new(FaultCode::Conflict, message, remedy).because(cause) }
}

fn secret_elsewhere() -> Fault {
    Fault::invalid(
        "secret",
        "The secret that is kept was not given for this address.",
        "Give the secret again: it is sent to the new address.",
    )
}

/// Takes a source away, and its people when that is wanted.
pub async fn delete(
    sessions: &Sessions,
    caller: &Person,
    id: IdentitySourceId,
    delete_people: bool,
) -> Result<(), Fault> {
    let _turn = sessions.sources.write().await;
    let store = &sessions.core.store;
    let there = store.identity_source_get(id).await?;
    audit::about("identity_source", id, &there.title);
    check_reach(sessions, caller, &there).await?;
    check_not_own(sessions, caller, &there).await?;
    match store.identity_source_delete(id, delete_people).await {
        Err(StoreError::InUse { by, .. }) => {
            return Err(Fault::new(
                FaultCode::IdentitySourceInUse,
                format!("{by} here come from {}.", there.title),
                "Turn it off instead, or delete it with its people.",
            ));
        }
        done => drop(done?),
    }
    sessions.core.rights.forget();
    Ok(())
}

/// Refuses to change a source whose people or rules may do what the caller may not: whoever says where people prove
/// themselves can be any of them.
async fn check_reach(
    sessions: &Sessions,
    caller: &Person,
    source: &IdentitySourceRecord,
) -> Result<(), Fault> {
    check_roles(sessions, caller, &source.rules, &source.default_role, false).await?;
    let core = &sessions.core;
    for user in core.store.identity_source_people(source.id).await? {
        if !core.rights.of(&core.store, user.id).await?.is_within(&caller.rights) {
            let text = format!("{} of {} may do what you may not.", user.name, source.title);
            return Err(Fault::new(FaultCode::Forbidden, text, "Let somebody do it who may do as much."));
        }
    }
    Ok(())
}

async fn check_not_own(
    sessions: &Sessions,
    caller: &Person,
    source: &IdentitySourceRecord,
) -> Result<(), Fault> {
    let own = sessions.core.store.user_get(caller.user_id).await?;
    if source_id(&own) != Some(source.id) {
        return Ok(());
    }
    let text = format!("You come from {} yourself: you would lock yourself out.", source.title);
    Err(Fault::new(FaultCode::OwnAccount, text, "Let an administrator do it who does not."))
}

/// The source a person comes from.
pub fn source_id(user: &UserRecord) -> Option<IdentitySourceId> {
    source_of(user.external_id.as_deref()?)
}

/// What a source is called; empty when there is none.
pub async fn title(store: &Store, id: Option<IdentitySourceId>) -> Result<String, Fault> {
    let Some(id) = id else { return Ok(String::new()) };
    match store.identity_source_get(id).await.map_err(Fault::from) {
        Ok(source) => Ok(source.title),
        Err(fault) if fault.code == FaultCode::NotFound => Ok(String::new()),
        Err(fault) => Err(fault),
    }
}

/// Whether a person's source, if they have one, still lets its people in.
pub async fn lets_in(store: &Store, user: &UserRecord) -> Result<bool, Fault> {
    let Some(id) = source_id(user) else { return Ok(true) };
    match store.identity_source_get(id).await.map_err(Fault::from) {
        Ok(source) => Ok(source.enabled),
        Err(fault) if fault.code == FaultCode::NotFound => Ok(false),
        Err(fault) => Err(fault),
    }
}

/// Reaches a source as it is typed, or as it is saved; what is wrong there is in the answer.
pub async fn test(
    sessions: &Sessions,
    caller: &Person,
    id: Option<IdentitySourceId>,
    typed: Option<(SourceConfig, Secret)>,
) -> Result<wire::TestIdentitySourceResponse, Fault> {
    let saved = match id {
        Some(id) => Some(sessions.core.store.identity_source_get(id).await?),
        None => None,
    };
    if let Some(saved) = &saved {
        audit::about("identity_source", saved.id, &saved.title);
    }
    let (config, mut secret) = match (typed, &saved) {
        (Some(typed), _) => typed,
        (None, Some(saved)) => (saved.config.clone(), Secret::default()),
        (None, None) => {
            let text = "Nothing was named that could be tested.";
            return Err(Fault::invalid("source", text, "Give a source, or the id of one."));
        }
    };
    identity_check::secret(secret.expose())?;
    let kept = saved.filter(|saved| secret.is_empty() && !saved.secret.is_empty());
    let config = identity_check::check(config, kept.is_some() || !secret.is_empty())?;
    if let Some(saved) = kept {
        if !config.sends_secret_as(&saved.config) {
            return Err(secret_elsewhere());
        }
        check_reach(sessions, caller, &saved).await?;
        secret = open_secret(sessions, &saved)?;
    }
    let mut facts = Vec::new();
    let done = reach(sessions, &config, &secret, &mut facts).await;
    Ok(wire::TestIdentitySourceResponse {
        facts,
        fault: done.err().map(Into::into).into(),
        ..Default::default()
    })
}

async fn reach(
    sessions: &Sessions,
    config: &SourceConfig,
    secret: &Secret,
    facts: &mut Vec<String>,
) -> Result<(), Fault> {
    match config {
        SourceConfig::Oidc(config) => oidc_provider::test(&sessions.core, config, secret, facts).await,
        SourceConfig::Ldap(config) => Directory::new(config, secret).test(facts).await,
    }
}
