//! Who the directories say somebody is, and whether the people they told of are still there.
//!
//! ```text
//!   name ─▶ a local person's? ─ yes ─▶ no directory is asked
//!             └ no ─▶ a place is free? ─▶ the directory they are known to come from, then the others by title
//!                                           ├─ Unknown, or it cannot be asked ─▶ the next
//!                                           └─ Wrong, Refused, Right ─▶ that is the answer
//! ```
//! - Only so many sign-ins wait for directories at a time: those of local people never wait behind them.
//! - Who signs in is told little of what is wrong with a directory; the log and the source's test say all.

use crate::services::identity_admit::{self, Asked};
use crate::services::ldap::{Answer, Directory, Limits, Standing, Who};
use crate::services::session::Sessions;
use crate::services::{event, identity, role};
use quantix_model::fault::{Fault, FaultCode};
use quantix_model::id::IdentitySourceId;
use quantix_model::identity::{LdapConfig, SourceConfig, Told, external_id};
use quantix_model::user::{UserSource, check_user_name};
use quantix_store::{IdentitySourceRecord, UserRecord};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// Sign-ins that wait for directories at the same time.
const AT_ONCE: usize = 32;
/// Nobody waits longer for a place.
const PATIENCE: Duration = Duration::from_secs(2);
/// All directories together answer within.
const ALL: Duration = Duration::from_secs(20);
/// People asked for over one connection.
const BATCH: usize = 50;
/// A look at them may take its time: nobody waits for it.
const LOOK: Limits = Limits { server: Duration::from_secs(30), all: Duration::from_secs(60) };
/// So many may be gone at one look, or one in so many of all; more is taken for a mistake in the base or the filter.
const GONE_FREE: usize = 5;
const GONE_SHARE: usize = 4;

/// The places.
#[derive(Debug)]
pub struct Directories(Semaphore);

impl Default for Directories {
    fn default() -> Directories {
        Directories(Semaphore::new(AT_ONCE))
    }
}

impl Directories {
    async fn place(&self) -> Result<SemaphorePermit<'_>, Fault> {
        match tokio::time::timeout(PATIENCE, self.0.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            // It is never closed.
            Ok(Err(_)) | Err(_) => Err(Fault::new(
                FaultCode::Busy,
                "Too many people wait for a directory at this moment.",
                "Try again in a few seconds; local people sign in all the same.",
            )),
        }
    }
}

/// Whom a directory takes a name and password for; `None` when none knows the name or the password is wrong.
pub async fn ask(
    sessions: &Sessions,
    known: Option<&UserRecord>,
    name: &str,
    password: &str,
) -> Result<Option<(Asked, Told)>, Fault> {
    // Directories do not care for spaces; here nobody has a name with one, and each way to write a name would be
    // throttled by itself.
    if known.is_some_and(|user| user.source == UserSource::Local) || check_user_name("name", name).is_err() {
        return Ok(None);
    }
    let own = known.and_then(identity::source_id);
    let sources = sources(sessions, own).await?;
    if sources.is_empty() || password.is_empty() {
        return Ok(None);
    }
    let _place = sessions.directories.place().await?;
    let end = Instant::now() + ALL;
    let mut failed = None;
    for (source, config) in &sources {
        match answer(sessions, source, config, end, Who::Name(name), password).await {
            Ok(Answer::Unknown) => {}
            Ok(Answer::Wrong) => return Ok(None),
            Ok(Answer::Refused(fault)) => return Err(fault),
            Ok(Answer::Right(told)) => {
                return Ok(Some((Asked { id: source.id, generation: source.generation }, told)));
            }
            // Their password is nothing for another directory that happens to know the name.
            Err(fault) if Some(source.id) == own => return Err(fault),
            Err(fault) => failed = failed.or(Some(fault)),
        }
    }
    failed.map_or(Ok(None), Err)
}

/// Whether this is the password of somebody who came from a directory.
pub async fn is_password(sessions: &Sessions, user: &UserRecord, password: &str) -> Result<bool, Fault> {
    let Some(id) = identity::source_id(user) else { return Ok(false) };
    let source = sessions.core.store.identity_source_get(id).await?;
    let SourceConfig::Ldap(config) = &source.config else { return Ok(false) };
    if !source.enabled {
        return Err(identity_admit::disabled(&source.title));
    }
    let subject = subject(id, user);
    let _place = sessions.directories.place().await?;
    let end = Instant::now() + ALL;
    match answer(sessions, &source, config, end, Who::Subject(subject), password).await? {
        Answer::Unknown | Answer::Wrong => Ok(false),
        Answer::Refused(fault) => Err(fault),
        Answer::Right(_) => Ok(true),
    }
}

