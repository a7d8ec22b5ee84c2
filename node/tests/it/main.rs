//! The whole daemon on a hypervisor and pools in memory, with a vDC's side of the wire before it: real TLS, real
//! sockets, real ledger.

#![allow(
    clippy::unwrap_used,
    clippy::err_expect,
    reason = "a test that cannot go on ends; that is its message"
)]

mod beat;
mod console;
mod device;
mod disk;
mod file;
mod never_hang;
mod pool;
mod recovery;
mod registration;
mod upload;
mod vdc;
mod vm;
mod volume;
mod yard;
