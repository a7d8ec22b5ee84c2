//! The engine: running VMs through libvirt and QEMU. The only crate that links libvirt.
//!
//! - `driver`: what the daemon asks of a hypervisor.
//! - `xml`: a machine's definition as libvirt reads it.
//! - `fake`: the same behaviour in memory, for tests of the real daemon.
//! - `conformance`: what both must do.

pub mod conformance;
pub mod driver;
pub mod fake;
mod refusal;
pub mod xml;
