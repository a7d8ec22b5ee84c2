//! The audit log: who, from where, what, on what, and what came of it.
//!
//! ```text
//!   call ─▶ served ─▶ row waits ─▶ number, MAC over the row before ─▶ store ─▶ audit.head ─▶ answer goes out
//!                         └──────────── store takes nothing: kept in memory, tried with the next ───┘
//! ```
//! The MAC's key stands outside the database, so that nobody who can write there can make a row that fits. `audit.head`
//! outside of it says how far the log went, so that rows cut off at its end are missed. What is too old goes at the
//! beginning, and where the log was cut is kept.

use crate::clock::Clock;
use crate::seal::Seal;
use quantix_model::UnixMs;
use quantix_model::fault::{Fault, FaultCode};
use quantix_store::{AuditMark, AuditRecord, Store, StoreError};
use serde::Serialize;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// File within the data folder that says how far the log went.
pub const HEAD: &str = "audit.head";
/// Rows that may wait for a store which takes nothing.
const WAITING_MAX: usize = 10_000;
/// Rows written with one statement.
const AT_ONCE: usize = 500;
/// Rows read at once.
const READ_MAX: u64 = 1000;
/// Letters of a name or sentence that are kept.
const TEXT_MAX: usize = 300;
/// Rows are kept so long, unless the settings say otherwise.
pub const KEEP_DAYS: u32 = 400;

/// What is known of a call while it is served; its row is made of it.
#[derive(Debug, Default)]
pub struct Note(Mutex<AuditRecord>);

tokio::task_local! {
    /// The call that is being served.
    static CALL: Arc<Note>;
}

/// Serves a call whose row is made of `note`.
pub async fn noting<T>(note: Arc<Note>, call: impl Future<Output = T>) -> T {
    CALL.scope(note, call).await
}

fn with(change: impl FnOnce(&mut AuditRecord)) {
    // Work that no call waits for has no row of its own.
    let _ = CALL.try_with(|note| change(&mut note.open()));
}

/// On what the call works.
pub fn about(kind: &str, id: impl ToString, name: &str) {
    with(|row| {
        (row.object_kind, row.object_id, row.object_name) =
            (kind.to_owned(), id.to_string(), printable(name));
    });
}

/// Who calls.
pub fn actor(kind: &str, id: impl ToString, name: &str) {
    with(|row| {
        (row.actor_kind, row.actor_id, row.actor_name) = (kind.to_owned(), id.to_string(), printable(name));
    });
}

/// The call was refused or failed.
pub fn failed(fault: &Fault) {
    with(|row| (row.result, row.detail) = (fault.code.as_str().to_owned(), printable(&fault.message)));
}

/// Names come from outside: no control characters, and not for ever.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(TEXT_MAX).collect()
}

impl Note {
    /// Of a call that has just come in.
    pub fn of(action: &str, address: &str) -> Note {
        let (action, address) = (action.to_owned(), address.to_owned());
        Note(Mutex::new(AuditRecord {
            action,
            address,
            actor_kind: "nobody".into(),
            ..AuditRecord::default()
        }))
    }

    fn open(&self) -> MutexGuard<'_, AuditRecord> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The row as it stands.
    pub fn row(&self) -> AuditRecord {
        self.open().clone()
    }
}

/// The log.
#[derive(Debug)]
pub struct Log {
    store: Store,
    clock: Clock,
    head: PathBuf,
    waiting: Mutex<Vec<AuditRecord>>,
    /// The last row; held while rows are written.
    last: tokio::sync::Mutex<Option<AuditMark>>,
}

/// What checking the log found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Rows that were looked at.
    pub rows: u64,
    /// The first of them; 0 when there is none.
    pub first: u64,
    /// The last of them; 0 when there is none.
    pub last: u64,
    /// What does not fit, and at which row. Only the first: what follows hangs on it.
    pub broken: Option<(u64, String)>,
}

