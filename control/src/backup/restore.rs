//! Bringing a backup back, all or nothing.
//!
//! Everything is unpacked and checked in `restore-stage`. `restore.json` then says that the restore is decided: for
//! SQLite from that moment on, for PostgreSQL once the database itself names this restore, in the transaction that
//! brought its rows. Whatever is cut short after that is ended by the next start, by the same steps.

use super::archive::{self, Manifest, sync_folder};
use super::{DATABASE, PKI, file_fault, place};
use crate::config::Config;
use crate::{ids, serve};
use quantix_model::UnixMs;
use quantix_model::fault::{Fault, FaultCode};
use quantix_store::Store;
use quantix_store::backup::{Engine, check_file};
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Says that a restore is decided and not over.
pub(super) const JOURNAL: &str = "restore.json";
/// Where the new state waits.
const STAGE: &str = "restore-stage";
/// The dump of a PostgreSQL within the stage.
const DUMP: &str = "vdc.dump";
/// SQLite's own files beside the database.
const BESIDE: [&str; 2] = ["vdc.sqlite-wal", "vdc.sqlite-shm"];

/// Called before each step; tests end it there, as a `kill -9` would.
pub type Step<'a> = &'a mut (dyn FnMut(&'static str) -> Result<(), Fault> + Send);

/// A restore that took place.
#[derive(Clone, Debug)]
pub struct Restored {
    /// What the backup said of itself.
    pub manifest: Manifest,
    /// Folder of the state before; `None` when there was none.
    pub aside: Option<PathBuf>,
    /// PostgreSQL: schema of the tables before.
    pub aside_schema: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Journal {
    id: String,
    at: UnixMs,
    /// Folder within the data folder.
    aside: String,
}

/// Makes the state of the backup `file` that of this vDC. State that is there is moved aside when `replace` says so.
pub async fn restore(
    config: &Config,
    file: &Path,
    replace: bool,
    now: UnixMs,
    step: Step<'_>,
) -> Result<Restored, Fault> {
    let manifest = archive::manifest(file)?;
    serve::make_private_folder(&config.data_dir)?;
    let _lock = serve::lock_folder(&config.data_dir)?;
    settle(config).await?;
    let place = place(config);
    place.fits(&manifest.database).await?;
    let (rows, keys) = (!place.is_empty().await?, config.data_dir.join(PKI).exists());
    if (rows || keys) && !replace {
        return Err(Fault::new(
            FaultCode::Conflict,
            format!("There is the state of a vDC in {} already.", config.data_dir.display()),
            "Add --replace to move it aside (it is not deleted), or name another data folder and database.",
        ));
    }
    let stage = config.data_dir.join(STAGE);
    let id = ids::plain().simple().to_string();
    step("stage")?;
    let staged = fill(config, file, &manifest, &stage, &id, now).await;
    if let Err(fault) = staged {
        let _ = std::fs::remove_dir_all(&stage);
        return Err(fault);
    }
    let aside = format!("before-{}", name_of(now, &id));
    let journal = Journal { id, at: now, aside };
    step("decide")?;
    write_journal(config, &journal)?;
    let aside_schema = format!("quantix_{}", journal.aside.replace('-', "_"));
    if place.engine() == Engine::Postgresql {
        step("load")?;
        if let Err(fault) = place.load(&stage.join(DUMP), &aside_schema, &journal.id).await {
            forget(config)?;
            return Err(fault);
        }
    }
    step("finish")?;
    finish(config, &journal, step).await?;
    let aside = config.data_dir.join(&journal.aside);
    Ok(Restored {
        manifest,
        aside: aside.exists().then_some(aside),
        aside_schema: (rows && place.engine() == Engine::Postgresql).then_some(aside_schema),
    })
}

/// `20261121T154500Z-1a2b3c4d`: people read the first half, the second makes it unique.
fn name_of(now: UnixMs, id: &str) -> String {
    let time = jiff::Timestamp::from_millisecond(now.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{}-{}", time.strftime("%Y%m%dT%H%M%SZ"), &id[id.len().saturating_sub(8)..])
}

/// Unpacks and checks; an embedded database is brought to this release and to the present here already.
async fn fill(
    config: &Config,
    file: &Path,
    manifest: &Manifest,
    stage: &Path,
    id: &str,
    now: UnixMs,
) -> Result<(), Fault> {
    let pki = stage.join(PKI);
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&pki);
    made.map_err(|err| file_fault(&pki, &err))?;
    if manifest.database.engine == Engine::Postgresql {
        return archive::unpack(file, manifest, stage, DUMP);
    }
    archive::unpack(file, manifest, stage, DATABASE)?;
    let database = stage.join(DATABASE);
    check_file(&database, &manifest.database).await?;
    let store = Store::open_file(&database).await?;
    let settled = store.settle_restored(id, now).await;
    store.close().await;
    settled?;
    let synced = std::fs::File::open(&database).and_then(|file| file.sync_all());
    synced.map_err(|err| file_fault(&database, &err))?;
    sync_folder(stage)?;
    sync_folder(&config.data_dir)
}

/// Ends what an earlier restore left undone: forward when it was decided, else back. The folder must be locked.
pub async fn settle(config: &Config) -> Result<(), Fault> {
    let path = config.data_dir.join(JOURNAL);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return clear_stage(config),
        Err(err) => return Err(file_fault(&path, &err)),
    };
    let journal: Journal = serde_json::from_slice(&text).map_err(|err| file_fault(&path, &err.into()))?;
    let place = place(config);
    if place.engine() == Engine::Postgresql && !place.has_restore(&journal.id).await? {
        tracing::warn!("a restore was cut short before it took place; the state before stays");
        return forget(config);
    }
    tracing::warn!("a restore was cut short; it is ended now");
    finish(config, &journal, &mut |_| Ok(())).await
}

/// From decided to done; each step may have been done already.
async fn finish(config: &Config, journal: &Journal, step: Step<'_>) -> Result<(), Fault> {
    let stage = config.data_dir.join(STAGE);
    if config.database_url.is_some() {
        let store = serve::open_store(config).await?;
        let settled = store.settle_restored(&journal.id, journal.at).await;
        store.close().await;
        settled?;
    } else if stage.join(DATABASE).exists() {
        for name in BESIDE {
            step("old database's log")?;
            put_aside(config, journal, name)?;
        }
        step("old database")?;
        put_aside(config, journal, DATABASE)?;
        step("new database")?;
        put_in(config, DATABASE)?;
    }
    if stage.join(PKI).exists() {
        step("old keys")?;
        put_aside(config, journal, PKI)?;
        step("new keys")?;
        put_in(config, PKI)?;
    }
    if stage.join(crate::seal::FILE).exists() {
        step("old seal")?;
        put_aside(config, journal, crate::seal::FILE)?;
        step("new seal")?;
        put_in(config, crate::seal::FILE)?;
    }
    // The log of the state before went further or elsewhere.
    step("old head of the audit log")?;
    put_aside(config, journal, crate::services::audit::HEAD)?;
    step("end")?;
    forget(config)
}

fn put_aside(config: &Config, journal: &Journal, name: &str) -> Result<(), Fault> {
    let from = config.data_dir.join(name);
    if !from.exists() {
        return Ok(());
    }
    let aside = config.data_dir.join(&journal.aside);
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&aside);
    made.and_then(|()| std::fs::rename(&from, aside.join(name))).map_err(|err| file_fault(&from, &err))?;
    sync_folder(&aside)?;
    sync_folder(&config.data_dir)
}

fn put_in(config: &Config, name: &str) -> Result<(), Fault> {
    let from = config.data_dir.join(STAGE).join(name);
    std::fs::rename(&from, config.data_dir.join(name)).map_err(|err| file_fault(&from, &err))?;
    sync_folder(&config.data_dir)
}

fn write_journal(config: &Config, journal: &Journal) -> Result<(), Fault> {
    let path = config.data_dir.join(JOURNAL);
    let new = config.data_dir.join(STAGE).join(JOURNAL);
    let text = serde_json::to_vec(journal).map_err(Fault::internal)?;
    let opened = std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&new);
    let written = opened.and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()));
    written.and_then(|()| std::fs::rename(&new, &path)).map_err(|err| file_fault(&path, &err))?;
    sync_folder(&config.data_dir)
}

/// The journal first: a stage without one is only rubbish.
fn forget(config: &Config) -> Result<(), Fault> {
    let path = config.data_dir.join(JOURNAL);
    match std::fs::remove_file(&path) {
        Err(err) if err.kind() != std::io::ErrorKind::NotFound => return Err(file_fault(&path, &err)),
        _ => {}
    }
    sync_folder(&config.data_dir)?;
    clear_stage(config)
}

fn clear_stage(config: &Config) -> Result<(), Fault> {
    let stage = config.data_dir.join(STAGE);
    match std::fs::remove_dir_all(&stage) {
        Err(err) if err.kind() != std::io::ErrorKind::NotFound => Err(file_fault(&stage, &err)),
        _ => Ok(()),
    }
}
