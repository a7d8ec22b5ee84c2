//! The toolbox: the one way to run a host program, and what can be read of the machine.
//!
//! Decides nothing, retries nothing, knows no volumes or VMs.

pub mod program;
