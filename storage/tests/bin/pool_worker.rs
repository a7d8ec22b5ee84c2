//! A pool worker for tests: as the real one, but it can be told to die by SIGKILL at its n-th step, or at a step's name.
//! Its socket is its standard input.

use quantix_host::program::SystemRunner;
use quantix_model::pool::PoolSpec;
use quantix_storage::backend::Backend;
use quantix_storage::ceph::CephPool;
use quantix_storage::disk::DiskPool;
use quantix_storage::iscsi::IscsiPool;
use quantix_storage::local::LocalPool;
use quantix_storage::nfs::NfsPool;
use quantix_storage::worker::serve::main_with;
use rustix::process::{Signal, getpid, kill_process};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

fn main() -> ExitCode {
    let word = std::env::args().nth(1).unwrap_or_default();
    let kill_at: u64 = word.parse().unwrap_or(u64::MAX);
    let Ok(socket) = std::io::stdin().as_fd().try_clone_to_owned() else { return ExitCode::FAILURE };
    let count = AtomicU64::new(0);
    let steps = Arc::new(move |step: &'static str| {
        if count.fetch_add(1, Ordering::SeqCst) + 1 == kill_at || step == word {
            // Nothing runs after this, not even a destructor.
            let _ = kill_process(getpid(), Signal::KILL);
        }
        Ok(())
    });
    main_with(socket, |setup| {
        let pool: Box<dyn Backend> = match &setup.spec {
            PoolSpec::Local { file_system_uuid, .. } if !file_system_uuid.is_empty() => {
                Box::new(DiskPool::with(setup, Arc::new(SystemRunner), steps)?)
            }
            PoolSpec::Local { .. } => Box::new(LocalPool::with(setup, Arc::new(SystemRunner), steps)?),
            PoolSpec::Iscsi(_) => Box::new(IscsiPool::with(setup, Arc::new(SystemRunner), steps)?),
            PoolSpec::Ceph(_) => Box::new(CephPool::with(setup, Arc::new(SystemRunner), steps)?),
            PoolSpec::Nfs(_) => Box::new(NfsPool::with(setup, Arc::new(SystemRunner), steps)?),
        };
        Ok(pool)
    })
}
