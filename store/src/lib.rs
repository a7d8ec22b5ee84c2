//! The memory: what the vDC must still know after a restart, on SQLite (embedded) or PostgreSQL.
//!
//! One file per noun holds its record, its table and its methods, named `noun_verb`. Each method is one
//! transaction; what cannot be is a value of [`StoreError`]. Nothing here decides: callers bring rules, time and ids.
//! Writes are durable when they return. Moving figures (load, beats) stay in memory and never come here.

mod alert;
mod api_token;
mod audit;
pub mod backup;
mod bulk;
mod connection;
mod error;
mod event;
mod factor;
mod grant;
mod host;
mod identity;
mod image;
mod join_token;
#[cfg(test)]
mod laws;
mod list;
mod mark;
mod migration;
mod page;
mod pool;
mod postgres;
mod release;
mod role;
mod roster;
mod row;
mod session;
mod setting;
mod task;
mod upload;
mod user;
mod vm;
mod volume;

pub use alert::{AlertFilter, AlertRecord};
pub use api_token::ApiTokenRecord;
pub use audit::{AuditFilter, AuditMark, AuditRecord};
pub use bulk::Bulk;
pub use connection::{Statement, Store};
pub use error::StoreError;
pub use event::{EventFilter, EventRecord};
pub use factor::{FactorRecord, RecoveryCodeRecord};
pub use grant::GrantRecord;
pub use host::HostRecord;
pub use identity::IdentitySourceRecord;
pub use image::ImageRecord;
pub use join_token::{JoinTokenRecord, JoinUse};
pub use mark::Mark;
pub use page::{Page, PageRequest};
pub use pool::{PoolAssignmentRecord, PoolContents, PoolRecord, PoolStatusRecord};
pub use release::PoolReleaseRecord;
pub use role::RoleRecord;
pub use roster::{HostBrief, Roster, VmBrief};
pub use session::SessionRecord;
pub use task::TaskRecord;
pub use upload::{UploadRecord, UploadState};
pub use user::UserRecord;
pub use vm::VmRecord;
pub use volume::VolumeRecord;
