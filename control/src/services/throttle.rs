//! What slows down those who guess. Attempts are counted before anything is looked at, so that many at once gain
//! nothing; right ones are forgiven afterwards.
//!
//! - per name and address: five are free, then each waits twice as long as the one before, five minutes at most;
//! - per address alone, whatever the names: thirty in hand, one back every ten seconds;
//! - questions to passkeys, of which every sign-in page asks one: a hundred per address, one back every second.
//!
//! All tables are bounded. A full table means an attack from many addresses: those known go on, everybody new waits.

use crate::clock::Clock;
use quantix_model::UnixMs;
use quantix_model::fault::{Fault, FaultCode};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Wrong attempts for one name that cost nothing.
const ATTEMPTS_FREE: u32 = 5;
/// Longest wait between attempts.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// Attempts are forgotten after so long without any.
const ATTEMPTS_LIFE: Duration = Duration::from_secs(900);
/// Names and addresses remembered.
const ATTEMPTS_MAX: usize = 10_000;
/// Attempts that one address has in hand.
const ADDRESS_BURST: u64 = 30;
/// One comes back so often.
const ADDRESS_REFILL: Duration = Duration::from_secs(10);
/// Questions to passkeys that one address has in hand: a whole office may stand behind it.
const BEGINS_BURST: u64 = 100;
/// One comes back so often.
const BEGINS_REFILL: Duration = Duration::from_secs(1);
/// Letters of a name that are looked at.
const NAME_CHARS: usize = 128;

type Name = (String, IpAddr);

#[derive(Clone, Copy, Debug)]
struct Attempts {
    count: u32,
    last: UnixMs,
}

/// The two tables.
#[derive(Debug)]
pub struct Throttle {
    clock: Clock,
    tables: Mutex<Tables>,
}

#[derive(Debug)]
struct Tables {
    names: HashMap<Name, Attempts>,
    addresses: Bucket,
}

/// What each address has in hand of something.
#[derive(Debug)]
struct Bucket {
    burst: u64,
    refill: Duration,
    /// Until when an address has less than everything.
    until: HashMap<IpAddr, UnixMs>,
}

/// Counts questions to passkeys that people without a name ask for.
#[derive(Debug)]
pub struct Begins {
    clock: Clock,
    bucket: Mutex<Bucket>,
}

impl Begins {
    /// Nothing counted yet.
    pub fn new(clock: Clock) -> Begins {
        Begins { clock, bucket: Mutex::new(Bucket::new(BEGINS_BURST, BEGINS_REFILL)) }
    }

    /// Counts one; refuses an address that has none in hand.
    pub fn count(&self, address: IpAddr) -> Result<(), Fault> {
        let (now, address) = (self.clock.now(), owner(address));
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let until = bucket.wait(address, now)?;
        bucket.until.insert(address, until);
        Ok(())
    }
}

/// Who owns one address of IPv6 owns 2^64 of them (RFC 6177).
fn owner(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn refuse(wait: Duration) -> Fault {
    let seconds = wait.as_secs() + 1;
    Fault::new(
        FaultCode::TooManyAttempts,
        "Too many attempts to sign in.",
        format!("Wait {seconds} s, then try again."),
    )
    .retry_after(Duration::from_secs(seconds))
}

impl Throttle {
    /// Nothing counted yet.
    pub fn new(clock: Clock) -> Throttle {
        let addresses = Bucket::new(ADDRESS_BURST, ADDRESS_REFILL);
        Throttle { clock, tables: Mutex::new(Tables { names: HashMap::new(), addresses }) }
    }

    fn key(name: &str, address: IpAddr) -> Name {
        (name.to_lowercase().chars().take(NAME_CHARS).collect(), owner(address))
    }

    /// Counts an attempt before it is looked at; refuses while the wait of those before is not over.
    pub fn count(&self, name: &str, address: IpAddr) -> Result<(), Fault> {
        let (now, key) = (self.clock.now(), Throttle::key(name, address));
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let attempts = tables.name_wait(&key, now)?;
        let until = tables.addresses.wait(key.1, now)?;
        tables.addresses.until.insert(key.1, until);
        tables.names.insert(key, attempts);
        Ok(())
    }

    /// Counts an attempt that names nobody yet.
    pub fn count_address(&self, address: IpAddr) -> Result<(), Fault> {
        let (now, owner) = (self.clock.now(), owner(address));
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let until = tables.addresses.wait(owner, now)?;
        tables.addresses.until.insert(owner, until);
        Ok(())
    }

    /// One that named nobody was right.
    pub fn forgive_address(&self, address: IpAddr) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = tables.addresses.until.get_mut(&owner(address)) {
            until.0 = until.0.saturating_sub(ms(ADDRESS_REFILL));
        }
    }

    /// An attempt that was right does not count.
    pub fn forgive(&self, name: &str, address: IpAddr) {
        // What others tried from the same address stays counted.
        self.forgive_address(address);
        let key = Throttle::key(name, address);
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).names.remove(&key);
    }
}

