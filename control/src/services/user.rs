//! People as administrators see them: made, renamed, turned off and on, given new passwords, taken away.
//!
//! Nobody takes away their own account or the last one that can let others in: both would lock everybody out.

use crate::api::Person;
use crate::services::password::one_time_password;
use crate::services::session::{self, Sessions};
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
    let (user, password) = session::new_user(name, sessions.core.clock.now()).await?;
    sessions.core.store.user_insert(&user).await?;
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
    check_local(&sessions.core.store.user_get(id).await?)?;
    if id == caller.user_id {
        return Err(own("Your own password is changed, not reset.", "Use My account."));
    }
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
    sessions.core.store.factor_clear(id).await?;
    view(sessions, caller, &user).await
}

/// Takes a person away, with their sessions.
pub async fn delete(sessions: &Sessions, caller: &Person, id: UserId) -> Result<(), Fault> {
    let _turn = sessions.last_admin.lock().await;
    check_expendable(sessions, caller, id).await?;
    sessions.core.store.user_delete(id).await?;
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

/// Whether nobody who can let others in would be left without this person.
async fn is_last_admin(sessions: &Sessions, id: UserId) -> Result<bool, Fault> {
    let all = sessions.core.store.user_all().await?;
    Ok(!all.iter().any(|user| user.id != id && can_administer(user)))
}

/// Whether this person can sign in and let others in, whatever becomes of a provider or a directory.
fn can_administer(user: &UserRecord) -> bool {
    !user.disabled && user.source == UserSource::Local
}

async fn check_expendable(sessions: &Sessions, caller: &Person, id: UserId) -> Result<(), Fault> {
    let user = sessions.core.store.user_get(id).await?;
    if id == caller.user_id {
        let text = format!("{} is you: you would lock yourself out.", user.name);
        return Err(own(&text, "Let another administrator do it."));
    }
    if can_administer(&user) && is_last_admin(sessions, id).await? {
        return Err(Fault::new(
            FaultCode::LastAdmin,
            format!("{} is the last one who can let others in.", user.name),
            "Make another local administrator first.",
        ));
    }
    Ok(())
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
        granted_roles: user.granted_roles.clone(),
        sessions: u32::try_from(sessions.list(user.id).await?.len()).unwrap_or(u32::MAX),
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
