//! argon2id on threads and in memory that are used again.
//!
//! ```text
//!   turn ─▶ a free thread, or a new one ─▶ job ─▶ free again ─▶ 1 s without a job: its memory goes back
//! ```
//! The crate takes new memory for every hash, and giving tens of MiB back to the kernel holds the address space for 4 to 5 ms,
//! during which no other thread of the process gets any (seen with `strace -T`). A thread that was just begun is given
//! processor time like one that has waited long, whatever its priority; one that always works is not.

use argon2::password_hash::phc::{Output, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use quantix_model::fault::Fault;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// Others come first (setpriority(2)), and it still gets on where the machine is never idle: a tenth of a share beside theirs.
pub const NICE: i32 = 10;
/// Memory is kept so long for the next job.
const KEPT: Duration = Duration::from_secs(1);

/// Something to be worked on.
pub type Job = Box<dyn FnOnce(&mut Memory) + Send>;

/// Threads without a job.
pub type Free = Arc<Mutex<Vec<Sender<Job>>>>;

/// The right to one thread; it is free again when this goes.
pub struct Turn {
    /// The thread.
    pub worker: Sender<Job>,
    free: Free,
    _permit: OwnedSemaphorePermit,
}

impl Turn {
    /// There are no more threads than permits.
    pub fn new(permit: OwnedSemaphorePermit, free: &Free) -> Result<Turn, Fault> {
        let known = free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let worker = known.map_or_else(begin, Ok)?;
        Ok(Turn { worker, free: Arc::clone(free), _permit: permit })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // One that panics takes its thread along.
        if !std::thread::panicking() {
            self.free.lock().unwrap_or_else(PoisonError::into_inner).push(self.worker.clone());
        }
    }
}

fn begin() -> Result<Sender<Job>, Fault> {
    let (worker, jobs) = channel();
    let thread = std::thread::Builder::new().name("password".into());
    thread.spawn(move || work(&jobs)).map_err(Fault::internal)?;
    Ok(worker)
}

/// Until nobody can have a job any more.
fn work(jobs: &Receiver<Job>) {
    // Where that is refused, hashing is as urgent as everything else.
    let _ = rustix::process::nice(NICE);
    let mut memory = Memory::default();
    loop {
        match jobs.recv_timeout(KEPT) {
            Ok(job) => job(&mut memory),
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                memory = Memory::default();
                let Ok(job) = jobs.recv() else { return };
                job(&mut memory);
            }
        }
    }
}

/// Working memory; what is left in it from one hash means nothing to the next (RFC 9106, 3.2: blocks are written before they
/// are read).
#[derive(Default)]
pub struct Memory(Vec<Block>);

impl Memory {
    fn output(
        &mut self,
        argon2: &Argon2,
        password: &[u8],
        salt: &[u8],
        length: usize,
    ) -> argon2::Result<Output> {
        let blocks = argon2.params().block_count();
        if self.0.len() < blocks {
            // Not grown: that would copy what means nothing.
            self.0 = Vec::new();
            self.0 = vec![Block::default(); blocks];
        }
        let mut out = [0; Output::MAX_LENGTH];
        let out = out.get_mut(..length).ok_or(argon2::Error::OutputTooLong)?;
        argon2.hash_password_into_with_memory(password, salt, out, &mut self.0)?;
        Output::new(out).map_err(|_| argon2::Error::OutputTooShort)
    }

    /// The hash of a password with a new salt, as a PHC string.
    pub fn hash(&mut self, params: &Params, password: &[u8]) -> Result<String, Fault> {
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
        let salt = Salt::generate();
        let length = params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN);
        let output = self.output(&argon2, password, &salt, length).map_err(Fault::internal)?;
        let hash = PasswordHash {
            algorithm: Algorithm::Argon2id.ident(),
            version: Some(Version::V0x13.into()),
            params: params.try_into().map_err(Fault::internal)?,
            salt: Some(salt),
            hash: Some(output),
        };
        Ok(hash.to_string())
    }

    /// Whether the password has this hash. One that is not argon2's is of no password.
    pub fn matches(&mut self, hash: &PasswordHash, password: &[u8]) -> bool {
        let known = || {
            let algorithm = Algorithm::try_from(hash.algorithm.as_str()).ok()?;
            let version =
                hash.version.map_or(Some(Version::V0x13), |version| Version::try_from(version).ok())?;
            Some((Argon2::new(algorithm, version, Params::try_from(hash).ok()?), hash.salt?, hash.hash?))
        };
        let Some((argon2, salt, expected)) = known() else { return false };
        // `Output` compares in constant time.
        self.output(&argon2, password, &salt, expected.len()).is_ok_and(|output| output == expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};

    fn params(mib: u32, passes: u32) -> Params {
        Params::new(mib * 1024, passes, 1, None).expect("they are good")
    }

    #[test]
    fn memory_that_was_used_gives_what_the_crate_gives() {
        let mut memory = Memory::default();
        for (mib, passes) in [(2, 1), (1, 2), (3, 1), (2, 3)] {
            let params = params(mib, passes);
            let ours = memory.hash(&params, b"correct horse battery").expect("it is hashed");
            let ours = PasswordHash::new(&ours).expect("a PHC string");
            let crates = Argon2::default();
            assert_eq!(crates.verify_password(b"correct horse battery", &ours), Ok(()));
            assert!(crates.verify_password(b"correct horse batterx", &ours).is_err());
            let theirs = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
            let theirs = theirs.hash_password(b"correct horse battery").expect("it is hashed");
            assert!(memory.matches(&theirs, b"correct horse battery"));
            assert!(!memory.matches(&theirs, b"correct horse batterx"));
        }
    }

    #[test]
    fn what_is_no_hash_of_argon2_matches_nothing() {
        let mut memory = Memory::default();
        for text in ["$argon2id$v=19$m=64,t=1,p=1", "$scrypt$ln=1$aaaaaaaaaaa$aaaaaaaaaaaaaaaa"] {
            let Ok(hash) = PasswordHash::new(text) else { continue };
            assert!(!memory.matches(&hash, b""), "{text}");
        }
    }
}
