//! Roles and grants: who may do what, on what. Whoever gives a role has all of it themselves, and somebody who may do
//! everything always remains.

use crate::api::Person;
use crate::ids;
use crate::services::{App, audit, right};
use quantix_contract::quantix::role::v1 as wire;
use quantix_contract::time::to_proto;
use quantix_model::fault::{Fault, FaultCode};
use quantix_model::id::{RoleId, UserId};
use quantix_model::name::check_label;
use quantix_model::right::{ADMIN, BUILT_IN, Permission, Permissions, Scope, built_in};
use quantix_model::user::UserSource;
use quantix_store::{GrantRecord, IdentitySourceRecord, RoleRecord, Store};
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

/// Letters of a description.
const DESCRIPTION_MAX: usize = 200;
/// Roles made here.
const ROLES_MAX: usize = 200;
/// Grants one person may have.
const GRANTS_MAX: usize = 1000;

/// The words of some permissions.
pub fn words(permissions: Permissions) -> Vec<String> {
    permissions.iter().map(|p| p.as_str().to_owned()).collect()
}

/// From words; what is no permission is refused by name.
pub fn read(words: &[String]) -> Result<Permissions, Fault> {
    words.iter().map(|word| word.parse::<Permission>()).collect()
}

/// A scope as shown, with its object's name now.
pub async fn scope_view(app: &App, scope: Scope) -> Result<wire::Scope, Fault> {
    let store = &app.core.store;
    let name = match scope {
        Scope::Everything => Ok(String::new()),
        Scope::Host(id) => store.host_get(id).await.map(|host| host.name),
        Scope::Pool(id) => store.pool_get(id).await.map(|pool| pool.name),
        Scope::Vm(id) => store.vm_get(id).await.map(|vm| vm.name),
    };
    let name = match name.map_err(Fault::from) {
        Err(fault) if fault.code == FaultCode::NotFound => String::new(),
        name => name?,
    };
    Ok(wire::Scope { kind: scope.kind().to_owned(), id: scope.id_text(), name, ..Default::default() })
}

/// All roles: those that are always there first.
pub async fn list(app: &App) -> Result<Vec<wire::Role>, Fault> {
    let mut counts: HashMap<String, u32> = HashMap::new();
    for grant in app.core.store.grant_all().await? {
        *counts.entry(grant.role).or_default() += 1;
    }
    let count = |role: &str| counts.get(role).copied().unwrap_or(0);
    let always = BUILT_IN.iter().map(|(role, description)| wire::Role {
        id: (*role).to_owned(),
        name: (*role).to_owned(),
        description: (*description).to_owned(),
        permissions: words(built_in(role).unwrap_or_default()),
        built_in: true,
        grant_count: count(role),
        ..Default::default()
    });
    let mut roles: Vec<wire::Role> = always.collect();
    let mut own = app.core.store.role_all().await?;
    own.sort_by(|a, b| a.name.cmp(&b.name));
    roles.extend(own.iter().map(|role| view(role, count(&role.id.to_string()))));
    Ok(roles)
}

fn view(role: &RoleRecord, grant_count: u32) -> wire::Role {
    wire::Role {
        id: role.id.to_string(),
        name: role.name.clone(),
        description: role.description.clone(),
        permissions: words(role.permissions),
        built_in: false,
        grant_count,
        changed_at: to_proto(role.changed_at).into(),
        ..Default::default()
    }
}

/// What a role should be.
pub struct Wish {
    /// Unique in any case.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// What it allows.
    pub permissions: Permissions,
}

fn check(person: &Person, wish: &Wish) -> Result<(), Fault> {
    check_label("name", &wish.name)?;
    if built_in(&wish.name).is_some() {
        let fault = Fault::new(
            FaultCode::NameTaken,
            format!("There is always a role {}.", wish.name),
            "Choose another name.",
        );
        return Err(Fault { field: "name".into(), ..fault });
    }
    if wish.description.chars().count() > DESCRIPTION_MAX {
        let text = format!("The description is longer than {DESCRIPTION_MAX} characters.");
        return Err(Fault::invalid("description", text, "Shorten it."));
    }
    if wish.permissions.is_empty() {
        let text = "The role would allow nothing.";
        return Err(Fault::invalid("permissions", text, "Choose at least one permission."));
    }
    covered(person, wish.permissions, Scope::Everything)
}

