//! Blocking calls at arm's length. libvirt's calls may hang for as long as storage or the daemon hangs, so each
//! runs on a thread of its own, behind a semaphore and a deadline:
//!
//! ```text
//!   caller ──permit──▶ thread ──────────────answer──▶ caller
//!                        │ deadline passed: DEADLINE_EXCEEDED; the thread is counted as abandoned
//!                        └─ keeps its permit until the call does return, so their number is capped
//! ```
//!
//! The threads are not tokio's: a runtime waits for its blocking threads when it ends, and one that hangs would
//! keep the daemon from stopping.

use crate::driver::Result;
use crate::refusal;
use quantix_model::Fault;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

/// A bounded way to block.
pub(super) struct Gate {
    permits: Arc<Semaphore>,
    calls_max: usize,
    abandoned: Arc<AtomicUsize>,
}

impl Gate {
    /// A gate for so many calls at once, abandoned ones included.
    pub(super) fn new(calls_max: usize) -> Gate {
        Gate { permits: Arc::new(Semaphore::new(calls_max)), calls_max, abandoned: Arc::default() }
    }

    /// Calls that missed their deadline and have still not returned.
    pub(super) fn abandoned(&self) -> usize {
        self.abandoned.load(Ordering::Relaxed)
    }

    /// Runs `call` on a thread. `what` completes "libvirt had 10 s to …".
    pub(super) async fn run<T, F>(&self, what: &'static str, deadline: Duration, call: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T> + Send + 'static,
    {
        let ends = Instant::now() + deadline;
        if self.abandoned() >= self.calls_max {
            return Err(self.full());
        }
        let Ok(permit) = timeout_at(ends, Arc::clone(&self.permits).acquire_owned()).await else {
            return Err(self.full());
        };
        let permit = permit.map_err(Fault::internal)?;
        let (answer, mut answered) = oneshot::channel();
        let given_up = Arc::new(AtomicBool::new(false));
        let (thread_given_up, abandoned) = (Arc::clone(&given_up), Arc::clone(&self.abandoned));
        std::thread::Builder::new()
            .name("libvirt-call".to_owned())
            .spawn(move || {
                let result = catch_unwind(AssertUnwindSafe(call))
                    .unwrap_or_else(|_| Err(Fault::internal(format!("the call to {what} panicked"))));
                if thread_given_up.swap(true, Ordering::AcqRel) {
                    abandoned.fetch_sub(1, Ordering::AcqRel);
                    tracing::warn!(what, "a libvirt call that was given up has returned");
                }
                let _ = answer.send(result);
                drop(permit);
            })
            .map_err(|error| Fault::internal(format!("no thread for libvirt: {error}")))?;
        if let Ok(result) = timeout_at(ends, &mut answered).await {
            return result.map_err(Fault::internal)?;
        }
        // Counted before it is declared, so that the thread's subtraction never comes first.
        self.abandoned.fetch_add(1, Ordering::AcqRel);
        if given_up.swap(true, Ordering::AcqRel) {
            // It returned in this very moment: the thread saw no one give up, so undo the count.
            self.abandoned.fetch_sub(1, Ordering::AcqRel);
            return answered.await.map_err(Fault::internal)?;
        }
        tracing::warn!(what, abandoned = self.abandoned(), "a libvirt call missed its deadline");
        Err(refusal::too_slow(what, deadline))
    }

    fn full(&self) -> Fault {
        refusal::unavailable(format!(
            "{} of {} calls to libvirt have missed their deadline and not returned",
            self.abandoned(),
            self.calls_max
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quantix_model::fault::FaultCode;
    use std::sync::mpsc;

    #[tokio::test]
    async fn a_call_that_hangs_is_given_up_counted_capped_and_forgiven() {
        let gate = Gate::new(2);
        let (release, blocked) = mpsc::channel::<()>();
        let blocked = Arc::new(std::sync::Mutex::new(blocked));
        for _ in 0..2 {
            let blocked = Arc::clone(&blocked);
            let fault = gate
                .run("hang", Duration::from_millis(20), move || {
                    blocked.lock().expect("not poisoned").recv().expect("released");
                    Ok(())
                })
                .await
                .expect_err("hangs");
            assert_eq!(fault.code, FaultCode::DeadlineExceeded);
        }
        assert_eq!(gate.abandoned(), 2);
        let fault = gate.run("ask", Duration::from_secs(60), || Ok(())).await.expect_err("full");
        assert_eq!(fault.code, FaultCode::HypervisorUnavailable);
        release.send(()).expect("heard");
        release.send(()).expect("heard");
        let ends = Instant::now() + Duration::from_secs(10);
        while gate.abandoned() > 0 {
            assert!(Instant::now() < ends, "returned calls are forgiven");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(gate.run("ask", Duration::from_secs(60), || Ok(7)).await, Ok(7));
    }

    #[tokio::test]
    async fn a_panic_is_a_fault() {
        let gate = Gate::new(1);
        let call = || -> Result<()> { panic!("on purpose") };
        let fault = gate.run("panic", Duration::from_secs(60), call).await.expect_err("panicked");
        assert_eq!(fault.code, FaultCode::Internal);
        assert_eq!(gate.run("ask", Duration::from_secs(60), || Ok(7)).await, Ok(7));
    }
}
