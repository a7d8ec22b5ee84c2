//! Whole beats in turn. Each costs reads and writes, and after a restart every host sends one.
//!
//! ```text
//!   whole beat ─▶ a place is free, or is within a moment ─▶ taken
//!                        └─ no: told so, and the host comes again after a growing pause
//! ```
//! Without this a large fleet would have all its beats worked on at once and none answered in time, and each would come
//! again: a vDC that was busy for a moment would stay busy for ever.

use quantix_model::{Fault, FaultCode};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Taken at the same time: the store writes one after the other anyway.
const AT_ONCE: usize = 16;
/// A host waits no longer for its place: what it says grows old.
const PATIENCE: Duration = Duration::from_secs(1);

/// The places.
pub struct Turns {
    places: Semaphore,
    patience: Duration,
}

impl Default for Turns {
    fn default() -> Turns {
        Turns { places: Semaphore::new(AT_ONCE), patience: PATIENCE }
    }
}

impl Turns {
    /// A place, kept as long as what is answered lives.
    pub async fn take(&self) -> Result<SemaphorePermit<'_>, Fault> {
        match tokio::time::timeout(self.patience, self.places.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            // It is never closed.
            Ok(Err(_)) | Err(_) => Err(Fault::new(
                FaultCode::Busy,
                "More hosts report everything at once than the vDC can take.",
                "Nothing to do: the host tries again by itself. If it lasts for minutes, the vDC needs more processors.",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_finds_no_place_is_told_and_one_that_is_given_back_is_free() {
        let turns = Turns { patience: Duration::from_millis(5), ..Turns::default() };
        let mut taken = Vec::new();
        for _ in 0..AT_ONCE {
            taken.push(turns.take().await.expect("a place"));
        }
        assert_eq!(turns.take().await.map(drop).expect_err("all are taken").code, FaultCode::Busy);
        drop(taken.pop());
        drop(turns.take().await.expect("one is free again"));
    }
}
