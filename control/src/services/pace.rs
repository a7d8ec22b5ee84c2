//! Hosts' renewals, a few at a time. Hosts renew at their own moments of the day; those that missed theirs because the
//! vDC was away all come with their first beat, and a signature with the handshakes after it costs ten beats.
//!
//! ```text
//!   renewal ─▶ within the pace ─▶ signed
//!               └─ no: BUSY, and the host comes again at its own moment of the next minutes
//! ```

use quantix_model::{Fault, FaultCode, UnixMs};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// One renewal is let through so often: all of ten thousand hosts that are late within little more than an hour.
pub const EVERY: Duration = Duration::from_millis(400);
/// So many are let through at once, when none came before.
const BURST: u32 = 10;

/// The pace, and where it stands.
#[derive(Debug, Default)]
pub struct Pace {
    /// When everything that was let through is paid for.
    paid_at: Mutex<UnixMs>,
}

impl Pace {
    /// Lets one through, or says that it comes too early.
    pub fn take(&self, now: UnixMs) -> Result<(), Fault> {
        let mut paid_at = self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
        let full = now.plus(EVERY * BURST);
        // Further ahead than it can ever be: the clock was put back.
        if *paid_at > full.plus(EVERY) || *paid_at < now {
            *paid_at = now;
        }
        if *paid_at >= full {
            return Err(Fault::new(
                FaultCode::Busy,
                "More hosts renew their certificates at once than the vDC signs beside its other work.",
                "Nothing to do: the host asks again within ten minutes.",
            ));
        }
        *paid_at = paid_at.plus(EVERY);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_at_once_then_at_the_pace_and_a_clock_put_back_stops_nobody() {
        let (pace, start) = (Pace::default(), UnixMs(1_000_000));
        let through = |from: UnixMs, asked: u32, every: Duration| {
            let times = (0..asked).map(|n| from.plus(every * n));
            u32::try_from(times.filter(|at| pace.take(*at).is_ok()).count()).expect("a small number")
        };
        assert_eq!(through(start, 100, Duration::ZERO), BURST);
        assert_eq!(pace.take(start).expect_err("none is left").code, FaultCode::Busy);
        // 40 seconds are paid for by 100.
        let later = through(start.plus(EVERY), 2_000, Duration::from_millis(20));
        assert!((99..=101).contains(&later), "{later}");
        assert_eq!(through(UnixMs(5), 100, Duration::ZERO), BURST);
    }
}
