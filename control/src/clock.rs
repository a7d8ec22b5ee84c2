//! The vDC's clock: what dates certificates judges them, so both sides of a line share one kind.

pub use quantix_client::clock::Clock;