impl Log {
    /// The log of this store.
    pub fn new(store: Store, clock: Clock, data_dir: &Path) -> Log {
        let (waiting, last) = (Mutex::default(), tokio::sync::Mutex::default());
        Log { store, clock, head: data_dir.join(HEAD), waiting, last }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<AuditRecord>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses while so many rows wait that more could be lost: then nothing that is written down may be done.
    pub fn check_room(&self) -> Result<(), Fault> {
        if self.waiting().len() < WAITING_MAX {
            return Ok(());
        }
        let text = "The audit log cannot be written, and no more of it can be kept in memory.";
        Err(Fault::new(
            FaultCode::StoreUnavailable,
            text,
            "Look at the vDC's database: /readyz says what is wrong.",
        ))
    }

    /// Writes a row down, with all that wait. What cannot be written now waits.
    pub async fn write(&self, seal: &Seal, mut row: AuditRecord) -> Result<(), Fault> {
        row.at = self.clock.now();
        self.waiting().push(row);
        let mut last = self.last.lock().await;
        loop {
            let mut rows: Vec<AuditRecord> = {
                let mut waiting = self.waiting();
                let count = waiting.len().min(AT_ONCE);
                waiting.drain(..count).collect()
            };
            if rows.is_empty() {
                return Ok(());
            }
            let mut done = self.append(seal, &mut last, &mut rows).await;
            if done.is_err() {
                // A command of the machine's root may have moved the end: looked at anew, once.
                done = self.append(seal, &mut last, &mut rows).await;
            }
            if let Err(fault) = done {
                let mut waiting = self.waiting();
                rows.append(&mut waiting);
                *waiting = rows;
                return Err(fault);
            }
        }
    }

    async fn append(
        &self,
        seal: &Seal,
        last: &mut Option<AuditMark>,
        rows: &mut [AuditRecord],
    ) -> Result<(), Fault> {
        let mut end = match last.take() {
            Some(end) => end,
            None => self.end().await?,
        };
        for row in rows.iter_mut() {
            row.number = end.number + 1;
            row.key_id = seal.key_id().to_owned();
            row.mac = seal.mac(&row.key_id, &body(&end.mac, row))?;
            end = AuditMark { number: row.number, mac: row.mac.clone() };
        }
        self.store.audit_append(rows).await?;
        if let Err(err) = write_head(&self.head, &end) {
            tracing::warn!(%err, file = %self.head.display(), "how far the audit log goes could not be noted");
        }
        *last = Some(end);
        Ok(())
    }

    /// Where the next row follows.
    async fn end(&self) -> Result<AuditMark, StoreError> {
        if let Some(row) = self.store.audit_last().await? {
            return Ok(AuditMark { number: row.number, mac: row.mac });
        }
        Ok(self.store.audit_cut().await?.unwrap_or_default())
    }

    /// Follows the whole chain.
    pub async fn verify(&self, seal: &Seal) -> Result<Verdict, Fault> {
        // Nothing is added meanwhile: a half-seen end would look cut off.
        let _still = self.last.lock().await;
        let mut before = self.store.audit_cut().await?.unwrap_or_default();
        let mut verdict = Verdict { first: before.number + 1, last: before.number, ..Verdict::default() };
        let head = read_head(&self.head);
        loop {
            let rows = self.store.audit_some(before.number, READ_MAX).await?;
            if rows.is_empty() {
                break;
            }
            for row in rows {
                if let Some(why) = broken(seal, &before, &row, head.as_ref()) {
                    return Ok(Verdict { broken: Some((before.number + 1, why)), ..verdict });
                }
                before = AuditMark { number: row.number, mac: row.mac };
                (verdict.rows, verdict.last) = (verdict.rows + 1, row.number);
            }
        }
        if let Some(head) = head.filter(|head| head.number > before.number) {
            let why = format!("rows up to {} were written once and are not there", head.number);
            verdict.broken = Some((before.number + 1, why));
        }
        if verdict.rows == 0 {
            verdict.first = 0;
        }
        Ok(verdict)
    }

    /// Forgets rows older than so many days, whole pages at a time; how many went. The last row always stays.
    pub async fn prune(&self, keep_days: u32) -> Result<u64, Fault> {
        let age = Duration::from_secs(u64::from(keep_days) * 24 * 3600);
        let now = self.clock.now();
        let is_old = |row: &AuditRecord| row.at.age(now) > age;
        let mut gone = 0;
        loop {
            let after = self.store.audit_cut().await?.unwrap_or_default().number;
            let rows = self.store.audit_some(after, READ_MAX).await?;
            let Some(last) = rows.iter().rev().skip(1).find(|row| is_old(row)) else { return Ok(gone) };
            let mark = AuditMark { number: last.number, mac: last.mac.clone() };
            gone += self.store.audit_prune(&mark).await?;
        }
    }
}

/// Why a row does not follow the one before.
fn broken(seal: &Seal, before: &AuditMark, row: &AuditRecord, head: Option<&AuditMark>) -> Option<String> {
    if row.number != before.number + 1 {
        return Some(format!("row {} follows row {}: some are missing", row.number, before.number));
    }
    match seal.mac(&row.key_id, &body(&before.mac, row)) {
        Err(fault) => return Some(fault.to_string()),
        Ok(mac) if mac != row.mac => {
            return Some(format!("row {} was changed, or does not belong here", row.number));
        }
        Ok(_) => {}
    }
    let other = head.is_some_and(|head| head.number == row.number && head.mac != row.mac);
    other.then(|| format!("row {} is not the one that was written", row.number))
}

/// What a MAC covers: every field, in an order of its own, so that no two rows read alike.
fn body(before: &str, row: &AuditRecord) -> Vec<u8> {
    #[derive(Serialize)]
    struct Body<'a>(&'a str, u64, UnixMs, [&'a str; 10]);
    let fields = [
        &row.actor_kind,
        &row.actor_id,
        &row.actor_name,
        &row.address,
        &row.action,
        &row.object_kind,
        &row.object_id,
        &row.object_name,
        &row.result,
        &row.detail,
    ];
    serde_json::to_vec(&Body(before, row.number, row.at, fields.map(String::as_str))).unwrap_or_default()
}

fn read_head(path: &Path) -> Option<AuditMark> {
    std::fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok())
}

/// Whole or not at all. Not synced: after a loss of power it may lag behind, and a head that lags misses nothing.
fn write_head(path: &Path, end: &AuditMark) -> std::io::Result<()> {
    let part = path.with_extension("part");
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.write_all(&serde_json::to_vec(end)?)?;
    std::fs::rename(&part, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn log(dir: &tempfile::TempDir, clock: &Clock) -> (Log, Seal) {
        let store = Store::open_file(&dir.path().join("vdc.sqlite")).await.unwrap();
        let seal = Seal::open(&dir.path().join(crate::seal::FILE), true).unwrap();
        (Log::new(store, clock.clone(), dir.path()), seal)
    }

    fn row(action: &str) -> AuditRecord {
        AuditRecord { action: action.into(), result: "OK".into(), ..AuditRecord::default() }
    }

    #[tokio::test]
    async fn rows_follow_each_other_over_restarts_and_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::system();
        let (first, seal) = log(&dir, &clock).await;
        assert_eq!(first.verify(&seal).await.unwrap(), Verdict::default());
        let all = (0..50).map(|n| first.write(&seal, row(&format!("{n}"))));
        for done in futures::future::join_all(all).await {
            done.unwrap();
        }
        let (second, seal) = log(&dir, &clock).await;
        second.write(&seal, row("later")).await.unwrap();
        let verdict = second.verify(&seal).await.unwrap();
        assert_eq!(verdict, Verdict { rows: 51, first: 1, last: 51, broken: None });
    }

    #[tokio::test]
    async fn a_row_from_elsewhere_and_a_cut_end_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::system();
        let (log, seal) = log(&dir, &clock).await;
        log.write(&seal, row("one")).await.unwrap();
        let one = log.store.audit_last().await.unwrap().unwrap();
        let forged = AuditRecord { number: 2, action: "forged".into(), ..one.clone() };
        log.store.audit_append(&[forged]).await.unwrap();
        let (at, why) = log.verify(&seal).await.unwrap().broken.unwrap();
        assert!(at == 2 && why.contains("changed"), "{at} {why}");

        let dir = tempfile::tempdir().unwrap();
        let (log, seal) = super::tests::log(&dir, &clock).await;
        log.write(&seal, row("one")).await.unwrap();
        write_head(&log.head, &AuditMark { number: 3, mac: "x".into() }).unwrap();
        let (at, why) = log.verify(&seal).await.unwrap().broken.unwrap();
        assert!(at == 2 && why.contains("are not there"), "{at} {why}");
        // Without the key nothing fits.
        let other = Seal::open(&dir.path().join("other.key"), true).unwrap();
        assert!(log.verify(&other).await.unwrap().broken.is_some());
    }

