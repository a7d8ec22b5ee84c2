//! Wrong tokens, counted per address: a host that is added and a vDC that is joined guess-proof theirs alike.

use quantix_model::{Fault, FaultCode};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Wrong tries one address has per window.
const TRIES_MAX: u32 = 10;
/// Length of that window.
const TRIES_WINDOW: Duration = Duration::from_secs(60);
/// Addresses watched at once.
const ADDRESSES_MAX: usize = 1024;

/// Counts wrong tries per address.
#[derive(Debug, Default)]
pub struct Tries(Mutex<HashMap<IpAddr, (u32, Instant)>>);

impl Tries {
    /// Refuses an address that tried wrongly too often.
    pub fn check(&self, address: IpAddr) -> Result<(), Fault> {
        let tries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match tries.get(&address) {
            Some((count, since)) if *count >= TRIES_MAX && since.elapsed() < TRIES_WINDOW => {
                let wait = (TRIES_WINDOW - since.elapsed()).as_secs() + 1;
                Err(Fault::new(
                    FaultCode::TooManyAttempts,
                    "Too many wrong tokens came from this address.",
                    format!("Wait {wait} s, then use a good token."),
                ))
            }
            _ => Ok(()),
        }
    }

    /// Notes a wrong try.
    pub fn wrong(&self, address: IpAddr) {
        let mut tries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tries.len() >= ADDRESSES_MAX && !tries.contains_key(&address) {
            tries.retain(|_, (_, since)| since.elapsed() < TRIES_WINDOW);
            if tries.len() >= ADDRESSES_MAX
                && let Some(oldest) = tries.iter().min_by_key(|(_, (_, since))| *since).map(|(ip, _)| *ip)
            {
                tries.remove(&oldest);
            }
        }
        let entry = tries.entry(address).or_insert((0, Instant::now()));
        if entry.1.elapsed() >= TRIES_WINDOW {
            *entry = (0, Instant::now());
        }
        entry.0 += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_tries_are_limited_per_address() {
        let tries = Tries::default();
        let (one, two) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        for _ in 0..TRIES_MAX {
            tries.check(one).unwrap();
            tries.wrong(one);
        }
        assert_eq!(tries.check(one).unwrap_err().code, FaultCode::TooManyAttempts);
        tries.check(two).unwrap();
    }

    #[test]
    fn watched_addresses_are_bounded() {
        let tries = Tries::default();
        for n in 0..ADDRESSES_MAX as u32 + 50 {
            tries.wrong(IpAddr::from(n.to_be_bytes()));
        }
        assert!(tries.0.lock().unwrap().len() <= ADDRESSES_MAX);
    }
}
