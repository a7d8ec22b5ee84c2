//! The toolbox: the one way to run a host program, and what can be read of the machine.
//!
//! Decides nothing, retries nothing, knows no volumes or VMs. What is read comes from /proc and /sys only, beneath
//! a root that tests replace by a recorded tree; a mounted path is never touched, because it may hang.

pub mod cpu;
pub mod disk;
pub mod fake;
pub mod inventory;
pub mod memory;
pub mod mount;
pub mod nic;
pub mod pci;
pub mod process;
pub mod program;
mod tree;
pub mod vitals;