    #[tokio::test]
    async fn what_is_old_goes_and_the_rest_still_fits() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::system();
        let (log, seal) = log(&dir, &clock).await;
        for n in 0..3 {
            log.write(&seal, row(&format!("old {n}"))).await.unwrap();
        }
        clock.advance(Duration::from_secs(10 * 24 * 3600));
        log.write(&seal, row("new")).await.unwrap();
        assert_eq!(log.prune(11).await.unwrap(), 0);
        assert_eq!(log.prune(9).await.unwrap(), 3);
        let verdict = log.verify(&seal).await.unwrap();
        assert_eq!(verdict, Verdict { rows: 1, first: 4, last: 4, broken: None });
        clock.advance(Duration::from_secs(100 * 24 * 3600));
        assert_eq!(log.prune(9).await.unwrap(), 0, "the last row stays");
    }

    #[tokio::test]
    async fn a_call_tells_its_row_what_it_is_about() {
        let note = Arc::new(Note::default());
        noting(note.clone(), async {
            about("vm", 7, "web\n-1");
            actor("person", "u", "ada");
            failed(&Fault::not_found("vm", 7));
        })
        .await;
        let row = note.row();
        assert_eq!((row.object_name.as_str(), row.actor_name.as_str()), ("web-1", "ada"));
        assert_eq!((row.result.as_str(), row.detail.as_str()), ("NOT_FOUND", "There is no vm 7."));
        about("vm", 8, "outside of any call");
    }
}
