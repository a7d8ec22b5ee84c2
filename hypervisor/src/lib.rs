//! The engine: running VMs through libvirt and QEMU. The only crate that links libvirt.

pub mod driver;
