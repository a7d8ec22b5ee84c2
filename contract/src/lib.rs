//! The treaty: what vDC, hosts, browsers and tools say to each other.
//!
//! Protos stand in `proto/` by noun; their Rust types are generated at build and never kept in git.
//! Beside them this crate holds, one file per noun, the conversions between the rules' types and the wire's,
//! because every room that speaks needs them. It holds no business rule and does no I/O.

pub mod action;
pub mod device;
pub mod event;
pub mod fault;
pub mod host;
pub mod identity;
pub mod image;
pub mod list;
pub mod log;
pub mod pool;
pub mod task;
pub mod time;
pub mod twin;
pub mod user;
pub mod vm;
pub mod volume;

/// Generated types and services, as `quantix::<noun>::v1`.
#[allow(missing_docs, clippy::all, clippy::unwrap_used, unused_qualifications)]
pub mod proto {
    connectrpc::include_generated!();
}

pub use buffa::EnumValue;
pub use proto::quantix;

/// Everything the protos say, for reflection and for the OpenAPI document.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor_set.bin"));

/// OpenAPI 3.1 document of the JSON face, as served by the vDC.
pub const OPENAPI_JSON: &str = include_str!(concat!(env!("OUT_DIR"), "/openapi.json"));
