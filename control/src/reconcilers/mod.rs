//! What is put right without anybody asking, by noun: on a timer, on request, bounded, repeatable.

pub mod certificate;
pub mod event;
pub mod host;
pub mod identity;
pub mod pool;
pub mod store;
