//! Passwords: hashing them, checking them, and which ones are taken.
//!
//! Hashing is slow and large on purpose, so only a few are worked on at the same time and the others wait their turn.

use crate::ids;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use quantix_model::fault::{Fault, FaultCode};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Wait for one's turn to have a password checked.
const HASHING_WAIT: Duration = Duration::from_secs(10);
/// Fewest characters of a password.
const PASSWORD_CHARS_MIN: usize = 12;
/// Most bytes of a password that are looked at.
pub const PASSWORD_BYTES_MAX: usize = 1024;
/// Letters of one-time passwords and recovery codes: none that look alike.
const ALPHABET: &[u8; 31] = b"abcdefghjkmnpqrstuvwxyz23456789";
/// 46 MiB and one pass, one of OWASP's equal choices. Above 32 MiB glibc always maps and unmaps the memory of a hash,
/// so that it goes back to the system; with less, each login left the process larger (mallopt(3), M_MMAP_THRESHOLD).
const HASH_KIB: u32 = 47_104;
/// Checked when there is no such user, for the time it takes; no password has this hash.
pub const DECOY: &str =
    "$argon2id$v=19$m=47104,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Turns at hashing.
#[derive(Debug)]
pub struct Passwords {
    turns: Semaphore,
}

impl Default for Passwords {
    /// Half of the machine's cores at most, so that a flood of sign-ins leaves the others for everything else.
    fn default() -> Passwords {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Passwords { turns: Semaphore::new((cores / 2).clamp(1, 4)) }
    }
}

impl Passwords {
    /// Whether the password has this hash (PHC string).
    pub async fn check(&self, password: &str, hash: &str) -> Result<bool, Fault> {
        let (password, hash) = (password.to_owned(), hash.to_owned());
        self.on_thread(move || verify(&password, &hash)).await
    }

    /// The hash of a password, as a PHC string.
    pub async fn hash(&self, password: &str) -> Result<String, Fault> {
        let password = password.to_owned();
        self.on_thread(move || hash_password(&password)).await?
    }

    async fn on_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let turn = tokio::time::timeout(HASHING_WAIT, self.turns.acquire()).await;
        let Ok(_turn) = turn else {
            let text = "Too many people sign in at this moment.";
            return Err(Fault::new(FaultCode::Busy, text, "Try again in a few seconds."));
        };
        tokio::task::spawn_blocking(work).await.map_err(Fault::internal)
    }
}

/// A password for one sign-in: 20 letters in four groups, about 99 bits.
pub fn one_time_password() -> String {
    letters(20)
}

/// Random letters in groups of five.
pub fn letters(count: usize) -> String {
    // Bytes from the last, incomplete round of the alphabet are left out, so that all letters are equally likely.
    let fair = std::iter::repeat_with(ids::secret::<32>).flatten().filter(|byte| *byte < 248);
    let letters: Vec<char> =
        fair.take(count).map(|byte| char::from(ALPHABET[usize::from(byte % 31)])).collect();
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

/// Refuses a new password that is too short, too plain, the one before, or the user's name.
pub fn check_new(user_name: &str, current: &str, new: &str) -> Result<(), Fault> {
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
