//! People as administrators see them: made, renamed, turned off and on, given new passwords, taken away.
//!
//! Nobody takes away their own account or the last one that can let others in: both would lock everybody out.

use crate::api::Person;
use crate::services::password::one_time_password;
use crate::services::session::{self, Sessions};
use crate::services::{audit, identity, role};
use quantix_contract::quantix::action::v1::AllowedAction;
use quantix_contract::quantix::user::v1 as wire;
use quantix_contract::{time, twin};
use quantix_model::fault::{Fault, FaultCode};
use quantix_model::id::UserId;
use quantix_model::user::{UserSource, check_user_name};
use quantix_store::{Page, PageRequest, UserRecord};

/// One page of people.
pub async fn list(
    sessions: &Sessions,
    caller: &Person,
    request: &PageRequest,
) -> Result<Page<wire::User>, Fault> {
    let page = sessions.core.store.user_page(request).await?;
    let mut rows = Vec::with_capacity(page.rows.len());
    for user in &page.rows {
        rows.push(view(sessions, caller, user).await?);
    }
    Ok(Page { rows, next_token: page.next_token, total: page.total })
}

/// A person as shown.
pub async fn get(sessions: &Sessions, caller: &Person, id: UserId) -> Result<wire::User, Fault> {
    view(sessions, caller, &sessions.core.store.user_get(id).await?).await
}

/// Makes a local person; answers the one-time password.
pub async fn create(sessions: &Sessions, caller: &Person, name: &str) -> Result<(wire::User, String), Fault> {
    check_user_name("name", name)?;
    let (user, password) = session::new_user(&sessions.passwords, name, sessions.core.clock.now()).await?;
    sessions.core.store.user_insert(&user).await?;
    audit::about("user", user.id, &user.name);
    Ok((view(sessions, caller, &user).await?, password))
}

/// Gives a person another name.
pub async fn rename(
    sessions: &Sessions,
    caller: &Person,
    id: UserId,
    name: &str,
) -> Result<wire::User, Fault> {
    check_user_name("name", name)?;
    check_reach(sessions, caller, &sessions.core.store.user_get(id).await?).await?;
    let done = sessions.core.store.user_update(id, |user| {
        check_local(user)?;
        user.name = name.to_owned();
        Ok::<(), Fault>(())
    });
    let user = done.await?;
    view(sessions, caller, &user).await
}

/// Lets a person sign in, or does no longer.
pub async fn set_disabled(
    sessions: &Sessions,
    caller: &Person,
    id: UserId,
    disabled: bool,
) -> Result<wire::User, Fault> {
    let _turn = sessions.last_admin.lock().await;
    if disabled {
        check_expendable(sessions, caller, id).await?;
    } else {
        check_reach(sessions, caller, &sessions.core.store.user_get(id).await?).await?;
    }
    let user = sessions.core.store.user_set_disabled(id, disabled).await?;
    view(sessions, caller, &user).await
}

/// Gives a local person a new one-time password; all their sessions end.
pub async fn reset_password(
    sessions: &Sessions,
    caller: &Person,
    id: UserId,
) -> Result<(wire::User, String), Fault> {
    let user = sessions.core.store.user_get(id).await?;
    check_local(&user)?;
    if id == caller.user_id {
        return Err(own("Your own password is changed, not reset.", "Use My account."));
    }
    check_reach(sessions, caller, &user).await?;
    let password = one_time_password();
    let hash = sessions.passwords.hash(&password).await?;
    let now = sessions.core.clock.now();
    let user = sessions.core.store.user_set_password(id, &hash, true, now, None).await?;
    Ok((view(sessions, caller, &user).await?, password))
}

/// Takes a person's second factors away, for one who lost them.
pub async fn clear_factors(sessions: &Sessions, caller: &Person, id: UserId) -> Result<wire::User, Fault> {
    if id == caller.user_id {
        return Err(own("Your own second factors are removed under My account.", "Use My account."));
    }
    let user = sessions.core.store.user_get(id).await?;
    check_reach(sessions, caller, &user).await?;
    sessions.core.store.factor_clear(id).await?;
    view(sessions, caller, &user).await
}

