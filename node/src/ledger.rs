//! What the daemon must remember: one file, one writer, replaced atomically.
//!
//! ```text
//!   update(edit) ──▶ writer thread: copy, edit, write .new, fsync, rename, fsync folder ──▶ publish ──▶ answer
//!   book() ◀─────────────────────────────────────────────────────────────────────────────────┘
//! ```
//! An edit that answered is on disk. A ledger that cannot be read is refused, never reset: it says which vDC
//! this host belongs to and which pools it has. What libvirt keeps itself (definitions, generations) is not
//! repeated here, but for the pools each VM uses, which must be known even while libvirt is silent.

use crate::file;
use quantix_model::id::{HostId, PoolId, VmId};
use quantix_model::pool::PoolSpec;
use quantix_model::vm::{Disk, VmSpec};
use quantix_model::{Fault, FaultCode, UnixMs};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Shape of the file. A newer one is refused: an older release must not drop what it cannot read.
const VERSION: u32 = 1;
/// More than 10,000 VMs need; anything larger was not written by us.
const BYTES_MAX: u64 = 64 << 20;
/// A write that takes longer means the state folder's disk hangs.
const WRITE_DEADLINE: Duration = Duration::from_secs(20);
/// Tombstones kept: enough that no delayed call finds its object forgotten.
const TOMBSTONES_MAX: usize = 1000;

/// Disks whose making into a pool was cut and never taken up again.
const BEGUN_DISKS_MAX: usize = 64;

/// Everything the ledger holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    /// Whom this host belongs to.
    #[serde(default)]
    pub registration: Option<Enrolment>,
    /// The registration token that was made last.
    #[serde(default)]
    pub token: Option<TokenEntry>,
    /// Pools this host should have.
    #[serde(default)]
    pub pools: BTreeMap<PoolId, PoolEntry>,
    /// Disks that were begun to be made pools, by the fingerprints they were chosen by.
    #[serde(default)]
    pub begun_disks: BTreeMap<PoolId, String>,
    /// VMs that were defined here, or are about to be.
    #[serde(default)]
    pub vms: BTreeMap<VmId, VmEntry>,
    /// Generations of pools that were released, against calls that come late.
    #[serde(default)]
    pub released_pools: BTreeMap<PoolId, Tombstone>,
    /// Generations of VMs that were deleted, against calls that come late.
    #[serde(default)]
    pub deleted_vms: BTreeMap<VmId, Tombstone>,
}

/// The vDC this host belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    /// Our id there.
    pub host_id: HostId,
    /// Our name there.
    pub host_name: String,
    /// Where to report.
    pub vdc_url: String,
    /// Whom to trust.
    pub vdc_ca_pem: String,
    /// Our key, certified by that CA.
    pub certificate_pem: String,
    /// A beat was answered: the registration cannot be repeated any more.
    #[serde(default)]
    pub confirmed: bool,
    /// `vdc_ca_pem` was told then, if it changed since the registration.
    #[serde(default)]
    pub trusted_at: UnixMs,
}

/// A registration token, as far as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenEntry {
    /// SHA-256 of the secret.
    pub secret_sha256: [u8; 32],
    /// Made then.
    pub created_at: UnixMs,
    /// Not accepted after that.
    pub expires_at: UnixMs,
    /// A registration was completed with it.
    #[serde(default)]
    pub used: bool,
}

/// A pool this host should have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolEntry {
    /// Of the intent.
    pub generation: u64,
    /// Its name, for sentences.
    pub name: String,
    /// What it should be.
    pub spec: PoolSpec,
    /// Taken up then.
    pub applied_at: UnixMs,
    /// It was usable here before: an empty place is a fault then, never a new beginning.
    #[serde(default)]
    pub was_healthy: bool,
}

/// A VM defined here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmEntry {
    /// Its name, for sentences.
    pub name: String,
    /// Of the intent.
    pub generation: u64,
    /// Pools its disks and drive are in.
    pub pools: Vec<PoolId>,
    /// Its disks.
    #[serde(default)]
    pub disks: Vec<Disk>,
    /// What it should be, for a vDC that does not know it any more. Older releases did not write it down.
    #[serde(default)]
    pub spec: Option<VmSpec>,
}

/// Something that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// It had this generation.
    pub generation: u64,
    /// It went then.
    pub at: UnixMs,
}

/// Adds a tombstone, forgetting the oldest when there are too many.
pub fn bury<K: Ord + Copy>(graves: &mut BTreeMap<K, Tombstone>, id: K, generation: u64, at: UnixMs) {
    graves.insert(id, Tombstone { generation, at });
    while graves.len() > TOMBSTONES_MAX {
        let Some(oldest) = graves.iter().min_by_key(|(_, t)| t.at).map(|(id, _)| *id) else { return };
        graves.remove(&oldest);
    }
}

