//! The yard: the product under test, as a whole.
//!
//! [`rig`] starts the real thing as an administrator has it: a libvirt of its own, `quantix-vdc` and `quantix-node`
//! as processes, which may be killed at any moment. [`labvm`] is a machine in which storage tests may do what they
//! never may on the one they were built on, [`vm_host`] makes one a host, [`ceph`] is a cluster and [`slapd`] a directory on
//! loopback. [`fuzz`] asks both daemons what no client would ask.
//! [`fleet`] is thousands of hosts in one process, [`spare`] a few more real daemons for a [`cluster`]. Nothing depends on this room.

pub mod agent;
pub mod ceph;
pub mod cluster;
pub mod counter;
pub mod fault_fs;
pub mod fleet;
pub mod fuzz;
pub mod labvm;
pub mod measure;
pub mod mount;
pub mod process;
pub mod rig;
pub mod screen;
pub mod slapd;
pub mod spare;
pub mod vm_host;
