//! What Ceph's programs say, as faults. Pure: text and exit code in, one fault out.
//!
//! `rbd` exits with the errno itself; `rados` and `ceph` always with 1 and the errno in the text.

use quantix_model::id::VolumeId;
use quantix_model::{Fault, FaultCode};

/// Errnos by their Linux numbers (errno(3)), as Ceph's programs print them.
pub mod errno {
    #![allow(missing_docs)]
    pub const PERM: i32 = 1;
    pub const NOENT: i32 = 2;
    pub const IO: i32 = 5;
    pub const ACCES: i32 = 13;
    pub const BUSY: i32 = 16;
    pub const EXIST: i32 = 17;
    pub const INVAL: i32 = 22;
    pub const NOSPC: i32 = 28;
    pub const ROFS: i32 = 30;
    pub const NOTEMPTY: i32 = 39;
    pub const OPNOTSUPP: i32 = 95;
    pub const SHUTDOWN: i32 = 108;
    pub const TIMEDOUT: i32 = 110;
    pub const DQUOT: i32 = 122;
}

/// Whom we ask, for sentences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Monitors, comma-separated.
    pub monitors: String,
    /// Ceph pool.
    pub pool: String,
    /// CephX user without `client.`.
    pub user: String,
}

/// A program that ended with an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What was tried, for people.
    pub step: &'static str,
    /// From the text, else the exit code.
    pub errno: i32,
    /// Its own words, one line.
    pub said: String,
    /// Whoever waits for it has time for a second question.
    pub patient: bool,
}

impl Refusal {
    /// Reads the end of a program.
    pub fn new(step: &'static str, code: Option<i32>, stderr: &str) -> Refusal {
        let said = words(stderr);
        let errno = errno_in(&said).or(code).unwrap_or(errno::IO);
        // The monitors did answer: they turned the key down, and the program went on asking until its time was up.
        let turned_down = errno == errno::TIMEDOUT && said.contains("handle_auth_bad_method");
        let errno = if turned_down { errno::ACCES } else { errno };
        Refusal { step, errno, said, patient: false }
    }

    /// No session with the cluster came about.
    pub fn is_unconnected(&self) -> bool {
        let signs = [
            "couldn't connect to the cluster",
            "couldn't connect to cluster",
            "error connecting to the cluster",
        ];
        signs.iter().any(|sign| self.said.contains(sign))
    }

    /// The cluster said nothing within the time a call has.
    pub fn is_silence(&self) -> bool {
        self.errno == errno::TIMEDOUT
    }

    /// It is the image that is not there, not its snapshot, nor the pool.
    pub fn is_missing_image(&self) -> bool {
        self.errno == errno::NOENT
            && !self.is_missing_pool()
            && !self.is_unconnected()
            && !self.said.contains("error setting snapshot context")
    }

    /// It is the snapshot that is not there.
    pub fn is_missing_snapshot(&self) -> bool {
        self.errno == errno::NOENT && self.said.contains("error setting snapshot context")
    }

    fn is_missing_pool(&self) -> bool {
        self.errno == errno::NOENT && self.said.contains("error opening pool")
    }
}

/// Progress lines end with carriage returns, and log lines carry times and thread ids that help nobody.
fn words(stderr: &str) -> String {
    let lines = stderr.split(['\n', '\r']).map(str::trim);
    let told = lines.filter(|line| {
        let progress = line.contains("% complete...") && !line.contains("failed");
        !line.is_empty() && !progress
    });
    let mut text = told.collect::<Vec<_>>().join("; ");
    if let Some((cut, _)) = text.char_indices().nth(1000) {
        text.truncate(cut);
    }
    text
}

/// The last `(110)` or `[errno 110]` in a text.
fn errno_in(text: &str) -> Option<i32> {
    let plain = text.rmatch_indices('(').find_map(|(at, _)| text[at + 1..].split_once(')')?.0.parse().ok());
    let python = || text.rsplit_once("[errno ")?.1.split_once(']')?.0.parse().ok();
    let word = || text.contains("EACCES").then_some(errno::ACCES);
    plain.or_else(python).or_else(word)
}

/// The fault for a refusal nobody expected.
pub fn classify(refusal: &Refusal, names: &Names) -> Fault {
    let fault = if refusal.is_unconnected() { unconnected(refusal, names) } else { refused(refusal, names) };
    fault.because(&refusal.said).in_phase(refusal.step)
}

