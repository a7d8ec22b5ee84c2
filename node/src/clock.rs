//! The daemon's clock, read in one place. All daemons of a process are on one machine and share its clock.

use quantix_client::clock::Clock;
use quantix_model::UnixMs;
use std::sync::LazyLock;

static MACHINE: LazyLock<Clock> = LazyLock::new(Clock::system);

/// Now, by this machine's clock.
pub fn now() -> UnixMs {
    MACHINE.now()
}

/// This machine's clock: what judges certificates, and what tests move.
pub fn machine() -> &'static Clock {
    &MACHINE
}
