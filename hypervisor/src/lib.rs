//! The engine: running VMs through libvirt and QEMU. The only crate that links libvirt.
//!
//! - `driver`: what the daemon asks of a hypervisor.
//! - `libvirt`: the real driver.
//! - `accelerator`: whether guests run under KVM here, proved by a guest.
//! - `xml`: a machine's definition as libvirt reads it.
//! - `fake`: the same behaviour in memory, for tests of the real daemon.
//! - `conformance`: what both must do.

pub mod accelerator;
pub mod conformance;
pub mod driver;
pub mod fake;
pub mod libvirt;
mod refusal;
pub mod xml;
