//! The shelves: pool backends, and the worker process that serves each pool.

pub mod backend;
pub mod error;