/// Takes a person away, with their sessions.
pub async fn delete(sessions: &Sessions, caller: &Person, id: UserId) -> Result<(), Fault> {
    let _turn = sessions.last_admin.lock().await;
    check_expendable(sessions, caller, id).await?;
    sessions.core.store.user_delete(id).await?;
    sessions.core.rights.forget();
    Ok(())
}

/// Refuses what only a local person has.
pub fn check_local(user: &UserRecord) -> Result<(), Fault> {
    let keeper = match user.source {
        UserSource::Local => return Ok(()),
        UserSource::Oidc => "the OpenID Connect provider",
        UserSource::Ldap => "the LDAP directory",
    };
    Err(Fault::new(
        FaultCode::UserNotLocal,
        format!("Name and password of {} are kept by {keeper}.", user.name),
        "Change them there.",
    ))
}

/// Refuses to change somebody who may do what the caller may not: a new password of theirs would be a way to it.
async fn check_reach(sessions: &Sessions, caller: &Person, user: &UserRecord) -> Result<(), Fault> {
    audit::about("user", user.id, &user.name);
    let core = &sessions.core;
    if core.rights.of(&core.store, user.id).await?.is_within(&caller.rights) {
        return Ok(());
    }
    let text = format!("{} may do what you may not.", user.name);
    Err(Fault::new(FaultCode::Forbidden, text, "Let somebody do it who may do as much."))
}

async fn check_expendable(sessions: &Sessions, caller: &Person, id: UserId) -> Result<(), Fault> {
    let user = sessions.core.store.user_get(id).await?;
    if id == caller.user_id {
        let text = format!("{} is you: you would lock yourself out.", user.name);
        return Err(own(&text, "Let another administrator do it."));
    }
    check_reach(sessions, caller, &user).await?;
    match role::is_last_admin(&sessions.core.store, id).await? {
        true => Err(role::last_admin(&user.name)),
        false => Ok(()),
    }
}

fn own(message: &str, remedy: &str) -> Fault {
    Fault::new(FaultCode::OwnAccount, message, remedy)
}

async fn view(sessions: &Sessions, caller: &Person, user: &UserRecord) -> Result<wire::User, Fault> {
    let factors = sessions.core.store.factor_of(user.id).await?;
    let has_second_factor = factors.iter().any(|factor| factor.confirmed);
    let expendable = check_expendable(sessions, caller, user.id).await.err();
    let local = check_local(user).err();
    let is_self = (user.id == caller.user_id).then(|| own("That is you: use My account.", ""));
    let action = |verb: &str, refusal: Option<&Fault>| AllowedAction {
        verb: verb.to_owned(),
        allowed: refusal.is_none(),
        reason_if_not: refusal.map(|fault| fault.message.clone()).unwrap_or_default(),
        ..Default::default()
    };
    let source = identity::source_id(user);
    let missing = Fault::invalid("factors", "There is no second factor.", "");
    Ok(wire::User {
        id: user.id.to_string(),
        name: user.name.clone(),
        disabled: user.disabled,
        source: twin::write(user.source),
        must_change_password: user.must_change_password,
        created_at: time::to_proto(user.created_at).into(),
        signed_in_at: user.signed_in_at.map(time::to_proto).into(),
        has_second_factor,
        granted_roles: role::names_of(&sessions.core.store, user.id).await?,
        sessions: u32::try_from(sessions.list(user.id).await?.len()).unwrap_or(u32::MAX),
        identity_source_id: source.map(|id| id.to_string()).unwrap_or_default(),
        identity_source_title: identity::title(&sessions.core.store, source).await?,
        allowed_actions: vec![
            action("rename", local.as_ref()),
            if user.disabled { action("enable", None) } else { action("disable", expendable.as_ref()) },
            action("reset_password", local.as_ref().or(is_self.as_ref())),
            action("clear_factors", is_self.as_ref().or((!has_second_factor).then_some(&missing))),
            action("delete", expendable.as_ref()),
        ],
        ..Default::default()
    })
}
