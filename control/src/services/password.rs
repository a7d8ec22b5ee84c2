//! Passwords: hashing them, checking them, and which ones are taken.
//!
//! Hashing is slow and large on purpose. Only a few are worked on at the same time, the others wait their turn, on threads
//! that yield to everything else ([`crate::services::hash`]): a flood of sign-ins slows down nothing but sign-ins.

use crate::ids;
use crate::services::hash::{Free, Job, Memory, Turn};
use argon2::Params;
use argon2::password_hash::phc::PasswordHash;
use quantix_model::fault::{Fault, FaultCode};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};

/// Wait for one's turn to have a password checked.
const HASHING_WAIT: Duration = Duration::from_secs(10);
/// Fewest characters of a password.
const PASSWORD_CHARS_MIN: usize = 12;
/// Most bytes of a password that are looked at.
pub const PASSWORD_BYTES_MAX: usize = 1024;
/// Letters of one-time passwords and recovery codes: none that look alike.
const ALPHABET: &[u8; 31] = b"abcdefghjkmnpqrstuvwxyz23456789";
/// What hashing a password costs, beside one lane of argon2id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Memory.
    pub mib: u32,
    /// How often it is gone through.
    pub passes: u32,
}

impl Cost {
    /// 40 to 400 ms on a machine with two cores; the memory is one of OWASP's choices, with more passes than it asks for.
    pub const DEFAULT: Cost = Cost { mib: 46, passes: 3 };
    /// The least that OWASP's password storage cheat sheet takes for safe: 19 MiB twice.
    const WORK_MIN: u32 = 2 * 19;
    /// Least and most memory.
    pub const MIB: std::ops::RangeInclusive<u32> = 19..=1024;
    /// Least and most passes.
    pub const PASSES: std::ops::RangeInclusive<u32> = 1..=64;

    /// Whether it is neither too cheap nor beyond what a sign-in may take.
    pub fn is_sound(self) -> bool {
        Cost::MIB.contains(&self.mib)
            && Cost::PASSES.contains(&self.passes)
            && self.mib.saturating_mul(self.passes) >= Cost::WORK_MIN
    }

    fn kib(self) -> u32 {
        self.mib.saturating_mul(1024)
    }

    fn hash(self, memory: &mut Memory, password: &[u8]) -> Result<String, Fault> {
        let params = Params::new(self.kib(), self.passes, 1, None).map_err(Fault::internal)?;
        memory.hash(&params, password)
    }

    /// Checked when there is no such user, for the time it takes; no password has this hash.
    fn decoy(self) -> String {
        let (salt, tag) = ("A".repeat(22), "A".repeat(43));
        format!("$argon2id$v=19$m={},t={},p=1${salt}${tag}", self.kib(), self.passes)
    }

    /// How many passes of ours a hash leaves undone that was made when less was asked for; `None`: it was made with this
    /// very cost.
    fn missing(self, hash: &PasswordHash) -> Option<u32> {
        let made = Params::try_from(hash).ok()?;
        if (made.m_cost(), made.t_cost(), made.p_cost()) == (self.kib(), self.passes, 1) {
            return None;
        }
        let work = |kib: u32, passes: u32| u64::from(kib) * u64::from(passes);
        let left = work(self.kib(), self.passes).saturating_sub(work(made.m_cost(), made.t_cost()));
        u32::try_from(left / u64::from(self.kib().max(1))).ok()
    }
}

/// Turns at hashing. Its threads end with it.
pub struct Passwords {
    cost: Cost,
    turns: Arc<Semaphore>,
    free: Free,
}

impl std::fmt::Debug for Passwords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Passwords").field("cost", &self.cost).finish_non_exhaustive()
    }
}

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// It is another password.
    Wrong,
    /// It is this one.
    Right,
    /// It is this one, and its hash was made at another cost: here is one made at ours.
    Renewed(String),
}

