//! The shelves: pool backends, and the worker process that serves each pool.
//!
//! Only a worker touches a pool. The daemon holds a [`worker::PoolWorker`], which asks the worker over a socket with a
//! deadline, and survives it.

pub mod backend;
pub mod ceph;
pub mod device;
pub mod disk;
pub mod error;
pub mod explore;
pub mod facts;
pub mod fake;
mod home;
pub mod iscsi;
pub mod local;
pub mod nfs;
mod on_mount;
mod place;
pub mod worker;