/// Notes that a disk is being made a pool's. What was given up long ago is forgotten when there is too much of it.
pub fn note_disk(book: &mut Book, id: PoolId, fingerprint: String) {
    while book.begun_disks.len() >= BEGUN_DISKS_MAX {
        // Ids grow with time.
        book.begun_disks.pop_first();
    }
    book.begun_disks.insert(id, fingerprint);
}

#[derive(Serialize, Deserialize)]
struct Page {
    version: u32,
    #[serde(flatten)]
    book: Book,
}

type Edit = Box<dyn FnOnce(&mut Book) -> Result<(), Fault> + Send>;

enum Job {
    Edit { edit: Edit, done: oneshot::Sender<Result<(), Fault>> },
    Close { done: oneshot::Sender<()> },
}

/// The daemon's memory. Cheap to clone; the state folder stays locked while one lives.
#[derive(Clone)]
pub struct Ledger {
    jobs: mpsc::Sender<Job>,
    book: watch::Receiver<Arc<Book>>,
}

impl Ledger {
    /// Opens the ledger in a state folder, which is made if missing, and locks the folder.
    pub fn open(state_dir: &Path) -> Result<Ledger, Fault> {
        make_folder(state_dir)?;
        let lock = lock(state_dir)?;
        let path = state_dir.join("ledger.json");
        let book = Arc::new(load(&path)?);
        let (publish, published) = watch::channel(Arc::clone(&book));
        let (jobs, queue) = mpsc::channel(64);
        std::thread::Builder::new()
            .name("ledger".into())
            .stack_size(512 << 10)
            .spawn(move || write_loop(path, book, queue, publish, lock))
            .map_err(|err| Fault::internal(format!("the ledger's writer could not start: {err}")))?;
        Ok(Ledger { jobs, book: published })
    }

    /// What is remembered now.
    pub fn book(&self) -> Arc<Book> {
        Arc::clone(&self.book.borrow())
    }

    /// Ends the writer and lets go of the state folder; later changes are refused.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.jobs.send(Job::Close { done }).await.is_ok() {
            let _ = tokio::time::timeout(WRITE_DEADLINE, closed).await;
        }
    }

    /// Changes what is remembered. Once this answers, it is on disk; when `edit` refuses, nothing changed.
    pub async fn update<T: Send + 'static>(
        &self,
        edit: impl FnOnce(&mut Book) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let (answer, answered) = oneshot::channel();
        let edit: Edit = Box::new(move |book| {
            let value = edit(book)?;
            let _ = answer.send(value);
            Ok(())
        });
        let (done, written) = oneshot::channel();
        let gone = || Fault::internal("the ledger's writer is gone");
        let work = async {
            self.jobs.send(Job::Edit { edit, done }).await.map_err(|_| gone())?;
            written.await.map_err(|_| gone())??;
            answered.await.map_err(|_| gone())
        };
        tokio::time::timeout(WRITE_DEADLINE, work).await.unwrap_or_else(|_| {
            Err(Fault::new(
                FaultCode::DeadlineExceeded,
                "The host could not write down the change in time.",
                "Check the disk that holds the host's state folder.",
            ))
        })
    }
}

fn write_loop(
    path: PathBuf,
    mut book: Arc<Book>,
    mut queue: mpsc::Receiver<Job>,
    publish: watch::Sender<Arc<Book>>,
    lock: File,
) {
    while let Some(job) = queue.blocking_recv() {
        let (edit, done) = match job {
            Job::Edit { edit, done } => (edit, done),
            Job::Close { done } => {
                drop(lock);
                let _ = done.send(());
                return;
            }
        };
        let mut next = Book::clone(&book);
        let result = edit(&mut next).and_then(|()| {
            if next == *book {
                return Ok(());
            }
            save(&path, &next)?;
            book = Arc::new(next);
            publish.send_replace(Arc::clone(&book));
            Ok(())
        });
        let _ = done.send(result);
    }
}

fn make_folder(state_dir: &Path) -> Result<(), Fault> {
    use std::os::unix::fs::DirBuilderExt as _;
    let make = |path: &Path, mode| std::fs::DirBuilder::new().recursive(true).mode(mode).create(path);
    // What stands above is not ours alone: pools are mounted beside the state folder, and QEMU's user passes through.
    let above = state_dir.parent().filter(|above| !above.as_os_str().is_empty());
    above.map_or(Ok(()), |above| make(above, 0o755)).and_then(|()| make(state_dir, 0o700)).map_err(|err| {
        Fault::new(
            FaultCode::InvalidArgument,
            format!("The state folder {} cannot be made.", state_dir.display()),
            "Give a folder this user may write to.",
        )
        .because(err)
    })
}