impl Passwords {
    /// New hashes cost this.
    pub fn new(cost: Cost) -> Passwords {
        // Half of the machine's cores at most: this bounds the memory, too.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let turns = Arc::new(Semaphore::new((cores / 2).clamp(1, 4)));
        Passwords { cost, turns, free: Free::default() }
    }

    /// Whether the password has this hash (PHC string). Without a hash, takes as long as with one, and is wrong.
    pub async fn check(&self, password: &str, hash: Option<&str>) -> Result<Checked, Fault> {
        let (cost, password) = (self.cost, password.to_owned());
        let hash = hash.map_or_else(|| cost.decoy(), str::to_owned);
        self.on_thread(move |memory| check(cost, memory, &password, &hash)).await?
    }

    /// The hash of a password, as a PHC string.
    pub async fn hash(&self, password: &str) -> Result<String, Fault> {
        let (cost, password) = (self.cost, password.to_owned());
        self.on_thread(move |memory| cost.hash(memory, password.as_bytes())).await?
    }

    async fn on_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Memory) -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let permit = tokio::time::timeout(HASHING_WAIT, Arc::clone(&self.turns).acquire_owned()).await;
        let Ok(permit) = permit else {
            let text = "Too many people sign in at this moment.";
            return Err(Fault::new(FaultCode::Busy, text, "Try again in a few seconds."));
        };
        let turn = Turn::new(permit.map_err(Fault::internal)?, &self.free)?;
        let worker = turn.worker.clone();
        let (answer, answered) = oneshot::channel();
        // The work keeps the turn until it is done, also when the caller has hung up: else whoever calls and hangs up could
        // have any number worked on.
        let job: Job = Box::new(move |memory| {
            let done = work(memory);
            drop(turn);
            let _ = answer.send(done);
        });
        worker.send(job).map_err(|_| Fault::internal("a thread that hashes is gone"))?;
        answered.await.map_err(Fault::internal)
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