fn unconnected(refusal: &Refusal, names: &Names) -> Fault {
    let Names { monitors, user, .. } = names;
    match refusal.errno {
        errno::PERM | errno::ACCES => Fault::new(
            FaultCode::PoolAuthFailed,
            format!("Ceph does not let the user {user:?} in with this key."),
            format!("Compare user and key with what `ceph auth get client.{user}` prints."),
        ),
        errno::INVAL | errno::IO if !refusal.said.contains("unable to parse addrs") => Fault::new(
            FaultCode::PoolAuthFailed,
            format!("The key of the user {user:?} is not a whole CephX key."),
            format!("Copy all of what `ceph auth print-key client.{user}` prints."),
        ),
        errno::OPNOTSUPP => Fault::new(
            FaultCode::PoolAuthFailed,
            "The cluster and this host agree on no way to prove who they are.",
            "Allow cephx in the cluster's `auth_client_required`.",
        ),
        _ => Fault::new(
            FaultCode::PoolServerUnreachable,
            format!("No Ceph monitor answers at {monitors}."),
            "Check the addresses, that the monitors run, and that ports 3300 and 6789 are open to this host.",
        ),
    }
}

fn refused(refusal: &Refusal, names: &Names) -> Fault {
    let Names { pool, user, .. } = names;
    match refusal.errno {
        errno::NOENT if refusal.is_missing_pool() => Fault::new(
            FaultCode::PoolExportMissing,
            format!("There is no pool {pool:?} in the Ceph cluster."),
            format!(
                "Check its name with `ceph osd pool ls`, or make it: `ceph osd pool create {pool} && rbd pool init {pool}`."
            ),
        ),
        errno::PERM | errno::ACCES => Fault::new(
            FaultCode::PoolAccessDenied,
            format!("The Ceph user {user:?} may not work in the pool {pool:?}."),
            format!(
                "Give it the rights: `ceph auth caps client.{user} mon 'profile rbd' osd 'profile rbd pool={pool}'`."
            ),
        ),
        errno::SHUTDOWN => Fault::new(
            FaultCode::PoolAccessDenied,
            "The Ceph cluster has put this host on its block list.",
            "Look at `ceph osd blocklist ls`; remove the host with `ceph osd blocklist rm` once it is well.",
        ),
        errno::NOSPC | errno::DQUOT => full(pool),
        errno::ROFS => Fault::new(
            FaultCode::PoolReadOnly,
            "The Ceph image can only be read.",
            "Another client may hold its lock; look at `rbd lock ls` and `rbd status`.",
        ),
        errno::TIMEDOUT => silent(refusal.step),
        _ => Fault::new(FaultCode::PoolIoFailed, "Ceph could not do that.", "Look at `ceph health detail`."),
    }
}

/// The fault for a cluster that took the call and never answered.
pub fn silent(step: &str) -> Fault {
    Fault::new(
        FaultCode::PoolStalled,
        format!("The Ceph pool does not answer: {step} got no answer in time."),
        "Look at `ceph health detail`: are its OSDs up? It is tried again by itself; running VMs and other pools go on.",
    )
}

/// The fault for a pool, its quota or its OSDs without room. Ceph lets writers wait then, so it shows as silence.
pub fn full(pool: &str) -> Fault {
    Fault::new(
        FaultCode::PoolFull,
        format!("The Ceph pool {pool:?} is full."),
        format!(
            "Delete what is no longer needed, raise its quota (`ceph osd pool set-quota {pool} max_bytes N`), or add OSDs."
        ),
    )
}

/// The fault for a pool that still takes data, but not much more.
pub fn nearly_full(pool: &str) -> Fault {
    Fault::new(
        FaultCode::PoolFull,
        format!("The Ceph pool {pool:?} is nearly full; it still works."),
        "Delete what is no longer needed, or add OSDs, before it is full: then every write waits.",
    )
}

/// The fault for a volume somebody has open.
pub fn in_use(id: VolumeId, by: &str) -> Fault {
    Fault::new(
        FaultCode::VolumeInUse,
        format!("The volume {id} is open: {by}."),
        "Stop the VM that uses it. After a client's death Ceph waits 30 s before it lets go.",
    )
}

/// The fault for a volume, or a snapshot of it, that linked clones need.
pub fn has_clones(what: &str, clones: &[String]) -> Fault {
    let linked = if clones.len() == 1 { "linked clone" } else { "linked clones" };
    Fault::new(
        FaultCode::VolumeHasClones,
        format!("{what} is needed by {} {linked}: {}.", clones.len(), crate::error::some_of(clones)),
        "Make those independent of it (flatten them), or delete them first.",
    )
}

