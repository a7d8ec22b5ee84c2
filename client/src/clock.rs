//! The one place that reads the clock, so that tests can move it, TLS with it.

use quantix_model::UnixMs;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

/// Tells the time. Clones tell the same.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// Added to the system's time, in milliseconds.
    offset_ms: Arc<AtomicI64>,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Clock {
        Clock::default()
    }

    /// Now.
    pub fn now(&self) -> UnixMs {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        UnixMs(now.saturating_add(self.offset_ms.load(Ordering::Relaxed)))
    }

    /// Moves this clock ahead of the system's, for tests of limits that take hours or years.
    pub fn advance(&self, by: Duration) {
        self.offset_ms.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(self.now()))
    }
}

/// A moment as rustls wants it; before 1970 is 1970.
pub(crate) fn unix_time(at: UnixMs) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_millis(u64::try_from(at.0).unwrap_or(0)))
}
