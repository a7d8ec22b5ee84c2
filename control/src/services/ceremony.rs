//! Questions to passkeys that wait for their answer. Each is a random challenge that a device signs, so it is kept here,
//! and not where a browser could change it.
//!
//! ```text
//!   begun ─▶ waits ─(an answer, right or wrong)─▶ gone
//!              └ five minutes, vDC restarted, a newer one of the same owner ─▶ gone: begin anew
//! ```
//! Its id is 256 random bits, good once, for its owner only: a session, a sign-in's first step, or an address. Only the
//! id's hash is kept.

use crate::clock::Clock;
use crate::ids;
use crate::services::session::sha256;
use crate::services::site::Site;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quantix_model::UnixMs;
use quantix_model::fault::{Fault, FaultCode};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long one is good: what WebAuthn level 3, 15.1 recommends to give people.
pub const LIFE: Duration = Duration::from_secs(300);
struct Waiting<O, S> {
    owner: O,
    made_at: UnixMs,
    site: Site,
    state: S,
}

/// Those of one kind, by hash of their id. `O` owns them, `S` is what the answer is held against.
pub struct Ceremonies<O, S> {
    clock: Clock,
    per_owner: usize,
    all_max: usize,
    waiting: Mutex<HashMap<[u8; 32], Waiting<O, S>>>,
}

impl<O, S> std::fmt::Debug for Ceremonies<O, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ceremonies").finish_non_exhaustive()
    }
}

impl<O: PartialEq, S> Ceremonies<O, S> {
    /// None yet. An owner has `per_owner` at most, then the oldest goes; all have `all_max`, then nobody begins.
    pub fn new(clock: Clock, per_owner: usize, all_max: usize) -> Ceremonies<O, S> {
        Ceremonies { clock, per_owner, all_max, waiting: Mutex::default() }
    }

    /// Keeps one; answers its id.
    pub fn begin(&self, owner: O, site: Site, state: S) -> Result<String, Fault> {
        let (now, id) = (self.clock.now(), URL_SAFE_NO_PAD.encode(ids::secret::<32>()));
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, one| one.made_at.age(now) < LIFE);
        let own = waiting.iter().filter(|(_, one)| one.owner == owner);
        let own: Vec<([u8; 32], UnixMs)> = own.map(|(hash, one)| (*hash, one.made_at)).collect();
        if own.len() >= self.per_owner
            && let Some((oldest, _)) = own.iter().min_by_key(|(_, made_at)| *made_at)
        {
            waiting.remove(oldest);
        }
        if waiting.len() >= self.all_max {
            return Err(Fault::new(
                FaultCode::TooManyAttempts,
                "Too many passkeys are being asked for.",
                "Wait five minutes, then try again.",
            ));
        }
        waiting.insert(sha256(id.as_bytes()), Waiting { owner, made_at: now, site, state });
        Ok(id)
    }

    /// Uses one up.
    pub fn take(&self, id: &str, owner: &O) -> Result<(Site, S), Fault> {
        let (now, hash) = (self.clock.now(), sha256(id.as_bytes()));
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.get(&hash).is_none_or(|one| one.owner != *owner || one.made_at.age(now) >= LIFE) {
            return Err(gone());
        }
        waiting.remove(&hash).map(|one| (one.site, one.state)).ok_or_else(gone)
    }
}

fn gone() -> Fault {
    Fault::new(
        FaultCode::PasskeyExpired,
        "The passkey was asked for too long ago, was answered already, or the vDC was started anew since.",
        "Try again.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::auth::Line;
    use http::HeaderMap;

    fn site() -> Site {
        Site::of(&HeaderMap::new(), Some("vdc.example"), Line::Tls).unwrap()
    }

    #[test]
    fn one_is_good_once_for_its_owner_and_five_minutes() {
        let all = Ceremonies::new(Clock::system(), 2, 100);
        let id = all.begin(1, site(), "a").unwrap();
        assert_eq!(all.take(&id, &2).unwrap_err().code, FaultCode::PasskeyExpired);
        assert_eq!(all.take(&id, &1).unwrap(), (site(), "a"));
        assert_eq!(all.take(&id, &1).unwrap_err().code, FaultCode::PasskeyExpired);
        let late = all.begin(1, site(), "b").unwrap();
        all.clock.advance(LIFE);
        assert_eq!(all.take(&late, &1).unwrap_err().code, FaultCode::PasskeyExpired);
    }

    #[test]
    fn an_owner_has_few_and_all_together_not_too_many() {
        let all = Ceremonies::new(Clock::system(), 2, 100);
        let first = all.begin(0, site(), ()).unwrap();
        all.clock.advance(Duration::from_secs(1));
        let others: Vec<String> = (0..2).map(|_| all.begin(0, site(), ()).unwrap()).collect();
        assert!(all.take(&first, &0).is_err(), "the oldest went");
        assert!(others.iter().all(|id| all.take(id, &0).is_ok()));
        for owner in 0..100 {
            all.begin(owner, site(), ()).unwrap();
        }
        let full = all.begin(100, site(), ()).unwrap_err();
        assert_eq!((full.code, full.remedy.is_empty()), (FaultCode::TooManyAttempts, false));
        all.clock.advance(LIFE);
        all.begin(100, site(), ()).unwrap();
    }
}