/// The fault for a snapshot that is not there.
pub fn snapshot_missing(id: VolumeId, name: &str) -> Fault {
    Fault::new(
        FaultCode::SnapshotMissing,
        format!("The volume {id} has no snapshot {name:?}."),
        "List its snapshots.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names { monitors: "192.0.2.1".into(), pool: "vms".into(), user: "quantix".into() }
    }

    #[track_caller]
    fn check(code: i32, stderr: &str, wanted: FaultCode, remedy: &str) {
        let refusal = Refusal::new("trying", Some(code), stderr);
        let fault = classify(&refusal, &names());
        assert_eq!(fault.code, wanted, "{fault:?}");
        assert!(fault.remedy.contains(remedy), "{}", fault.remedy);
        assert_eq!(fault.phase, "trying");
        assert!(!fault.cause.is_empty() && !fault.cause.contains(['\n', '\r']), "{:?}", fault.cause);
    }

    /// Said by Ceph 16.2.15.
    #[test]
    fn what_ceph_says() {
        use FaultCode as C;
        let lost = "rbd: couldn't connect to the cluster!\nrbd: listing images failed: ";
        check(13, &format!("{lost}(13) Permission denied"), C::PoolAuthFailed, "auth get client.quantix");
        check(5, &format!("{lost}(5) Input/output error"), C::PoolAuthFailed, "print-key client.quantix");
        check(22, &format!("{lost}(22) Invalid argument"), C::PoolAuthFailed, "print-key client.quantix");
        check(110, &format!("{lost}(110) Connection timed out"), C::PoolServerUnreachable, "3300 and 6789");
        let no_name = "server name not found: nowhere (Name or service not known)\nunable to parse addrs in 'nowhere'\n";
        check(22, &format!("{no_name}{lost}(22) Invalid argument"), C::PoolServerUnreachable, "addresses");
        check(
            1,
            "couldn't connect to cluster: (13) Permission denied",
            C::PoolAuthFailed,
            "auth get client.quantix",
        );
        check(2, &format!("{lost}(2) No such file or directory"), C::PoolServerUnreachable, "addresses");
        let python = "2026-11-20T22:42:42.313+0000 7f88055ff6c0  0 monclient(hunting): authenticate timed out after 3\n\
                      \n[errno 110] RADOS timed out (error connecting to the cluster)";
        check(1, python, C::PoolServerUnreachable, "monitors");
        let turned_down = "2026-11-21T14:07:46.551+0000 7f5289d9b6c0 -1 monclient(hunting): handle_auth_bad_method \
                           server allowed_methods [2] but i only support [2]\n2026-11-21T14:07:49.551+0000 \
                           7f528b59e6c0  0 monclient(hunting): authenticate timed out after 3\n\
                           [errno 110] RADOS timed out (error connecting to the cluster)";
        check(1, turned_down, C::PoolAuthFailed, "auth get client.quantix");
        check(
            1,
            "[errno 13] RADOS permission denied (error connecting to the cluster)",
            C::PoolAuthFailed,
            "key",
        );
        check(1, "Error EACCES: access denied", C::PoolAccessDenied, "profile rbd pool=vms");
        check(
            2,
            "rbd: error opening pool 'nopool': (2) No such file or directory\nrbd: listing images failed: (2) No such \
             file or directory",
            C::PoolExportMissing,
            "ceph osd pool ls",
        );
        check(
            1,
            "error opening pool vms: (2) No such file or directory",
            C::PoolExportMissing,
            "pool init vms",
        );
        check(1, "rbd: listing images failed: (1) Operation not permitted", C::PoolAccessDenied, "auth caps");
        check(110, "rbd: create error: (110) Connection timed out", C::PoolStalled, "health detail");
        check(
            110,
            "Removing image: 0% complete...failed.\nrbd: delete error: (110) Connection timed out",
            C::PoolStalled,
            "OSDs",
        );
        check(122, "rbd: create error: (122) Disk quota exceeded", C::PoolFull, "set-quota vms");
        check(28, "rbd: create error: (28) No space left on device", C::PoolFull, "add OSDs");
        check(30, "rbd: resize error: (30) Read-only file system", C::PoolReadOnly, "rbd status");
        check(
            108,
            "rbd: error opening image x: (108) Cannot send after transport endpoint shutdown",
            C::PoolAccessDenied,
            "blocklist",
        );
        check(22, "rbd: clone error: (22) Invalid argument", C::PoolIoFailed, "health");
    }

    #[test]
    fn which_thing_is_missing() {
        let image =
            Refusal::new("x", Some(2), "rbd: error opening image none: (2) No such file or directory");
        assert!(image.is_missing_image() && !image.is_missing_snapshot());
        let snapshot =
            Refusal::new("x", Some(2), "error setting snapshot context: (2) No such file or directory");
        assert!(snapshot.is_missing_snapshot() && !snapshot.is_missing_image());
        let pool = Refusal::new("x", Some(2), "rbd: error opening pool 'p': (2) No such file or directory");
        assert!(!pool.is_missing_image() && !pool.is_missing_snapshot());
    }

    #[test]
    fn progress_is_no_complaint() {
        let said = Refusal::new(
            "x",
            Some(17),
            "Image copy: 3% complete...\rImage copy: 6% complete...failed.\nrbd: copy failed: (17) File exists",
        );
        assert_eq!(said.said, "Image copy: 6% complete...failed.; rbd: copy failed: (17) File exists");
        assert_eq!(said.errno, errno::EXIST);
    }
}