/// Directories that are turned on: the person's own first, then by title.
async fn sources(
    sessions: &Sessions,
    own: Option<IdentitySourceId>,
) -> Result<Vec<(IdentitySourceRecord, LdapConfig)>, Fault> {
    let mut all = sessions.core.store.identity_source_all().await?;
    all.sort_by_key(|source| (Some(source.id) != own, source.title.to_lowercase()));
    let enabled = all.into_iter().filter(|source| source.enabled);
    let ldap = enabled.filter_map(|source| match source.config.clone() {
        SourceConfig::Ldap(config) => Some((source, config)),
        SourceConfig::Oidc(_) => None,
    });
    Ok(ldap.collect())
}

fn subject(id: IdentitySourceId, user: &UserRecord) -> &str {
    let external = user.external_id.as_deref().unwrap_or_default();
    external.strip_prefix(&external_id(id, "")).unwrap_or_default()
}

/// Asks one directory; what is wrong with it is logged and told in short.
async fn answer(
    sessions: &Sessions,
    source: &IdentitySourceRecord,
    config: &LdapConfig,
    end: Instant,
    who: Who<'_>,
    password: &str,
) -> Result<Answer, Fault> {
    let left = end.saturating_duration_since(Instant::now());
    let limits = Limits { all: Limits::default().all.min(left), ..Limits::default() };
    let asked = async {
        let secret = identity::open_secret(sessions, source)?;
        Directory::new(config, &secret).limited(limits).authenticate(who, password).await
    };
    asked.await.map_err(|fault| {
        tracing::warn!(source = %source.id, title = source.title, %fault, "a directory could not be asked");
        Fault::new(
            FaultCode::IdentitySourceUnreachable,
            format!("{} cannot be asked at present.", source.title),
            "Try again later. An administrator sees why by testing it under Sign-in, and in the vDC's log.",
        )
    })
}

/// Looks whether the people of all directories are still there: takes up their groups and names, and turns off who is
/// gone. What a directory does not say for certain changes nothing.
pub async fn look_again(sessions: &Sessions) -> Result<(), Fault> {
    for (source, config) in sources(sessions, None).await? {
        let people = sessions.core.store.identity_source_people(source.id).await?;
        let people: Vec<UserRecord> = people.into_iter().filter(|user| !user.disabled).collect();
        match look_up(sessions, &source, &config, &people).await {
            Ok(standing) => {
                let gone = standing.iter().filter(|one| **one == Standing::Gone).count();
                let too_many = gone > GONE_FREE.max(people.len() / GONE_SHARE);
                if too_many {
                    tracing::error!(source = %source.id, title = source.title, gone, "so many are gone from a directory at once that nobody is turned off; look at its base and filter");
                }
                for (user, standing) in people.iter().zip(standing) {
                    if too_many && standing == Standing::Gone {
                        continue;
                    }
                    settle(sessions, &source, user, standing).await?;
                }
            }
            Err(fault) => {
                tracing::warn!(source = %source.id, title = source.title, %fault, "a directory's people could not be looked up");
            }
        }
    }
    Ok(())
}

async fn look_up(
    sessions: &Sessions,
    source: &IdentitySourceRecord,
    config: &LdapConfig,
    people: &[UserRecord],
) -> Result<Vec<Standing>, Fault> {
    let secret = identity::open_secret(sessions, source)?;
    let directory = Directory::new(config, &secret).limited(LOOK);
    let mut standing = Vec::with_capacity(people.len());
    for batch in people.chunks(BATCH) {
        let subjects: Vec<String> = batch.iter().map(|user| subject(source.id, user).to_owned()).collect();
        standing.append(&mut directory.look_up(&subjects).await?);
    }
    Ok(standing)
}

async fn settle(
    sessions: &Sessions,
    source: &IdentitySourceRecord,
    user: &UserRecord,
    standing: Standing,
) -> Result<(), Fault> {
    let asked = Asked { id: source.id, generation: source.generation };
    match standing {
        Standing::There(told) => match identity_admit::person(sessions, &asked, &told).await {
            Ok(_) => Ok(()),
            // Changed meanwhile by somebody: the next look sees it.
            Err(fault) if matches!(fault.code, FaultCode::UserDisabled | FaultCode::SignInStateLost) => {
                Ok(())
            }
            Err(fault) => Err(fault),
        },
        Standing::Unclear(fault) => {
            tracing::warn!(user = %user.id, %fault, "a directory does not say clearly how somebody stands");
            Ok(())
        }
        Standing::Gone => {
            let (store, _turn) = (&sessions.core.store, sessions.last_admin.lock().await);
            let _unchanged = sessions.sources.read().await;
            if identity_admit::still(&sessions.core, &asked).await.is_err() {
                return Ok(());
            }
            tracing::warn!(user = %user.id, source = %source.id, "somebody is gone from their directory and is turned off");
            if role::is_last_admin(store, user.id).await? {
                return Ok(store.session_delete_of(user.id, None).await?);
            }
            store.user_set_disabled(user.id, true).await?;
            event::user_gone(&sessions.core, user).await
        }
    }
}
