//! People signing in and out, and their sessions.
//!
//! ```text
//!   name and password ─▶ no second factor ─────────────▶ session
//!          │           └▶ challenge ─(code or passkey)──▶ session ─▶ used ─▶ idle too long, too old, signed out,
//!          │                                                 ▲               revoked, password changed ─▶ gone
//!   passkey alone ───────────────────────────────────────────┘
//! ```
//! - A token is 256 random bits; the store knows only its SHA-256.
//! - A wrong name costs as much time as a wrong password, and both are answered alike.
//! - `throttle` counts attempts before anything is looked at, codes as well as passwords.

use crate::api::Person;
use crate::api::auth::By;
use crate::core::Core;
use crate::ids;
use crate::services::challenge::Challenges;
use crate::services::ldap_sign_in::{self, Directories};
use crate::services::passkey::{self, Passkeys};
use crate::services::password::{Checked, Passwords, check_new, one_time_password};
use crate::services::sign_in::{InForce, Settings};
use crate::services::sign_in_fault::SignInFaults;
use crate::services::site::Site;
use crate::services::throttle::Throttle;
use crate::services::{factor, identity, identity_admit, user};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quantix_model::UnixMs;
use quantix_model::fault::{Fault, FaultCode};
use quantix_model::id::{SessionId, UserId};
use quantix_model::right::{ADMIN, Rights, Scope};
use quantix_model::user::{FactorKind, SessionProof, UserSource};
use quantix_store::{GrantRecord, SessionRecord, Store, UserRecord};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// A session that was not used for so long has ended, unless the settings say otherwise.
pub const IDLE_MAX: Duration = Duration::from_secs(8 * 3600);
/// A session ends after so long, used or not, unless the settings say otherwise.
pub const LIFE_MAX: Duration = Duration::from_secs(24 * 3600);
/// The last use is written down so often.
const TOUCH_EVERY: Duration = Duration::from_secs(60);
/// What a bearer token begins with.
const TOKEN_PREFIX: &str = "qxs_";
/// Name of the one who is there from the first start.
const FIRST: &str = "admin";
/// People without a password here prove themselves by having signed in no longer ago.
const FRESH: Duration = Duration::from_secs(600);

/// The service.
#[derive(Debug)]
pub struct Sessions {
    /// The ground.
    pub core: Arc<Core>,
    /// Hashing.
    pub passwords: Passwords,
    /// Slows down those who guess.
    pub throttle: Throttle,
    /// Sign-ins between their two steps.
    pub challenges: Challenges,
    /// Questions to passkeys.
    pub passkeys: Passkeys,
    /// How people may sign in.
    pub settings_in_force: InForce,
    /// Held to read while somebody of an identity source is let in, to write while a source is changed.
    pub sources: tokio::sync::RwLock<()>,
    /// Those who wait for directories.
    pub directories: Directories,
    /// Sign-ins that went to a provider and came back with less than was hoped for.
    pub faults: SignInFaults,
    /// Held while somebody's right to sign in is taken away, so that the last admin stays.
    pub last_admin: tokio::sync::Mutex<()>,
}

/// Who knocks.
#[derive(Clone, Debug)]
pub struct Visitor {
    /// From where.
    pub address: IpAddr,
    /// With what, in words.
    pub browser: String,
    /// By which address of the vDC.
    pub site: Option<Site>,
}

/// A new session, with the token that is shown once.
pub struct SignedIn {
    /// The user.
    pub user: UserRecord,
    /// The session.
    pub session: SessionRecord,
    /// For cookie or bearer.
    pub token: String,
    /// What they may do.
    pub rights: Arc<Rights>,
}

/// What a first step led to.
pub enum Step {
    /// In.
    Session(Box<SignedIn>),
    /// One of these is needed, too.
    SecondFactor(SecondFactor),
}

