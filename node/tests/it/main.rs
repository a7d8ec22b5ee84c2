//! The whole daemon on a hypervisor and pools in memory, with a vDC's side of the wire before it: real TLS, real
//! sockets, real ledger.

mod beat;
mod console;
mod pool;
mod recovery;
mod registration;
mod upload;
mod vdc;
mod vm;
mod yard;
