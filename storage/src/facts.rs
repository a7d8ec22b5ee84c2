//! What each kind of pool can do, in one table. The guide for people is rendered from it, and the conformance suite fails
//! when a backend says something else of itself.

use quantix_model::pool::Capabilities;
use std::fmt::Write;

/// Something a pool may be able to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Ability {
    Files,
    Images,
    Snapshots,
    SnapshotsRunning,
    Clones,
    Flatten,
    Grow,
    GrowRunning,
    Thick,
    Reflink,
}

impl Ability {
    /// Every ability, in the order of the table.
    pub const ALL: [Ability; 10] = [
        Ability::Files,
        Ability::Images,
        Ability::Snapshots,
        Ability::SnapshotsRunning,
        Ability::Clones,
        Ability::Flatten,
        Ability::Grow,
        Ability::GrowRunning,
        Ability::Thick,
        Ability::Reflink,
    ];

    /// Words for people.
    pub fn words(self) -> &'static str {
        match self {
            Ability::Files => "browse, upload, download, change files",
            Ability::Images => "keep images (ISO, qcow2, raw)",
            Ability::Snapshots => "snapshots of volumes, VM off",
            Ability::SnapshotsRunning => "snapshots while the VM runs",
            Ability::Clones => "linked clones",
            Ability::Flatten => "make linked clones independent, VM off",
            Ability::Grow => "grow volumes, VM off",
            Ability::GrowRunning => "grow volumes while the VM runs",
            Ability::Thick => "reserve all space at once (thick)",
            Ability::Reflink => "copies share extents",
        }
    }
}

impl std::fmt::Display for Ability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.words())
    }
}

/// What a kind of pool can do: `yes`, `no`, or when.
#[derive(Debug)]
pub struct Facts {
    /// [`quantix_model::pool::PoolSpec::backend`]'s word.
    pub kind: &'static str,
    /// Words for people.
    pub name: &'static str,
    /// How volumes are kept; the first is the usual way.
    pub formats: &'static str,
    /// One per [`Ability::ALL`].
    pub can: [&'static str; Ability::ALL.len()],
}

/// Every kind.
pub const ALL: &[Facts] = &[
    Facts {
        kind: "local",
        name: "Local directory",
        formats: "qcow2, raw",
        can: [
            "yes",
            "yes",
            "yes",
            "no",
            "yes",
            "yes",
            "yes",
            "yes",
            "where the file system has fallocate",
            "on XFS, btrfs and others that can",
        ],
    },
    Facts {
        kind: "nfs",
        name: "NFS",
        formats: "qcow2, raw",
        can: [
            "yes",
            "yes",
            "yes",
            "no",
            "yes",
            "yes",
            "yes",
            "yes",
            "with NFS 4.2, where the server can",
            "with NFS 4.2, where the server can",
        ],
    },
    Facts {
        kind: "ceph",
        name: "Ceph RBD",
        formats: "raw",
        can: ["no", "no", "yes", "yes", "yes", "yes", "yes", "yes", "yes", "no"],
    },
    Facts {
        kind: "iscsi",
        name: "iSCSI and LVM",
        formats: "raw",
        can: ["no", "no", "yes", "yes", "no", "no", "yes", "yes", "yes", "no"],
    },
];

impl Facts {
    /// Each ability with its answer.
    pub fn abilities(&self) -> impl Iterator<Item = (Ability, &'static str)> {
        Ability::ALL.into_iter().zip(self.can)
    }
}

/// What a backend says of itself.
pub fn says(can: &Capabilities, ability: Ability) -> bool {
    match ability {
        // Pools without files list their volumes where files would be.
        Ability::Files => can.files && can.images,
        Ability::Images => can.images,
        Ability::Snapshots => can.snapshots,
        Ability::SnapshotsRunning => can.snapshots_running,
        Ability::Clones => can.clones,
        Ability::Flatten => can.flatten,
        Ability::Grow => can.grow,
        Ability::GrowRunning => can.grow_running,
        Ability::Thick => can.thick,
        Ability::Reflink => can.reflink,
    }
}

const BEGIN: &str = "<!-- facts: begin -->";
const END: &str = "<!-- facts: end -->";

/// The table, in Markdown.
pub fn table() -> String {
    let mut out = String::from("|");
    let mut row = |cells: &mut dyn Iterator<Item = &'static str>| {
        for cell in cells {
            // Writing into a String cannot fail.
            let _ = write!(out, " {cell} |");
        }
        out.push_str("\n|");
    };
    row(&mut std::iter::once("Can it …").chain(ALL.iter().map(|facts| facts.name)));
    row(&mut std::iter::repeat_n("---", ALL.len() + 1));
    for (at, ability) in Ability::ALL.into_iter().enumerate() {
        row(&mut std::iter::once(ability.words()).chain(ALL.iter().map(|facts| facts.can[at])));
    }
    row(&mut std::iter::once("formats of volumes").chain(ALL.iter().map(|facts| facts.formats)));
    out.pop();
    out
}

/// The page with the table put between its markers; `None` when they are missing.
pub fn renew(page: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{}{END}{after}", table()))
}
