//! Sign-ins that are at a provider now.
//!
//! ```text
//!   begun: state, nonce, verifier, cookie ──▶ browser at the provider ──(state and cookie)──▶ taken, once
//!                                                    └ ten minutes, vDC restarted ──▶ lost
//! ```
//! The state goes through the provider and back; the cookie stays in the browser that began. Whoever brings one without the
//! other signs nobody in: neither a state that leaked, nor a page that sends somebody here with a code of its own. Only
//! hashes of both are kept, in memory.

use crate::clock::Clock;
use crate::ids;
use crate::services::identity_admit::Asked;
use crate::services::session::sha256;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quantix_model::fault::{Fault, FaultCode};
use quantix_model::{Secret, UnixMs};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use subtle::ConstantTimeEq as _;

/// How long a sign-in may stay at a provider.
pub const LIFE: Duration = Duration::from_secs(600);
/// Sign-ins under way.
const ALL_MAX: usize = 10_000;
/// What the cookie's name begins with; each sign-in has its own, so that two tabs do not disturb each other.
const COOKIE: &str = "quantix_sign_in_";

/// What is needed when the browser comes back.
pub struct Pending {
    /// The source, as it was when the sign-in began.
    pub asked: Asked,
    /// Must be in the ID token.
    pub nonce: String,
    /// Whose hash the provider was shown (RFC 7636).
    pub verifier: Secret,
    /// Where the person wanted to go.
    pub next: String,
    browser: [u8; 32],
    made_at: UnixMs,
}

/// What a sign-in begins with.
pub struct Begun {
    /// For the provider.
    pub state: String,
    /// For the provider, and in the ID token.
    pub nonce: String,
    /// For the provider: SHA-256 of the verifier.
    pub challenge: String,
    /// Name of the cookie.
    pub cookie_name: String,
    /// For the browser only.
    pub cookie: String,
}

/// All that are under way, by the state's hash.
pub struct States {
    clock: Clock,
    pending: Mutex<HashMap<[u8; 32], Pending>>,
}

fn random() -> String {
    URL_SAFE_NO_PAD.encode(ids::secret::<32>())
}

/// Name of the cookie that belongs to a state.
pub fn cookie_name(state: &str) -> String {
    let hash = sha256(state.as_bytes());
    let short: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{COOKIE}{short}")
}

/// The fault for who comes back with what no sign-in of this browser is waiting for.
pub fn lost() -> Fault {
    Fault::new(
        FaultCode::SignInStateLost,
        "This sign-in was not begun in this browser, was used already, or took longer than ten minutes.",
        "Sign in again from the sign-in page, and allow cookies there.",
    )
}

impl States {
    /// None yet.
    pub fn new(clock: Clock) -> States {
        States { clock, pending: Mutex::default() }
    }

    /// Begins one.
    pub fn begin(&self, asked: Asked, next: String) -> Result<Begun, Fault> {
        let (now, state, nonce, verifier, cookie) =
            (self.clock.now(), random(), random(), random(), random());
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if pending.len() >= ALL_MAX {
            pending.retain(|_, p| p.made_at.age(now) < LIFE);
        }
        if pending.len() >= ALL_MAX {
            return Err(Fault::new(
                FaultCode::TooManyAttempts,
                "Too many sign-ins are under way.",
                "Wait ten minutes, then try again; local accounts can sign in meanwhile.",
            ));
        }
        let begun = Begun {
            challenge: URL_SAFE_NO_PAD.encode(sha256(verifier.as_bytes())),
            cookie_name: cookie_name(&state),
            nonce: nonce.clone(),
            state,
            cookie,
        };
        let browser = sha256(begun.cookie.as_bytes());
        let waits = Pending { asked, nonce, verifier: Secret::new(verifier), next, browser, made_at: now };
        pending.insert(sha256(begun.state.as_bytes()), waits);
        Ok(begun)
    }

    /// Takes one up when the browser is the one that began it: once.
    pub fn take(&self, state: &str, cookie: Option<&str>) -> Result<Pending, Fault> {
        let (now, key) = (self.clock.now(), sha256(state.as_bytes()));
        let browser = sha256(cookie.ok_or_else(lost)?.as_bytes());
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |p: &Pending| bool::from(p.browser.ct_eq(&browser)) && p.made_at.age(now) < LIFE;
        if !pending.get(&key).is_some_and(fits) {
            return Err(lost());
        }
        pending.remove(&key).ok_or_else(lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quantix_model::id::IdentitySourceId;

    fn asked() -> Asked {
        Asked { id: IdentitySourceId(uuid::Uuid::nil()), generation: 1 }
    }

    fn code(taken: Result<Pending, Fault>) -> Option<FaultCode> {
        taken.err().map(|fault| fault.code)
    }

    #[test]
    fn taken_once_by_the_browser_that_began() {
        let states = States::new(Clock::system());
        let (one, other) =
            (states.begin(asked(), "/a".into()).unwrap(), states.begin(asked(), "/b".into()).unwrap());
        assert_ne!(one.cookie_name, other.cookie_name);
        for (state, cookie) in [
            (one.state.as_str(), None),
            (one.state.as_str(), Some(other.cookie.as_str())),
            (one.state.as_str(), Some("")),
            ("", Some(one.cookie.as_str())),
        ] {
            assert_eq!(code(states.take(state, cookie)), Some(FaultCode::SignInStateLost));
        }
        assert_eq!(states.take(&one.state, Some(&one.cookie)).ok().map(|p| p.next).as_deref(), Some("/a"));
        assert_eq!(code(states.take(&one.state, Some(&one.cookie))), Some(FaultCode::SignInStateLost));
        states.clock.advance(LIFE);
        assert_eq!(code(states.take(&other.state, Some(&other.cookie))), Some(FaultCode::SignInStateLost));
    }

    #[test]
    fn memory_is_bounded() {
        let states = States::new(Clock::system());
        let made = (0..ALL_MAX + 5).filter(|_| states.begin(asked(), String::new()).is_ok()).count();
        assert_eq!(made, ALL_MAX);
        states.clock.advance(LIFE);
        assert!(states.begin(asked(), String::new()).is_ok());
        assert_eq!(states.pending.lock().unwrap().len(), 1);
    }
}
