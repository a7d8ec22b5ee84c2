//! A pool worker for tests: as the real one, but it can be told to die by SIGKILL at its n-th step.
//! Its socket is its standard input.

use quantix_host::program::SystemRunner;
use quantix_storage::backend::Backend;
use quantix_storage::local::LocalPool;
use quantix_storage::worker::serve::main_with;
use rustix::process::{Signal, getpid, kill_process};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

fn main() -> ExitCode {
    let kill_at: u64 = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(u64::MAX);
    let Ok(socket) = std::io::stdin().as_fd().try_clone_to_owned() else { return ExitCode::FAILURE };
    let count = AtomicU64::new(0);
    let steps = Arc::new(move |_: &'static str| {
        if count.fetch_add(1, Ordering::SeqCst) + 1 == kill_at {
            // Nothing runs after this, not even a destructor.
            let _ = kill_process(getpid(), Signal::KILL);
        }
        Ok(())
    });
    main_with(socket, |setup| {
        let pool: Box<dyn Backend> = Box::new(LocalPool::with(setup, Arc::new(SystemRunner), steps)?);
        Ok(pool)
    })
}