/// What is missing.
pub struct SecondFactor {
    /// Handed back with the proof.
    pub challenge: String,
    /// An app may answer.
    pub totp: bool,
    /// A passkey may answer.
    pub passkey: bool,
    /// Why the person's passkeys may not, if there are any.
    pub passkey_reason_if_not: String,
    /// A recovery code may answer.
    pub recovery_code: bool,
}

/// A second factor, as shown.
#[derive(Clone, Copy)]
pub enum Proof<'a> {
    /// Six digits.
    Totp(&'a str),
    /// One of ten.
    RecoveryCode(&'a str),
    /// What a browser made of a question.
    Passkey(passkey::Answer<'a>),
}

impl Sessions {
    /// The service over its ground.
    pub fn new(core: Arc<Core>) -> Sessions {
        Sessions {
            passwords: Passwords::new(core.config.password_cost()),
            throttle: Throttle::new(core.clock.clone()),
            challenges: Challenges::new(core.clock.clone()),
            passkeys: Passkeys::new(&core),
            settings_in_force: InForce::default(),
            sources: tokio::sync::RwLock::default(),
            directories: Directories::default(),
            faults: SignInFaults::new(core.clock.clone()),
            last_admin: tokio::sync::Mutex::default(),
            core,
        }
    }

    /// How people may sign in.
    pub async fn settings(&self) -> Result<Arc<Settings>, Fault> {
        self.settings_in_force.get(&self.core.store).await
    }

    /// Checks name and password; begins a session, or asks for a second factor.
    pub async fn login(&self, name: &str, password: &str, visitor: &Visitor) -> Result<Step, Fault> {
        self.throttle.count(name, visitor.address)?;
        let known = self.core.store.user_find(name).await?;
        // At the same time, so that a name takes as long whether it is a local person's or not.
        let (local, told) = tokio::join!(
            self.check_password(known.clone(), password),
            ldap_sign_in::ask(self, known.as_ref(), name, password),
        );
        if let Some(user) = local? {
            return self.proved(name, user, visitor).await;
        }
        let Some((asked, told)) = told? else { return Err(wrong_credentials()) };
        let (_turn, user) = identity_admit::person(self, &asked, &told).await?;
        if user.name.to_lowercase() != name.to_lowercase() {
            // They have another name in the directory than here; from now on it counts for that.
            self.throttle.forgive(name, visitor.address);
            self.throttle.count(&user.name, visitor.address)?;
        }
        let name = user.name.clone();
        self.proved(&name, user, visitor).await
    }

    /// What follows a right password.
    async fn proved(&self, name: &str, user: UserRecord, visitor: &Visitor) -> Result<Step, Fault> {
        if user.disabled {
            return Err(disabled());
        }
        let factors = factor::confirmed(&self.core, user.id).await?;
        if factors.is_empty() {
            self.throttle.forgive(name, visitor.address);
            return Ok(Step::Session(Box::new(self.begin(user, visitor, SessionProof::Password).await?)));
        }
        let (passkey, passkey_reason_if_not) =
            passkey::second_step(&self.core, &factors, visitor.site.as_ref());
        Ok(Step::SecondFactor(SecondFactor {
            challenge: self.challenges.make(&user, visitor.address)?,
            totp: factors.iter().any(|f| f.kind == FactorKind::Totp),
            passkey,
            passkey_reason_if_not,
            recovery_code: self.core.store.recovery_code_count(user.id).await? > 0,
        }))
    }

    /// The user, when the password is right. Takes as long for nobody as for somebody.
    async fn check_password(
        &self,
        user: Option<UserRecord>,
        password: &str,
    ) -> Result<Option<UserRecord>, Fault> {
        let local = user.filter(|user| user.source == UserSource::Local);
        let hash = local.as_ref().map(|user| user.password_hash.as_str());
        let checked = self.passwords.check(password, hash).await?;
        let Some(user) = local.filter(|_| checked != Checked::Wrong) else { return Ok(None) };
        if let Checked::Renewed(new) = checked
            && let Err(err) = self.core.store.user_renew_hash(user.id, &user.password_hash, &new).await
        {
            // The one that is there goes on opening.
            tracing::warn!(%err, "the hash of a password could not be renewed");
        }
        Ok(Some(user))
    }

    /// The second step.
    pub async fn confirm(
        &self,
        challenge: &str,
        proof: Proof<'_>,
        visitor: &Visitor,
    ) -> Result<SignedIn, Fault> {
        let (id, password_set_at) = self.challenges.attempt(challenge, visitor.address)?;
        let user = self.core.store.user_get(id).await?;
        let _unchanged = self.sources.read().await;
        let out = user.disabled || !identity::lets_in(&self.core.store, &user).await?;
        if out || user.password_set_at != password_set_at {
            self.challenges.finish(challenge)?;
            return Err(wrong_credentials());
        }
        self.throttle.count(&user.name, visitor.address)?;
        let (right, by) = match proof {
            Proof::Totp(code) => (factor::use_totp(&self.core, id, code).await?, SessionProof::Totp),
            Proof::RecoveryCode(code) => {
                (factor::use_recovery_code(&self.core, id, code).await?, SessionProof::RecoveryCode)
            }
            Proof::Passkey(answer) => {
                passkey::use_second(self, &user, challenge, answer).await?;
                (true, SessionProof::Passkey)
            }
        };
        if !right {
            return Err(factor::wrong());
        }
        self.challenges.finish(challenge)?;
        self.throttle.forgive(&user.name, visitor.address);
        self.begin(user, visitor, by).await
    }

    /// Begins a session for somebody who has proved themselves.
    pub async fn begin(
        &self,
        user: UserRecord,
        visitor: &Visitor,
        proof: SessionProof,
    ) -> Result<SignedIn, Fault> {
        let now = self.core.clock.now();
        let token = format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(ids::secret::<32>()));
        let session = SessionRecord {
            id: ids::session(),
            token_sha256: sha256(token.as_bytes()),
            user_id: user.id,
            address: visitor.address.to_string(),
            created_at: now,
            used_at: now,
            expires_at: now.plus(self.settings().await?.life()),
            browser: visitor.browser.clone(),
            proof,
        };
        self.core.store.session_insert(&session).await?;
        let rights = self.core.rights.of(&self.core.store, user.id).await?;
        Ok(SignedIn { user, session, token, rights })
    }

    /// The person behind a token, while the session lasts.
    pub async fn authenticate(&self, token: &str) -> Result<Option<Person>, Fault> {
        if !token.starts_with(TOKEN_PREFIX) || token.len() > 128 {
            return Ok(None);
        }
        let Some(session) = self.core.store.session_find(&sha256(token.as_bytes())).await? else {
            return Ok(None);
        };
        let (now, settings) = (self.core.clock.now(), self.settings().await?);
        if ended(&session, &settings, now) {
            self.core.store.session_delete(session.id).await?;
            return Ok(None);
        }
        let user = match self.core.store.user_get(session.user_id).await.map_err(Fault::from) {
            // Deleted since the session was found.
            Err(fault) if fault.code == FaultCode::NotFound => return Ok(None),
            user => user?,
        };
        if user.disabled {
            return Ok(None);
        }
        if session.used_at.age(now) > TOUCH_EVERY {
            // A store that takes nothing keeps nobody from looking.
            if let Err(err) = self.core.store.session_touch(session.id, now).await {
                tracing::warn!(%err, "that a session was used could not be written");
            }
        }
        Ok(Some(Person {
            user_id: user.id,
            name: user.name,
            by: By::Session(session.id),
            must_change_password: user.must_change_password,
            rights: self.core.rights.of(&self.core.store, user.id).await?,
        }))
    }

    /// The caller's session and user as they stand.
    pub async fn get(&self, person: &Person) -> Result<(UserRecord, SessionRecord), Fault> {
        let user = self.core.store.user_get(person.user_id).await?;
        Ok((user, self.core.store.session_get(person.session()?).await?))
    }

    /// Whether what a caller came with still lasts; does not count as use. Answers what they may do now.
    pub async fn lasts(&self, person: &Person) -> Option<Person> {
        let (store, now) = (&self.core.store, self.core.clock.now());
        let user = store.user_get(person.user_id).await.ok()?;
        if user.disabled || !identity::lets_in(store, &user).await.ok()? {
            return None;
        }
        let rights = self.core.rights.of(store, person.user_id).await.ok()?;
        let rights = match person.by {
            By::Session(id) => {
                let settings = self.settings().await.ok()?;
                store.session_get(id).await.ok().filter(|session| !ended(session, &settings, now))?;
                rights
            }
            By::Token(id) => {
                let token = store.api_token_get(id).await.ok()?;
                let lasts = token.expires_at.is_none_or(|end| end > now);
                Arc::new(lasts.then(|| rights.limited(token.permissions, token.scope))?)
            }
        };
        Some(Person { rights, ..person.clone() })
    }

    /// A user's sessions that last, oldest first.
    pub async fn list(&self, user: UserId) -> Result<Vec<SessionRecord>, Fault> {
        let (now, settings) = (self.core.clock.now(), self.settings().await?);
        let all = self.core.store.session_of(user).await?;
        Ok(all.into_iter().filter(|session| !ended(session, &settings, now)).collect())
    }

    /// Ends the caller's session.
    pub async fn logout(&self, person: &Person) -> Result<(), Fault> {
        self.core.store.session_delete(person.session()?).await?;
        Ok(())
    }

    /// Ends one session of a user.
    pub async fn revoke(&self, user: UserId, id: SessionId) -> Result<(), Fault> {
        let own = self.core.store.session_of(user).await?.iter().any(|session| session.id == id);
        if !own || !self.core.store.session_delete(id).await? {
            return Err(Fault::not_found("session", id));
        }
        Ok(())
    }

    /// Ends all sessions of a user but `keep`.
    pub async fn revoke_all(&self, user: UserId, keep: Option<SessionId>) -> Result<(), Fault> {
        Ok(self.core.store.session_delete_of(user, keep).await?)
    }

    /// The caller, once more proved by the password; for what a thief of a session must not do.
    pub async fn prove(&self, person: &Person, password: &str, address: IpAddr) -> Result<UserRecord, Fault> {
        let (user, session) = self.get(person).await?;
        if user.source == UserSource::Oidc {
            if session.created_at.age(self.core.clock.now()) < FRESH {
                return Ok(user);
            }
            return Err(Fault::new(
                FaultCode::SignInAgain,
                "This is done only shortly after signing in.",
                "Sign out, sign in again, and do it within ten minutes.",
            ));
        }
        self.throttle.count(&user.name, address)?;
        let name = user.name.clone();
        let proved = match user.source {
            UserSource::Ldap => ldap_sign_in::is_password(self, &user, password).await?.then_some(user),
            UserSource::Local | UserSource::Oidc => self.check_password(Some(user), password).await?,
        };
        let Some(user) = proved else {
            return Err(Fault {
                field: "password".into(),
                message: "The password is not right.".into(),
                ..wrong_credentials()
            });
        };
        self.throttle.forgive(&name, address);
        Ok(user)
    }

    /// Sets a new password and ends the user's other sessions.
    pub async fn change_password(
        &self,
        person: &Person,
        current: &str,
        new: &str,
        address: IpAddr,
    ) -> Result<UserRecord, Fault> {
        let user = self.core.store.user_get(person.user_id).await?;
        user::check_local(&user)?;
        let proved = self.prove(person, current, address).await;
        let user = proved.map_err(|fault| match fault.code {
            FaultCode::WrongCredentials => Fault {
                field: "current_password".into(),
                message: "The current password is not right.".into(),
                ..fault
            },
            _ => fault,
        })?;
        check_new(&user.name, current, new)?;
        let hash = self.passwords.hash(new).await?;
        let now = self.core.clock.now();
        let keep = Some(person.session()?);
        Ok(self.core.store.user_set_password(user.id, &hash, false, now, keep).await?)
    }

    /// Forgets sessions that have ended.
    pub async fn sweep(&self) -> Result<u64, Fault> {
        let now = self.core.clock.now();
        let idle = i64::try_from(self.settings().await?.idle().as_millis()).unwrap_or(i64::MAX);
        Ok(self.core.store.session_sweep(now, UnixMs(now.0.saturating_sub(idle))).await?)
    }
}

/// A local person who was never here, with the password that is to be told them.
pub async fn new_user(passwords: &Passwords, name: &str, now: UnixMs) -> Result<(UserRecord, String), Fault> {
    let one_time = one_time_password();
    let user = UserRecord {
        id: ids::user(),
        name: name.to_owned(),
        password_hash: passwords.hash(&one_time).await?,
        must_change_password: true,
        created_at: now,
        password_set_at: now,
        disabled: false,
        source: UserSource::Local,
        external_id: None,
        signed_in_at: None,
    };
    Ok((user, one_time))
}

/// Makes the first admin when nobody is there; answers the one-time password then.
pub async fn first_admin(store: &Store, passwords: &Passwords, now: UnixMs) -> Result<Option<String>, Fault> {
    if store.user_count().await? > 0 {
        return Ok(None);
    }
    let (admin, password) = new_user(passwords, FIRST, now).await?;
    store.user_insert(&admin).await?;
    // Cut here, the next start finds a user and no grant: `reset` mends that, too.
    store.grant_put(&all_rights(admin.id, now)).await?;
    Ok(Some(password))
}

/// Gives a local person a new one-time password and ends all their sessions, for root on this machine: lets them in
/// again, too. With `clear_mfa` their second factors go.
pub async fn reset(
    store: &Store,
    passwords: &Passwords,
    name: &str,
    clear_mfa: bool,
    now: UnixMs,
) -> Result<String, Fault> {
    if name == FIRST
        && let Some(password) = first_admin(store, passwords, now).await?
    {
        return Ok(password);
    }
    let user = store.user_find(name).await?.ok_or_else(|| Fault::not_found("user", name))?;
    user::check_local(&user)?;
    let password = one_time_password();
    let hash = passwords.hash(&password).await?;
    store.user_set_password(user.id, &hash, true, now, None).await?;
    store.user_set_disabled(user.id, false).await?;
    if clear_mfa {
        store.factor_clear(user.id).await?;
    }
    // The way back in when nobody is left who may do everything.
    if user.name == FIRST {
        store.grant_put(&all_rights(user.id, now)).await?;
    }
    Ok(password)
}

/// Everything, for whoever is the first, or is set up anew by the machine's root.
fn all_rights(user_id: UserId, now: UnixMs) -> GrantRecord {
    let (role, created_by) = (ADMIN.to_owned(), String::new());
    GrantRecord { user_id, role, scope: Scope::Everything, created_at: now, created_by }
}

fn ended(session: &SessionRecord, settings: &Settings, now: UnixMs) -> bool {
    let last = session.expires_at.0.min(session.created_at.plus(settings.life()).0);
    last <= now.0 || session.used_at.age(now) >= settings.idle()
}

fn wrong_credentials() -> Fault {
    Fault::new(
        FaultCode::WrongCredentials,
        "User name or password is not right.",
        "Try again; `quantix-vdc reset-password` on the vDC gives admin a new one-time password.",
    )
}

/// The fault for people who are turned off.
pub fn disabled() -> Fault {
    Fault::new(
        FaultCode::UserDisabled,
        "You may not sign in at present: an administrator turned this account off.",
        "Ask an administrator to turn it on again under Users.",
    )
}

/// SHA-256, under which secrets that are random are kept.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}