fn check(cost: Cost, memory: &mut Memory, password: &str, hash: &str) -> Result<Checked, Fault> {
    // An overlong password is wrong, at the same price.
    let cut = password.as_bytes().get(..PASSWORD_BYTES_MAX).unwrap_or(password.as_bytes());
    let Ok(hash) = PasswordHash::new(hash) else { return Ok(Checked::Wrong) };
    let right = memory.matches(&hash, cut) && password.len() <= PASSWORD_BYTES_MAX;
    match (right, cost.missing(&hash)) {
        (true, None) => Ok(Checked::Right),
        (true, Some(_)) => cost.hash(memory, cut).map(Checked::Renewed),
        // Else names with older hashes would be told from names that nobody has.
        (false, Some(passes @ 1..)) => Cost { passes, ..cost }.hash(memory, cut).map(|_| Checked::Wrong),
        (false, _) => Ok(Checked::Wrong),
    }
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
    use crate::services::hash::NICE;

    /// The cheapest that is taken.
    const CHEAP: Cost = Cost { mib: 19, passes: 2 };

    fn hash(cost: Cost, password: &[u8]) -> Result<String, Fault> {
        cost.hash(&mut Memory::default(), password)
    }

    fn params(hash: &str) -> (u32, u32, u32) {
        let params = Params::try_from(&PasswordHash::new(hash).unwrap()).unwrap();
        (params.m_cost(), params.t_cost(), params.p_cost())
    }

    #[test]
    fn no_password_opens_the_decoy_and_checking_it_takes_the_same_work() {
        for cost in [CHEAP, Cost { mib: 20, passes: 3 }] {
            let (decoy, real) = (cost.decoy(), hash(cost, b"correct horse battery").unwrap());
            assert_eq!(params(&decoy), params(&real));
            let lengths = |hash: &str| hash.split('$').map(str::len).collect::<Vec<_>>();
            assert_eq!(lengths(&decoy), lengths(&real));
            assert_eq!(cost.missing(&PasswordHash::new(&decoy).unwrap()), None);
            assert_eq!(check(cost, &mut Memory::default(), "", &decoy).unwrap(), Checked::Wrong);
        }
    }

    #[test]
    fn what_is_too_cheap_or_too_dear_is_not_sound() {
        for (mib, passes, sound) in [
            (46, 1, true),
            (19, 2, true),
            (19, 1, false),
            (18, 9, false),
            (1024, 1, true),
            (1025, 1, false),
            (46, 0, false),
            (46, 65, false),
        ] {
            assert_eq!(Cost { mib, passes }.is_sound(), sound, "{mib} {passes}");
        }
        assert!(Cost::DEFAULT.is_sound());
    }

    #[test]
    fn a_hash_of_another_cost_opens_and_is_renewed_and_a_wrong_one_costs_what_is_asked_for_now() {
        let old = hash(CHEAP, b"correct horse battery").unwrap();
        let now = Cost { mib: 20, passes: 4 };
        let Checked::Renewed(new) =
            check(now, &mut Memory::default(), "correct horse battery", &old).unwrap()
        else {
            panic!("it was made at another cost")
        };
        assert_eq!(params(&new), (20 * 1024, 4, 1));
        assert_eq!(
            check(now, &mut Memory::default(), "correct horse battery", &new).unwrap(),
            Checked::Right
        );
        assert_eq!(
            check(now, &mut Memory::default(), "correct horse batterx", &old).unwrap(),
            Checked::Wrong
        );
        let missing = |cost: Cost| cost.missing(&PasswordHash::new(&old).unwrap());
        // 80 MiB of work are asked for, 38 were done: two passes of 20 are left.
        assert_eq!((missing(now), missing(CHEAP)), (Some(2), None));
        assert_eq!(missing(Cost { mib: 19, passes: 1 }), Some(0), "it was dearer: nothing is left to do");
    }

    #[tokio::test]
    async fn who_hangs_up_keeps_the_turn_until_the_work_is_done() {
        let passwords = Passwords::new(CHEAP);
        let all = passwords.turns.available_permits();
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let (began, begun) = oneshot::channel();
        let call = passwords.on_thread(move |_| {
            let _ = began.send(());
            let _ = wait.recv();
        });
        tokio::select! {
            _ = call => panic!("it waits"),
            begun = begun => begun.unwrap(),
        }
        assert_eq!(passwords.turns.available_permits(), all - 1, "the caller is gone, the work is not");
        drop(release);
        let every = u32::try_from(all).unwrap();
        drop(passwords.turns.acquire_many(every).await.unwrap());
    }

    #[tokio::test]
    async fn a_thread_is_used_again_and_one_that_is_gone_is_replaced() {
        let passwords = Passwords::new(CHEAP);
        let thread = async || passwords.on_thread(|_| std::thread::current().id()).await.unwrap();
        assert_eq!(thread().await, thread().await);
        let gone = passwords.on_thread(|_| panic!("on purpose")).await;
        assert!(gone.is_err(), "{gone:?}");
        thread().await;
    }

    #[tokio::test]
    async fn hashing_yields_to_everything_else() {
        let passwords = Passwords::new(CHEAP);
        let its = passwords.on_thread(|_| rustix::process::nice(0).unwrap()).await.unwrap();
        assert_eq!(its, NICE);
        assert!(rustix::process::nice(0).unwrap() < NICE, "the others keep theirs");
    }

    #[test]
    fn passwords() {
        let made = hash(CHEAP, b"correct horse battery").unwrap();
        let right = |password: &str, hash: &str| {
            check(CHEAP, &mut Memory::default(), password, hash).unwrap() == Checked::Right
        };
        assert!(right("correct horse battery", &made));
        assert!(!right("correct horse batterx", &made));
        let long = "ab".repeat(600);
        assert!(!right(&long, &hash(CHEAP, &long.as_bytes()[..PASSWORD_BYTES_MAX]).unwrap()));
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
