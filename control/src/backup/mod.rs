//! The whole state of a vDC in one file, and back again.
//!
//! ```text
//!   backup   database (one moment, while served) + pki + settings ──▶ FILE (tar, zstd, digests, mode 0600)
//!   restore  FILE ──▶ restore-stage/ ──▶ checked ──▶ restore.json ──▶ swapped ──▶ old state in before-…/
//!                          └─ cut here: old               └─ cut here: the next start goes on: new
//! ```
//! After a restore the vDC's time has gone back, that of its hosts has not: hosts keep what they have, and
//! `Store::settle_restored` makes the vDC fit to talk to them.

mod archive;
mod restore;

pub use archive::{Manifest, make};
pub use restore::{Restored, Step, restore, settle};

use crate::config::Config;
use quantix_model::fault::{Fault, FaultCode};
use quantix_store::backup::Place;
use std::path::Path;

/// The embedded database within the data folder.
pub(crate) const DATABASE: &str = "vdc.sqlite";
/// Keys and certificates within the data folder.
pub(crate) const PKI: &str = "pki";

/// Where the store is by these settings.
fn place(config: &Config) -> Place {
    match &config.database_url {
        Some(url) => Place::Postgres(url.clone()),
        None => Place::File(config.data_dir.join(DATABASE)),
    }
}

fn file_fault(path: &Path, err: &std::io::Error) -> Fault {
    Fault::new(
        FaultCode::StoreUnavailable,
        format!("{} cannot be used.", path.display()),
        "Check that it exists, that its folder has free space, and that this user may read and write there.",
    )
    .because(err)
}
