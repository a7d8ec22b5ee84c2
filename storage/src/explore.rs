//! What a pool could be made of: targets and LUNs at a portal, exports of a server, pools of a Ceph cluster. So that
//! nobody has to type their names.
//!
//! A question is asked of a worker process that answers it and ends, as one that serves a pool would: it may hang like
//! one, too. Nothing of it stays on the host.

use crate::backend::PoolSetup;
use crate::error::Result;
use quantix_model::id::PoolId;
use quantix_model::pool::{CephSpec, Chap, IscsiSpec, NfsSpec, NfsVersion, PoolSpec};
use quantix_model::secret::Secret;
use serde::{Deserialize, Serialize};

/// Stands for "all of them" in the spec of a question.
pub(crate) const ANY_TARGET: &str = "iqn.1970-01.invalid:any";
/// Stands for "all of them" in the spec of a question.
const ANY: &str = "any";

/// What somebody wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// What a portal offers; of one target also its LUNs, for which the host signs in.
    Targets {
        /// `address`, `address:port` or `[v6]:port`.
        portal: String,
        /// Who we are.
        chap: Option<Chap>,
        /// Who the target is.
        mutual_chap: Option<Chap>,
        /// Empty: all, without LUNs.
        target: String,
    },
    /// What an NFS server offers.
    Exports {
        /// Name or address.
        server: String,
    },
    /// The pools of a Ceph cluster.
    CephPools {
        /// At least one.
        monitors: Vec<String>,
        /// Without `client.`.
        user: String,
        /// Of the user.
        key: Secret,
    },
}

impl Question {
    /// What a worker is told. Checked as a pool's spec is: names go to programs of the host.
    pub fn setup(&self) -> Result<PoolSetup> {
        let spec = match self {
            Question::Targets { portal, chap, mutual_chap, target } => PoolSpec::Iscsi(IscsiSpec {
                portal: portal.clone(),
                target: if target.is_empty() { ANY_TARGET.to_owned() } else { target.clone() },
                lun: 0,
                chap: chap.clone(),
                mutual_chap: mutual_chap.clone(),
                volume_group: ANY.to_owned(),
                create_volume_group: false,
            }),
            Question::Exports { server } => PoolSpec::Nfs(NfsSpec {
                server: server.clone(),
                export: "/".to_owned(),
                version: NfsVersion::V3,
                options: String::new(),
                mount_path: String::new(),
            }),
            Question::CephPools { monitors, user, key } => PoolSpec::Ceph(CephSpec {
                monitors: monitors.clone(),
                pool: ANY.to_owned(),
                user: user.clone(),
                key: key.clone(),
            }),
        };
        spec.check()?;
        Ok(PoolSetup { id: PoolId(uuid::Uuid::nil()), spec, must_exist: false, may_make: false })
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// See [`Question::Targets`].
    Targets(Vec<Target>),
    /// See [`Question::Exports`].
    Exports(Exports),
    /// See [`Question::CephPools`].
    CephPools(Vec<CephPoolSeen>),
}

/// An iSCSI target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Qualified name.
    pub name: String,
    /// `address:port` each.
    pub portals: Vec<String>,
    /// What it shows this host; empty when nobody signed in.
    pub luns: Vec<Lun>,
}

/// A disk of a target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lun {
    /// Logical unit.
    pub number: u32,
    /// Its size.
    pub size_bytes: u64,
    /// Its identity, the same on every host.
    pub wwid: String,
    /// Maker and model.
    pub product: String,
    /// What is on it; empty when nothing was found.
    pub content: String,
}

/// What an NFS server tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exports {
    /// In its order.
    pub exports: Vec<Export>,
    /// What is to be known about the list; empty when nothing is.
    pub note: String,
}

/// An export.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    /// Absolute.
    pub path: String,
    /// Who may mount it, as the server says.
    pub clients: String,
}

/// A pool of a Ceph cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CephPoolSeen {
    /// Its name.
    pub name: String,
    /// What is in it.
    pub stored_bytes: u64,
    /// What still fits.
    pub available_bytes: u64,
}