/// Nobody gives what they do not have.
pub fn covered(person: &Person, permissions: Permissions, scope: Scope) -> Result<(), Fault> {
    if person.rights.covers(permissions, scope) {
        return Ok(());
    }
    let missing = permissions.iter().filter(|p| !person.rights.allows(*p, &[scope]));
    let missing: Vec<&str> = missing.map(Permission::as_str).collect();
    Err(Fault::new(
        FaultCode::Forbidden,
        "Nobody can give what they do not have themselves.",
        "Leave these permissions out, or ask somebody who has them.",
    )
    .because(format!("you do not have {}", missing.join(", "))))
}

/// Makes a role.
pub async fn create(app: &App, person: &Person, wish: Wish) -> Result<wire::Role, Fault> {
    check(person, &wish)?;
    if app.core.store.role_all().await?.len() >= ROLES_MAX {
        let text = format!("There are {ROLES_MAX} roles already.");
        return Err(Fault::new(FaultCode::Conflict, text, "Delete some that nobody has."));
    }
    let now = app.core.clock.now();
    let role = RoleRecord {
        id: ids::role(),
        name: wish.name,
        description: wish.description,
        permissions: wish.permissions,
        created_at: now,
        changed_at: now,
    };
    app.core.store.role_insert(&role).await?;
    audit::about("role", role.id, &role.name);
    Ok(view(&role, 0))
}

fn own_role(id: &str) -> Result<RoleId, Fault> {
    match built_in(id) {
        None => id.parse(),
        Some(_) => Err(Fault::new(
            FaultCode::Conflict,
            format!("The role {id} is always there and stays as it is."),
            "Make a role of your own and change that.",
        )),
    }
}

/// Changes a role: at once for everybody who has it.
pub async fn update(app: &App, person: &Person, id: &str, wish: Wish) -> Result<wire::Role, Fault> {
    let id = own_role(id)?;
    check(person, &wish)?;
    let now = app.core.clock.now();
    let changed = app.core.store.role_update(id, |role: &mut RoleRecord| {
        (role.name, role.description) = (wish.name, wish.description);
        (role.permissions, role.changed_at) = (wish.permissions, now);
        Ok::<(), Fault>(())
    });
    let role = changed.await?;
    app.core.rights.forget();
    audit::about("role", role.id, &role.name);
    let count = app.core.store.grants_with(&role.id.to_string()).await?.len();
    Ok(view(&role, u32::try_from(count).unwrap_or(u32::MAX)))
}

/// Takes away a role that nobody has.
pub async fn delete(app: &App, id: &str) -> Result<(), Fault> {
    let id = own_role(id)?;
    let role = app.core.store.role_get(id).await?;
    audit::about("role", id, &role.name);
    let grants = app.core.store.grants_with(&id.to_string()).await?;
    if !grants.is_empty() {
        let mut names = Vec::new();
        for grant in grants.iter().take(10) {
            names.push(app.core.store.user_get(grant.user_id).await?.name);
        }
        return Err(Fault::new(
            FaultCode::RoleInUse,
            format!("{} people have the role {}.", grants.len(), role.name),
            "Take it from them first.",
        )
        .because(names.join(", ")));
    }
    let text = id.to_string();
    let named = |source: &&IdentitySourceRecord| {
        source.default_role == text || source.rules.iter().any(|rule| rule.role == text)
    };
    if let Some(source) = app.core.store.identity_source_all().await?.iter().find(named) {
        return Err(Fault::new(
            FaultCode::RoleInUse,
            format!("The identity source {} gives the role {}.", source.title, role.name),
            "Take it out of the source's rules first.",
        ));
    }
    app.core.store.role_delete(id).await?;
    app.core.rights.forget();
    Ok(())
}

/// What one person was given, or everybody.
pub async fn grants(app: &App, user: Option<UserId>) -> Result<Vec<wire::GrantView>, Fault> {
    let store = &app.core.store;
    let all = match user {
        Some(user) => store.grants_of(user).await?,
        None => store.grant_all().await?,
    };
    let roles: HashMap<String, String> =
        store.role_all().await?.into_iter().map(|role| (role.id.to_string(), role.name)).collect();
    let mut names: HashMap<UserId, String> = HashMap::new();
    let mut views = Vec::with_capacity(all.len());
    for grant in all {
        let name = match names.entry(grant.user_id) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(free) => free.insert(store.user_get(grant.user_id).await?.name).clone(),
        };
        views.push(wire::GrantView {
            user_id: grant.user_id.to_string(),
            user_name: name,
            role_name: roles.get(&grant.role).cloned().unwrap_or_else(|| grant.role.clone()),
            role: grant.role,
            scope: scope_view(app, grant.scope).await?.into(),
            created_at: to_proto(grant.created_at).into(),
            created_by: grant.created_by,
            ..Default::default()
        });
    }
    Ok(views)
}

