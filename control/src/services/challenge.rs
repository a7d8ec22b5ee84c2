//! Sign-ins between their first step and their second: the password was right, a second factor is missing.
//!
//! ```text
//!   password right ─▶ pending ─(right code)────────────▶ session
//!                        │ five minutes, five wrong codes,
//!                        └ new password, vDC restarted ─▶ gone: sign in from the start
//! ```
//! A challenge is 256 random bits, good once, for one person at one address. Only its hash is kept, in memory.

use crate::clock::Clock;
use crate::ids;
use crate::services::session::sha256;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quantix_model::UnixMs;
use quantix_model::fault::{Fault, FaultCode};
use quantix_model::id::UserId;
use quantix_store::UserRecord;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a challenge is good.
const LIFE: Duration = Duration::from_secs(300);
/// Wrong answers to one challenge.
const TRIES_MAX: u32 = 5;
/// Challenges of one person that may wait; more means that somebody knows the password and tries codes.
const PER_USER_MAX: usize = 10;
/// Challenges of all together.
const ALL_MAX: usize = 10_000;

/// What waits.
#[derive(Clone, Debug)]
struct Pending {
    user: UserId,
    address: IpAddr,
    password_set_at: UnixMs,
    made_at: UnixMs,
    tries: u32,
}

/// All that wait, by hash.
#[derive(Debug)]
pub struct Challenges {
    clock: Clock,
    pending: Mutex<HashMap<[u8; 32], Pending>>,
}

fn gone() -> Fault {
    Fault::new(
        FaultCode::ChallengeExpired,
        "The time for the second step of this sign-in is over, or it was tried too often.",
        "Sign in from the start.",
    )
}

impl Challenges {
    /// None yet.
    pub fn new(clock: Clock) -> Challenges {
        Challenges { clock, pending: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A challenge for somebody whose password was right.
    pub fn make(&self, user: &UserRecord, address: IpAddr) -> Result<String, Fault> {
        let (now, text) = (self.clock.now(), URL_SAFE_NO_PAD.encode(ids::secret::<32>()));
        let mut pending = self.lock();
        pending.retain(|_, p| p.made_at.age(now) < LIFE);
        let own = pending.values().filter(|p| p.user == user.id).count();
        if own >= PER_USER_MAX || pending.len() >= ALL_MAX {
            return Err(Fault::new(
                FaultCode::TooManyAttempts,
                "Too many sign-ins wait for their second step.",
                "Wait five minutes, then try again.",
            ));
        }
        let (made_at, password_set_at) = (now, user.password_set_at);
        let waits = Pending { user: user.id, address, password_set_at, made_at, tries: 0 };
        pending.insert(sha256(text.as_bytes()), waits);
        Ok(text)
    }

    /// Whose challenge it is; counts as a try.
    pub fn attempt(&self, text: &str, address: IpAddr) -> Result<(UserId, UnixMs), Fault> {
        let (now, hash) = (self.clock.now(), sha256(text.as_bytes()));
        let mut pending = self.lock();
        let found = pending.get_mut(&hash).filter(|p| p.made_at.age(now) < LIFE && p.address == address);
        let found = found.ok_or_else(gone)?;
        if found.tries >= TRIES_MAX {
            pending.remove(&hash);
            return Err(gone());
        }
        found.tries += 1;
        Ok((found.user, found.password_set_at))
    }

    /// Whose challenge it is, for what asks more before it answers; counts as no try.
    pub fn owner(&self, text: &str, address: IpAddr) -> Result<UserId, Fault> {
        let (now, hash) = (self.clock.now(), sha256(text.as_bytes()));
        let pending = self.lock();
        let found = pending.get(&hash).filter(|p| p.made_at.age(now) < LIFE && p.address == address);
        found.map(|p| p.user).ok_or_else(gone)
    }

    /// Uses the challenge up; refuses when somebody else did in between.
    pub fn finish(&self, text: &str) -> Result<(), Fault> {
        self.lock().remove(&sha256(text.as_bytes())).map(drop).ok_or_else(gone)
    }
}