impl Tables {
    fn name_wait(&mut self, key: &Name, now: UnixMs) -> Result<Attempts, Fault> {
        if self.names.len() >= ATTEMPTS_MAX {
            self.names.retain(|_, a| a.last.age(now) < ATTEMPTS_LIFE);
        }
        let known = self.names.get(key).copied().filter(|a| a.last.age(now) < ATTEMPTS_LIFE);
        if known.is_none() && self.names.len() >= ATTEMPTS_MAX {
            return Err(refuse(Duration::ZERO));
        }
        let before = known.unwrap_or(Attempts { count: 0, last: UnixMs(0) });
        let wait = match before.count.checked_sub(ATTEMPTS_FREE) {
            None => Duration::ZERO,
            Some(over) => Duration::from_secs(1 << over.min(10)).min(WAIT_MAX),
        };
        let left = wait.saturating_sub(before.last.age(now));
        if !left.is_zero() {
            return Err(refuse(left));
        }
        Ok(Attempts { count: before.count + 1, last: now })
    }
}

impl Bucket {
    fn new(burst: u64, refill: Duration) -> Bucket {
        Bucket { burst, refill, until: HashMap::new() }
    }

    fn wait(&mut self, address: IpAddr, now: UnixMs) -> Result<UnixMs, Fault> {
        if self.until.len() >= ATTEMPTS_MAX {
            self.until.retain(|_, until| *until > now);
        }
        let known = self.until.get(&address).copied();
        if known.is_none() && self.until.len() >= ATTEMPTS_MAX {
            return Err(refuse(Duration::ZERO));
        }
        let refill = ms(self.refill);
        let until = UnixMs(known.map_or(now.0, |until| until.0.max(now.0)).saturating_add(refill));
        let over = until.0 - now.0 - refill * i64::try_from(self.burst).unwrap_or(i64::MAX);
        match u64::try_from(over) {
            Ok(over) if over > 0 => Err(refuse(Duration::from_millis(over))),
            _ => Ok(until),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn many_names_from_one_address_are_slowed_down_and_others_are_not() {
        let throttle = Throttle::new(Clock::system());
        let one = address("192.0.2.1");
        let taken = (0..100).filter(|n| throttle.count(&format!("user-{n}"), one).is_ok()).count();
        assert_eq!(taken, 30);
        assert!(throttle.count("user-1000", address("192.0.2.2")).is_ok());
        throttle.clock.advance(Duration::from_secs(21));
        let later = (0..10).filter(|n| throttle.count(&format!("late-{n}"), one).is_ok()).count();
        assert_eq!(later, 2, "one comes back every ten seconds");
        throttle.clock.advance(Duration::from_secs(3600));
        let rested = (0..100).filter(|n| throttle.count(&format!("rest-{n}"), one).is_ok()).count();
        assert_eq!(rested, 30);
    }

    #[test]
    fn what_was_right_does_not_count_and_frees_nobody_else() {
        let throttle = Throttle::new(Clock::system());
        let one = address("2001:db8::1");
        for _ in 0..200 {
            throttle.count("right", one).unwrap();
            throttle.forgive("right", one);
        }
        let mut taken = 0;
        for n in 0..100 {
            taken +=
                u32::from(throttle.count(&format!("user-{n}"), address(&format!("2001:db8::{n:x}"))).is_ok());
            if throttle.count("right", one).is_ok() {
                throttle.forgive("right", one);
            }
        }
        assert_eq!(taken, 30, "one network, whatever it signs in with in between");
    }

    #[test]
    fn memory_is_bounded_and_those_known_go_on() {
        let throttle = Throttle::new(Clock::system());
        let known = address("192.0.2.1");
        throttle.count("known", known).unwrap();
        let from = |n: u32| IpAddr::from((0x0a00_0000 + n).to_be_bytes());
        let taken = (0..20_000).filter(|n| throttle.count("x", from(*n)).is_ok()).count();
        assert_eq!(taken, ATTEMPTS_MAX - 1);
        assert!(throttle.count("known", known).is_ok());
        throttle.clock.advance(ATTEMPTS_LIFE);
        assert!(throttle.count("x", from(30_000)).is_ok());
        assert!(throttle.tables.lock().unwrap().names.len() < 10);
    }
}