/// Says in the audit log who gets or loses which role on what: in names, and of the object with its id, since another may
/// have its name later.
async fn note(app: &App, user: UserId, name: &str, role: &str, scope: Scope) {
    let store = &app.core.store;
    let title = match own_role(role) {
        Ok(id) => store.role_get(id).await.map_or_else(|_| role.to_owned(), |own| own.name),
        Err(_) => role.to_owned(),
    };
    let object = scope_view(app, scope).await.map(|view| view.name).unwrap_or_default();
    let on = [scope.kind(), object.as_str(), scope.id_text().as_str()].join(" ");
    let on = on.split_whitespace().collect::<Vec<_>>().join(" ");
    audit::about("user", user, &format!("{name} ({title} on {on})"));
}

/// Gives a role.
pub async fn grant(
    app: &App,
    person: &Person,
    user: UserId,
    role: &str,
    scope: Scope,
) -> Result<Vec<wire::GrantView>, Fault> {
    let store = &app.core.store;
    let to = store.user_get(user).await?;
    note(app, user, &to.name, role, scope).await;
    if built_in(role).is_none() {
        store.role_get(own_role(role)?).await?;
    }
    covered(person, right::permissions(store, role).await?, scope)?;
    if scope != Scope::Everything && scope_view(app, scope).await?.name.is_empty() {
        return Err(Fault::not_found(scope.kind(), scope.id_text()));
    }
    if store.grants_of(user).await?.len() >= GRANTS_MAX {
        let text = format!("{} has {GRANTS_MAX} grants already.", to.name);
        return Err(Fault::new(FaultCode::Conflict, text, "Give a role on everything, or take some away."));
    }
    let now = app.core.clock.now();
    let record = GrantRecord {
        user_id: user,
        role: role.to_owned(),
        scope,
        created_at: now,
        created_by: person.name.clone(),
    };
    store.grant_put(&record).await?;
    app.core.rights.forget();
    grants(app, Some(user)).await
}

/// Takes a role away.
pub async fn revoke(
    app: &App,
    person: &Person,
    user: UserId,
    role: &str,
    scope: Scope,
) -> Result<Vec<wire::GrantView>, Fault> {
    let store = &app.core.store;
    let from = store.user_get(user).await?;
    note(app, user, &from.name, role, scope).await;
    covered(person, right::permissions(store, role).await?, scope)?;
    // Two at once must not each leave the other as the last.
    let _turn = app.granting.lock().await;
    if role == ADMIN && scope == Scope::Everything && is_last_admin(store, user).await? {
        return Err(last_admin(&from.name));
    }
    let record = GrantRecord {
        user_id: user,
        role: role.to_owned(),
        scope,
        created_at: from.created_at,
        created_by: String::new(),
    };
    store.grant_delete(&record).await?;
    app.core.rights.forget();
    grants(app, Some(user)).await
}

/// Names of the roles a person has on anything, each once.
pub async fn names_of(store: &Store, user: UserId) -> Result<Vec<String>, Fault> {
    let mut names = BTreeSet::new();
    for grant in store.grants_of(user).await? {
        let name = match grant.role.parse::<RoleId>() {
            Ok(id) => store.role_get(id).await?.name,
            Err(_) => grant.role,
        };
        names.insert(name);
    }
    Ok(names.into_iter().collect())
}

/// Whether this person may do everything and nobody else who may can sign in, whatever becomes of a provider or a
/// directory.
pub async fn is_last_admin(store: &Store, user: UserId) -> Result<bool, Fault> {
    let mut is_one = false;
    for grant in store.grants_with(ADMIN).await?.iter().filter(|grant| grant.scope == Scope::Everything) {
        if grant.user_id == user {
            is_one = true;
            continue;
        }
        let other = store.user_get(grant.user_id).await?;
        if !other.disabled && other.source == UserSource::Local {
            return Ok(false);
        }
    }
    Ok(is_one)
}

/// The refusal to take the last one away.
pub fn last_admin(name: &str) -> Fault {
    Fault::new(
        FaultCode::LastAdmin,
        format!("{name} is the last who may do everything."),
        "Give the role admin on everything to somebody else first.",
    )
}
