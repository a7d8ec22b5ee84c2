//! Points in time, as milliseconds since the Unix epoch. The clock itself is read elsewhere.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMs(pub i64);

impl UnixMs {
    /// This time plus `delta`; stays at the end of time rather than wrapping.
    pub fn plus(self, delta: Duration) -> UnixMs {
        UnixMs(self.0.saturating_add(i64::try_from(delta.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long before `now` this was; zero when it lies in the future.
    pub fn age(self, now: UnixMs) -> Duration {
        Duration::from_millis(u64::try_from(now.0.saturating_sub(self.0)).unwrap_or(0))
    }
}
