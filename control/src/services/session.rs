//! People signing in and out: passwords, sessions, and what slows down those who guess.
//!
//! - A token is 256 random bits; the store knows only its SHA-256.
//! - A wrong name costs as much time as a wrong password, and both are answered alike.
//! - Attempts are counted per name and address before the password is looked at, so that many at once gain nothing.

use crate::api::Person;
use crate::api::auth::By;
use crate::core::Core;
use crate::ids;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quantix_model::UnixMs;
use quantix_model::fault::{Fault, FaultCode};
use quantix_model::id::UserId;
use quantix_model::right::{ADMIN, Rights, Scope};
use quantix_store::{GrantRecord, SessionRecord, Store, UserRecord};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// A session that was not used for so long has ended.
pub const IDLE_MAX: Duration = Duration::from_secs(8 * 3600);
/// A session ends after so long, used or not.
pub const LIFE_MAX: Duration = Duration::from_secs(24 * 3600);
/// The last use is written down so often.
const TOUCH_EVERY: Duration = Duration::from_secs(60);
/// Passwords checked at the same time: each takes 19 MiB and a core.
const HASHING_MAX: usize = 2;
/// Wait for one's turn to have a password checked.
const HASHING_WAIT: Duration = Duration::from_secs(10);
/// Wrong attempts that cost nothing.
const ATTEMPTS_FREE: u32 = 5;
/// Longest wait between attempts.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// Attempts are forgotten after so long without any.
const ATTEMPTS_LIFE: Duration = Duration::from_secs(900);
/// Names and addresses remembered.
const ATTEMPTS_MAX: usize = 10_000;
/// Fewest characters of a password.
const PASSWORD_CHARS_MIN: usize = 12;
/// Most bytes of a password that are looked at.
const PASSWORD_BYTES_MAX: usize = 1024;
/// What a bearer token begins with.
const TOKEN_PREFIX: &str = "qxs_";
/// Letters of one-time passwords: none that look alike.
const ALPHABET: &[u8; 31] = b"abcdefghjkmnpqrstuvwxyz23456789";
/// 46 MiB and one pass, one of OWASP's equal choices. Above 32 MiB glibc always maps and unmaps the memory of a hash,
/// so that it goes back to the system; with less, each login left the process larger (mallopt(3), M_MMAP_THRESHOLD).
const HASH_KIB: u32 = 47_104;
/// Checked when there is no such user, for the time it takes; no password has this hash.
const DECOY: &str =
    "$argon2id$v=19$m=47104,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The service.
#[derive(Debug)]
pub struct Sessions {
    core: Arc<Core>,
    hashing: Semaphore,
    attempts: Mutex<HashMap<(String, IpAddr), Attempts>>,
}

#[derive(Clone, Copy, Debug)]
struct Attempts {
    count: u32,
    last: UnixMs,
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

impl Sessions {
    /// The service over its ground.
    pub fn new(core: Arc<Core>) -> Sessions {
        Sessions { core, hashing: Semaphore::new(HASHING_MAX), attempts: Mutex::default() }
    }

