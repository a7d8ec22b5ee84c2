//! The daemon's clock, read in one place.

use quantix_model::UnixMs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Now, by this machine's clock.
pub fn now() -> UnixMs {
    UnixMs(0).plus(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO))
}
