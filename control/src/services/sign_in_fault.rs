//! Why sign-ins at a provider did not work. The browser comes back by a redirect, which can carry no sentence that anybody
//! could not write into it; so it carries an id, and the sign-in page asks what it stands for.

use crate::clock::Clock;
use crate::ids;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quantix_model::UnixMs;
use quantix_model::fault::Fault;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a fault is told.
const LIFE: Duration = Duration::from_secs(600);
/// Faults kept; beyond it the oldest goes.
const ALL_MAX: usize = 1000;

/// All that may still be asked for.
#[derive(Debug)]
pub struct SignInFaults {
    clock: Clock,
    kept: Mutex<HashMap<String, (UnixMs, Fault)>>,
}

impl SignInFaults {
    /// None yet.
    pub fn new(clock: Clock) -> SignInFaults {
        SignInFaults { clock, kept: Mutex::default() }
    }

    /// Keeps a fault; answers its id.
    pub fn keep(&self, fault: Fault) -> String {
        let (now, id) = (self.clock.now(), URL_SAFE_NO_PAD.encode(ids::secret::<16>()));
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, (at, _)| at.age(now) < LIFE);
        if kept.len() >= ALL_MAX
            && let Some(oldest) = kept.iter().min_by_key(|(_, (at, _))| *at).map(|(id, _)| id.clone())
        {
            kept.remove(&oldest);
        }
        kept.insert(id.clone(), (now, fault));
        id
    }

    /// The fault of that id.
    pub fn get(&self, id: &str) -> Result<Fault, Fault> {
        let now = self.clock.now();
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.get(id).filter(|(at, _)| at.age(now) < LIFE).map(|(_, fault)| fault.clone());
        found.ok_or_else(|| {
            let shown: String = id.chars().filter(char::is_ascii_graphic).take(40).collect();
            Fault::not_found("failed sign-in", shown)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quantix_model::FaultCode;

    #[test]
    fn kept_for_a_while_and_not_without_end() {
        let faults = SignInFaults::new(Clock::system());
        let fault = Fault::new(FaultCode::PersonUnknown, "m", "r");
        let first = faults.keep(fault.clone());
        assert_eq!(faults.get(&first).unwrap(), fault);
        assert_eq!(faults.get("x").unwrap_err().code, FaultCode::NotFound);
        faults.clock.advance(Duration::from_secs(1));
        for _ in 0..ALL_MAX {
            faults.keep(fault.clone());
        }
        assert!(faults.get(&first).is_err(), "the oldest went");
        assert_eq!(faults.kept.lock().unwrap().len(), ALL_MAX);
        let last = faults.keep(fault);
        faults.clock.advance(LIFE);
        assert!(faults.get(&last).is_err());
    }
}