    /// Checks name and password and begins a session.
    pub async fn login(&self, name: &str, password: &str, address: IpAddr) -> Result<SignedIn, Fault> {
        let key = (name.to_lowercase().chars().take(128).collect::<String>(), address);
        self.count_attempt(&key)?;
        let user = self.core.store.user_find(name).await?;
        let hash = user.as_ref().map_or(DECOY, |u| u.password_hash.as_str());
        let right = self.check(password, hash).await?;
        let Some(user) = user.filter(|_| right) else { return Err(wrong_credentials()) };
        self.forgive(&key);
        let now = self.core.clock.now();
        let token = format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(ids::secret::<32>()));
        let session = SessionRecord {
            id: ids::session(),
            token_sha256: sha256(token.as_bytes()),
            user_id: user.id,
            address: address.to_string(),
            created_at: now,
            used_at: now,
            expires_at: now.plus(LIFE_MAX),
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
        let now = self.core.clock.now();
        if ended(&session, now) {
            self.core.store.session_delete(session.id).await?;
            return Ok(None);
        }
        if session.used_at.age(now) > TOUCH_EVERY {
            // A store that takes nothing keeps nobody from looking.
            if let Err(err) = self.core.store.session_touch(session.id, now).await {
                tracing::warn!(%err, "that a session was used could not be written");
            }
        }
        let user = self.core.store.user_get(session.user_id).await?;
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
        let rights = self.core.rights.of(store, person.user_id).await.ok()?;
        let rights = match person.by {
            By::Session(id) => {
                store.session_get(id).await.ok().filter(|session| !ended(session, now))?;
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

    /// Ends the caller's session.
    pub async fn logout(&self, person: &Person) -> Result<(), Fault> {
        self.core.store.session_delete(person.session()?).await?;
        Ok(())
    }

    /// Sets a new password and ends the user's other sessions.
    pub async fn change_password(
        &self,
        person: &Person,
        current: &str,
        new: &str,
        address: IpAddr,
    ) -> Result<UserRecord, Fault> {
        let key = (person.name.to_lowercase(), address);
        self.count_attempt(&key)?;
        let user = self.core.store.user_get(person.user_id).await?;
        if !self.check(current, &user.password_hash).await? {
            return Err(Fault {
                field: "current_password".into(),
                message: "The current password is not right.".into(),
                ..wrong_credentials()
            });
        }
        self.forgive(&key);
        check_new(&user.name, current, new)?;
        let hash = self.hash(new).await?;
        let now = self.core.clock.now();
        let keep = Some(person.session()?);
        Ok(self.core.store.user_set_password(user.id, &hash, false, now, keep).await?)
    }

    /// Forgets sessions that have ended.
    pub async fn sweep(&self) -> Result<u64, Fault> {
        let now = self.core.clock.now();
        let idle_since =
            UnixMs(now.0.saturating_sub(i64::try_from(IDLE_MAX.as_millis()).unwrap_or(i64::MAX)));
        Ok(self.core.store.session_sweep(now, idle_since).await?)
    }

    async fn check(&self, password: &str, hash: &str) -> Result<bool, Fault> {
        let (password, hash) = (password.to_owned(), hash.to_owned());
        self.on_thread(move || verify(&password, &hash)).await
    }

    async fn hash(&self, password: &str) -> Result<String, Fault> {
        let password = password.to_owned();
        self.on_thread(move || hash_password(&password)).await?
    }

    async fn on_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let turn = tokio::time::timeout(HASHING_WAIT, self.hashing.acquire()).await;
        let Ok(_turn) = turn else {
            let text = "Too many people sign in at this moment.";
            return Err(Fault::new(FaultCode::Busy, text, "Try again in a few seconds."));
        };
        tokio::task::spawn_blocking(work).await.map_err(Fault::internal)
    }

    /// Counts an attempt before it is looked at; refuses while the wait of those before is not over.
    fn count_attempt(&self, key: &(String, IpAddr)) -> Result<(), Fault> {
        let now = self.core.clock.now();
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        if attempts.len() >= ATTEMPTS_MAX {
            attempts.retain(|_, a| a.last.age(now) < ATTEMPTS_LIFE);
        }
        let known = attempts.get(key).copied().filter(|a| a.last.age(now) < ATTEMPTS_LIFE);
        let before = known.unwrap_or(Attempts { count: 0, last: UnixMs(0) });
        let wait = match before.count.checked_sub(ATTEMPTS_FREE) {
            None => Duration::ZERO,
            Some(over) => Duration::from_secs(1 << over.min(10)).min(WAIT_MAX),
        };
        let left = wait.saturating_sub(before.last.age(now));
        // A full table means an attack from many addresses: everybody new waits.
        let full = known.is_none() && attempts.len() >= ATTEMPTS_MAX;
        if full || !left.is_zero() {
            let seconds = left.as_secs() + 1;
            return Err(Fault::new(
                FaultCode::TooManyAttempts,
                "Too many attempts to sign in.",
                format!("Wait {seconds} s, then try again."),
            ));
        }
        attempts.insert(key.clone(), Attempts { count: before.count + 1, last: now });
        Ok(())
    }

    fn forgive(&self, key: &(String, IpAddr)) {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

/// Makes the first admin when nobody is there; answers the one-time password then.
pub async fn first_admin(store: &Store, now: UnixMs) -> Result<Option<String>, Fault> {
    if store.user_count().await? > 0 {
        return Ok(None);
    }
    let password = one_time_password();
    let hash = hash_in_background(&password).await?;
    let admin = UserRecord {
        id: ids::user(),
        name: "admin".into(),
        password_hash: hash,
        must_change_password: true,
        created_at: now,
        password_set_at: now,
    };
    store.user_insert(&admin).await?;
    // Cut here, the next start finds a user and no grant: `reset_admin` mends that, too.
    store.grant_put(&all_rights(admin.id, now)).await?;
    Ok(Some(password))
}

/// Gives `admin` a new one-time password and ends all of admin's sessions.
pub async fn reset_admin(store: &Store, now: UnixMs) -> Result<String, Fault> {
    if let Some(password) = first_admin(store, now).await? {
        return Ok(password);
    }
    let admin: Option<UserId> = store.user_find("admin").await?.map(|u| u.id);
    let admin = admin.ok_or_else(|| Fault::not_found("user", "admin"))?;
    let password = one_time_password();
    let hash = hash_in_background(&password).await?;
    store.user_set_password(admin, &hash, true, now, None).await?;
    store.grant_put(&all_rights(admin, now)).await?;
    Ok(password)
}

/// Everything, for whoever is the first, or is set up anew by the machine's root.
fn all_rights(user_id: UserId, now: UnixMs) -> GrantRecord {
    let (role, created_by) = (ADMIN.to_owned(), String::new());
    GrantRecord { user_id, role, scope: Scope::Everything, created_at: now, created_by }
}

async fn hash_in_background(password: &str) -> Result<String, Fault> {
    let password = password.to_owned();
    tokio::task::spawn_blocking(move || hash_password(&password)).await.map_err(Fault::internal)?
}

fn one_time_password() -> String {
    // Bytes from the last, incomplete round of the alphabet are left out, so that all letters are equally likely.
    let fair = std::iter::repeat_with(ids::secret::<32>).flatten().filter(|byte| *byte < 248);
    let letters: Vec<char> = fair.take(20).map(|byte| char::from(ALPHABET[usize::from(byte % 31)])).collect();
    let groups: Vec<String> = letters.chunks(5).map(|group| group.iter().collect()).collect();
    groups.join("-")
}

fn hash_password(password: &str) -> Result<String, Fault> {
    let params = Params::new(HASH_KIB, 1, 1, None).map_err(Fault::internal)?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = argon2.hash_password(password.as_bytes()).map_err(Fault::internal)?;
    Ok(hash.to_string())
}

fn verify(password: &str, hash: &str) -> bool {
    // An overlong password is wrong, at the same price.
    let cut = password.as_bytes().get(..PASSWORD_BYTES_MAX).unwrap_or(password.as_bytes());
    let right =
        PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(cut, &hash).is_ok());
    right && password.len() <= PASSWORD_BYTES_MAX
}

fn check_new(user_name: &str, current: &str, new: &str) -> Result<(), Fault> {
    let remedy = "Use 12 characters or more, for example four random words.";
    let weak = |why: &str| {
        let fault = Fault::new(FaultCode::PasswordTooWeak, why, remedy);
        Err(Fault { field: "new_password".into(), ..fault })
    };
    let count = new.chars().count();
    if count < PASSWORD_CHARS_MIN {
        return weak(&format!("The new password has {count} characters, {PASSWORD_CHARS_MIN} are needed."));
    }
    if new.len() > PASSWORD_BYTES_MAX {
        return weak("The new password is longer than 1024 bytes.");
    }
    if new == current {
        return weak("The new password is the current one.");
    }
    let mut letters: Vec<char> = new.chars().collect();
    letters.sort_unstable();
    letters.dedup();
    if letters.len() < 4 {
        return weak("The new password repeats fewer than four different characters.");
    }
    if new.to_lowercase().replace(&user_name.to_lowercase(), "").chars().count() < PASSWORD_CHARS_MIN / 2 {
        return weak("The new password is little more than the user name.");
    }
    Ok(())
}

fn ended(session: &SessionRecord, now: UnixMs) -> bool {
    session.expires_at <= now || session.used_at.age(now) >= IDLE_MAX
}

fn wrong_credentials() -> Fault {
    Fault::new(
        FaultCode::WrongCredentials,
        "User name or password is not right.",
        "Try again; `quantix-vdc reset-password` on the vDC gives admin a new one-time password.",
    )
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_opens_the_decoy_and_checking_it_takes_the_same_work() {
        let decoy = PasswordHash::new(DECOY).expect("well-formed");
        let real = hash_password("correct horse battery").unwrap();
        let real = PasswordHash::new(&real).unwrap();
        assert_eq!((&decoy.algorithm, &decoy.params), (&real.algorithm, &real.params));
        assert!(!verify("", DECOY));
    }

    #[test]
    fn passwords() {
        let hash = hash_password("correct horse battery").unwrap();
        assert!(verify("correct horse battery", &hash));
        assert!(!verify("correct horse batterx", &hash));
        let long = "ab".repeat(600);
        assert!(!verify(&long, &hash_password(&long[..PASSWORD_BYTES_MAX]).unwrap()));
        for (new, good) in [
            ("correct horse battery", true),
            ("short", false),
            ("the current password", false),
            ("aaaaaaaaaaaaaaaa", false),
            ("adminadmin12", false),
        ] {
            assert_eq!(check_new("admin", "the current password", new).is_ok(), good, "{new}");
        }
    }

    #[test]
    fn one_time_passwords_differ_and_pass_the_rules() {
        let (one, two) = (one_time_password(), one_time_password());
        assert_ne!(one, two);
        assert_eq!(one.len(), 23);
        assert!(check_new("admin", "", &one).is_ok());
    }
}