/// One daemon per state folder: the kernel lets go of the lock when the process ends, however it ends.
fn lock(state_dir: &Path) -> Result<File, Fault> {
    let path = state_dir.join("lock");
    let open = || File::options().create(true).truncate(false).write(true).open(&path);
    let file = open().map_err(|err| {
        Fault::new(
            FaultCode::InvalidArgument,
            format!("The state folder {} cannot be written to.", state_dir.display()),
            "Give a folder this user may write to.",
        )
        .because(err)
    })?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|err| {
        Fault::new(
            FaultCode::Busy,
            format!("Another quantix-node uses the state folder {}.", state_dir.display()),
            "Stop the other daemon, or give this one a folder of its own.",
        )
        .because(err)
    })?;
    Ok(file)
}

fn load(path: &Path) -> Result<Book, Fault> {
    let damaged = |cause: String| {
        Fault::new(
            FaultCode::InvalidArgument,
            format!("The host's ledger {} cannot be used.", path.display()),
            "Restore it from a backup, or move it away: the host then starts anew and must be added again. \
             VMs and pools stay as they are.",
        )
        .because(cause)
    };
    let bytes = file::read(path, BYTES_MAX).map_err(|err| damaged(err.to_string()))?;
    let Some(bytes) = bytes else { return Ok(Book::default()) };
    let page: Page = serde_json::from_slice(&bytes).map_err(|err| damaged(err.to_string()))?;
    if page.version != VERSION {
        return Err(damaged(format!("it has version {}, this release writes {VERSION}", page.version)));
    }
    Ok(page.book)
}

fn save(path: &Path, book: &Book) -> Result<(), Fault> {
    let page = Page { version: VERSION, book: book.clone() };
    let bytes = serde_json::to_vec_pretty(&page).map_err(Fault::internal)?;
    file::replace(path, &bytes).map_err(|err| {
        Fault::new(
            FaultCode::PoolIoFailed,
            "The host could not write down the change, so it was not made.",
            "Check free space and health of the disk that holds the host's state folder.",
        )
        .because(format!("{}: {err}", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn entry(generation: u64) -> PoolEntry {
        PoolEntry {
            generation,
            name: "main".into(),
            spec: PoolSpec::local("/data"),
            applied_at: UnixMs(1),
            was_healthy: false,
        }
    }

    #[tokio::test]
    async fn what_was_answered_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let id = PoolId(Uuid::from_u128(1));
        let ledger = Ledger::open(dir.path()).unwrap();
        ledger.update(move |book| Ok(book.pools.insert(id, entry(3)))).await.unwrap();
        let before = ledger.book();
        ledger.close().await;
        assert!(ledger.update(|_| Ok(())).await.is_err());
        let again = Ledger::open(dir.path()).unwrap();
        assert_eq!(again.book(), before);
        assert_eq!(again.book().pools[&id].generation, 3);
    }

    #[tokio::test]
    async fn a_refused_edit_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        let result: Result<(), Fault> = ledger
            .update(|book| {
                book.pools.insert(PoolId(Uuid::from_u128(1)), entry(1));
                Err(Fault::internal("no"))
            })
            .await;
        assert_eq!(result.unwrap_err().cause, "no");
        assert!(ledger.book().pools.is_empty());
        assert!(!dir.path().join("ledger.json").exists());
    }

    #[tokio::test]
    async fn two_daemons_never_share_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let _first = Ledger::open(dir.path()).unwrap();
        let fault = Ledger::open(dir.path()).err().expect("the folder is locked");
        assert_eq!(fault.code, FaultCode::Busy);
    }

    #[test]
    fn a_damaged_ledger_is_refused_and_kept() {
        for bad in ["", "{", "{\"version\":2}", "{\"version\":1,\"pools\":{\"x\":1}}", "[]"] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("ledger.json");
            std::fs::write(&path, bad).unwrap();
            let fault = Ledger::open(dir.path()).err().expect(bad);
            assert!(fault.message.contains("ledger"), "{fault}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), bad);
        }
    }

    #[test]
    fn leftovers_of_a_killed_write_are_harmless() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ledger.json.new"), "half of someth").unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(ledger.update(|book| Ok(book.pools.insert(PoolId(Uuid::nil()), entry(1))))).unwrap();
        assert!(load(&dir.path().join("ledger.json")).is_ok());
    }

    #[test]
    fn graves_are_bounded() {
        let mut graves = BTreeMap::new();
        for n in 0..TOMBSTONES_MAX as u128 + 10 {
            bury(&mut graves, VmId(Uuid::from_u128(n)), 1, UnixMs(n as i64));
        }
        assert_eq!(graves.len(), TOMBSTONES_MAX);
        assert!(!graves.contains_key(&VmId(Uuid::from_u128(0))));
    }
}
