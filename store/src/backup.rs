//! A copy of the whole store while it is served, and the way back.
//!
//! A copy is one consistent moment: SQLite writes it with `VACUUM INTO`, PostgreSQL with its own `pg_dump`. A store
//! that is brought back has gone back in time, while the hosts have not; [`Store::settle_restored`] says what follows.

use crate::connection::Store;
use crate::error::StoreError;
use crate::migration::Migrator;
use crate::postgres::Server;
use crate::row;
use crate::{ImageRecord, PoolRecord, TaskRecord, UploadRecord, UploadState, VmRecord, VolumeRecord};
use quantix_model::UnixMs;
use quantix_model::fault::{Fault, FaultCode};
use quantix_model::image::ImagePhase;
use quantix_model::task::TaskState;
use quantix_model::vm::VmPhase;
use quantix_model::volume::VolumePhase;
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    Condition, ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbBackend,
    EntityTrait, Statement,
};
use sea_orm_migration::MigratorTrait;
use serde::{Deserialize, Serialize};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Every table of ours; a law test compares it with a new store.
pub(crate) const TABLES: [&str; 25] = [
    "alerts",
    "api_tokens",
    "audit",
    "events",
    "factors",
    "grants",
    "hosts",
    "identity_sources",
    "images",
    "join_tokens",
    "join_uses",
    "pool_assignments",
    "pool_releases",
    "pool_statuses",
    "pools",
    "recovery_codes",
    "roles",
    "seaql_migrations",
    "sessions",
    "settings",
    "tasks",
    "uploads",
    "users",
    "vms",
    "volumes",
];

/// Setting that names the restore this store came out of.
const RESTORED: &str = "restore_id";
/// Setting that names the restore whose consequences are drawn already.
const SETTLED: &str = "restore_settled";

/// What keeps the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// Embedded, one file.
    Sqlite,
    /// A server.
    Postgresql,
}

impl std::fmt::Display for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Engine::Sqlite => "SQLite",
            Engine::Postgresql => "PostgreSQL",
        })
    }
}

/// Where a store lives; it may be served meanwhile.
#[derive(Clone)]
pub enum Place {
    /// This SQLite file.
    File(PathBuf),
    /// The database at this URL, which may carry a password.
    Postgres(String),
}

/// What a copy is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// What wrote it.
    pub engine: Engine,
    /// Steps that its tables have behind them, oldest first.
    pub schema: Vec<String>,
    /// PostgreSQL: schema its tables were in; empty otherwise.
    pub namespace: String,
}

/// Steps this release knows, oldest first.
pub fn schema_known() -> Vec<String> {
    Migrator::migrations().iter().map(|step| step.name().to_owned()).collect()
}

impl Place {
    /// Which engine.
    pub fn engine(&self) -> Engine {
        match self {
            Place::File(_) => Engine::Sqlite,
            Place::Postgres(_) => Engine::Postgresql,
        }
    }

    /// Whether there are tables of ours.
    pub async fn is_empty(&self) -> Result<bool, Fault> {
        match self {
            Place::File(path) => Ok(!path.exists()),
            Place::Postgres(url) => Ok(tables(&connect(url).await?).await?.is_empty()),
        }
    }

    /// Writes everything to the new file `into`, readable by its owner only. Nothing is changed or held up.
    pub async fn copy(&self, into: &Path) -> Result<Copied, Fault> {
        let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(into);
        made.map_err(|err| file_fault(into, &err))?;
        match self {
            Place::File(path) => copy_file(path, into).await,
            Place::Postgres(url) => {
                let db = connect(url).await?;
                let (namespace, there) = (namespace(&db).await?, tables(&db).await?);
                if there.is_empty() {
                    return Err(nothing_here());
                }
                let schema = schema(&db).await?;
                Server::of(url)?.dump(&namespace, &there, into).await?;
                if schema != crate::backup::schema(&db).await? {
                    let message = "The database was brought to another release while it was copied.";
                    return Err(Fault::new(FaultCode::Busy, message, "Make the backup again."));
                }
                let _ = db.close().await;
                Ok(Copied { engine: Engine::Postgresql, schema, namespace })
            }
        }
    }

    /// Refuses a copy that cannot come back here.
    pub async fn fits(&self, copied: &Copied) -> Result<(), Fault> {
        if copied.engine != self.engine() {
            let (is, here) = (copied.engine, self.engine());
            return Err(Fault::new(
                FaultCode::InvalidArgument,
                format!("The backup is of a vDC on {is}; this one is on {here}."),
                format!(
                    "Restore with settings whose `database_url` {} PostgreSQL.",
                    match is {
                        Engine::Sqlite => "is left out: no",
                        Engine::Postgresql => "names the",
                    }
                ),
            ));
        }
        let known = schema_known();
        if let Some(newer) = copied.schema.iter().find(|step| !known.contains(step)) {
            return Err(Fault::new(
                FaultCode::VersionUnsupported,
                "The backup was made by a newer release than this one.",
                "Restore with the release that made it, or a later one.",
            )
            .because(format!("its tables have the step {newer}, which this release does not know")));
        }
        if let Place::Postgres(url) = self {
            let here = namespace(&connect(url).await?).await?;
            if here != copied.namespace {
                return Err(Fault::new(
                    FaultCode::InvalidArgument,
                    format!(
                        "The backup's tables are in schema {:?}, here they would be in {here:?}.",
                        copied.namespace
                    ),
                    "Set the role's `search_path` so that the same schema comes first.",
                ));
            }
        }
        Ok(())
    }

    /// PostgreSQL: brings a copy back in one transaction that also notes `restore`. Tables that are there are moved to
    /// the schema `aside`.
    pub async fn load(&self, copy: &Path, aside: &str, restore: &str) -> Result<(), Fault> {
        let Place::Postgres(url) = self else { return Ok(()) };
        let db = connect(url).await?;
        let (namespace, there) = (namespace(&db).await?, tables(&db).await?);
        let _ = db.close().await;
        let mut before = String::from("SET lock_timeout = '10s';\n");
        if !there.is_empty() {
            before.push_str(&format!("CREATE SCHEMA {};\n", quoted(aside)));
        }
        for table in &there {
            let (from, to) = (quoted(&namespace), quoted(aside));
            before.push_str(&format!("ALTER TABLE {from}.{} SET SCHEMA {to};\n", quoted(table)));
        }
        let after = format!(
            "INSERT INTO {}.settings (id, value) VALUES ('{RESTORED}', '{restore}') \
             ON CONFLICT (id) DO UPDATE SET value = excluded.value;\n",
            quoted(&namespace)
        );
        Server::of(url)?.load(copy, &before, &after).await
    }

    /// PostgreSQL: whether this restore took place.
    pub async fn has_restore(&self, restore: &str) -> Result<bool, Fault> {
        let Place::Postgres(url) = self else { return Ok(false) };
        let db = connect(url).await?;
        if !tables(&db).await?.iter().any(|table| table == "settings") {
            return Ok(false);
        }
        let statement = format!("SELECT value FROM settings WHERE id = '{RESTORED}'");
        let row = db.query_one_raw(Statement::from_string(DbBackend::Postgres, statement)).await;
        let value: Option<String> = match row.map_err(StoreError::from)? {
            Some(row) => Some(row.try_get_by_index(0).map_err(StoreError::from)?),
            None => None,
        };
        Ok(value.as_deref() == Some(restore))
    }
}

/// Copies a SQLite file that may be served by another process.
async fn copy_file(path: &Path, into: &Path) -> Result<Copied, Fault> {
    if !path.exists() {
        return Err(nothing_here());
    }
    let db = Database::connect(crate::connection::sqlite_as_it_is(path)).await.map_err(StoreError::from)?;
    let target = into.to_str().ok_or_else(|| {
        Fault::invalid("file", "The path of the backup is no text.", "Use letters that UTF-8 can write.")
    })?;
    let vacuum = Statement::from_sql_and_values(DbBackend::Sqlite, "VACUUM INTO ?", [target.into()]);
    let done = db.execute_raw(vacuum).await.map_err(StoreError::from);
    let _ = db.close().await;
    done?;
    // The copy's own word: the original may have moved on.
    let copy = Database::connect(crate::connection::sqlite_as_it_is(into)).await.map_err(StoreError::from)?;
    let schema = schema(&copy).await;
    let _ = copy.close().await;
    Ok(Copied { engine: Engine::Sqlite, schema: schema?, namespace: String::new() })
}

/// Looks through a SQLite file page by page, and for the steps it should have behind it: SQLite takes a very short file
/// for an empty database. The engine's words when it is damaged.
pub async fn check_file(path: &Path, copied: &Copied) -> Result<(), Fault> {
    let db = Database::connect(crate::connection::sqlite_as_it_is(path)).await.map_err(StoreError::from)?;
    let check = Statement::from_string(DbBackend::Sqlite, "PRAGMA quick_check(1)");
    let said = async {
        let row = db.query_one_raw(check).await?;
        row.map(|row| row.try_get_by_index::<String>(0)).transpose()
    };
    let said = said.await.map_err(|err| err.to_string());
    let steps = schema(&db).await;
    let _ = db.close().await;
    match said {
        Ok(Some(word)) if word == "ok" && steps.as_ref().is_ok_and(|steps| *steps == copied.schema) => Ok(()),
        Ok(Some(word)) if word == "ok" => Err(damaged(match steps {
            Ok(steps) => format!("its tables have the steps {steps:?}, not those of the manifest"),
            Err(err) => err.to_string(),
        })),
        Ok(other) => Err(damaged(other.unwrap_or_default())),
        Err(words) => Err(damaged(words)),
    }
}

fn damaged(words: String) -> Fault {
    Fault::new(
        FaultCode::InvalidArgument,
        "The database in the backup is damaged.",
        "Take another backup file; this one cannot be used.",
    )
    .because(words)
}

fn nothing_here() -> Fault {
    Fault::new(
        FaultCode::NotFound,
        "There is no state of a vDC yet.",
        "Name the settings the vDC is started with, so that its data folder or database is found.",
    )
}

fn file_fault(path: &Path, err: &std::io::Error) -> Fault {
    Fault::new(
        FaultCode::StoreUnavailable,
        format!("{} cannot be written.", path.display()),
        "Check that its folder exists, has free space and may be written to.",
    )
    .because(err)
}

async fn connect(url: &str) -> Result<DatabaseConnection, Fault> {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).acquire_timeout(crate::connection::ACQUIRE_TIMEOUT).sqlx_logging(false);
    Ok(Database::connect(options).await.map_err(StoreError::from)?)
}

async fn texts(db: &DatabaseConnection, sql: &str) -> Result<Vec<String>, StoreError> {
    let rows = db.query_all_raw(Statement::from_string(db.get_database_backend(), sql)).await?;
    let texts = rows.iter().map(|row| row.try_get_by_index::<String>(0));
    Ok(texts.collect::<Result<_, _>>()?)
}

async fn schema(db: &DatabaseConnection) -> Result<Vec<String>, StoreError> {
    texts(db, "SELECT version FROM seaql_migrations ORDER BY version").await
}

/// PostgreSQL: where unqualified tables are.
async fn namespace(db: &DatabaseConnection) -> Result<String, StoreError> {
    Ok(texts(db, "SELECT current_schema()::text").await?.pop().unwrap_or_default())
}

/// PostgreSQL: those of our tables that are there.
async fn tables(db: &DatabaseConnection) -> Result<Vec<String>, StoreError> {
    let ours = TABLES.map(|table| format!("'{table}'")).join(", ");
    let sql = format!(
        "SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema() AND tablename IN ({ours}) \
         ORDER BY 1"
    );
    texts(db, &sql).await
}

/// As an identifier in SQL.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Store {
    /// Draws the consequences of having gone back in time, once per `restore`:
    ///
    /// - generations of pools and VMs jump to `at` in milliseconds, past any a host has seen, so that hosts listen again;
    /// - work that was under way has ended one way or the other, and is neither repeated nor undone: its task fails,
    ///   its VM counts as lost until its host shows it, its volumes are what the pool says, its uploads are over;
    /// - nobody is signed in.
    pub async fn settle_restored(&self, restore: &str, at: UnixMs) -> Result<(), StoreError> {
        if self.setting_get(SETTLED).await?.as_deref() == Some(restore) {
            return Ok(());
        }
        let tx = self.begin().await?;
        settle_work(&tx, at).await?;
        settle_things(&tx, at).await?;
        crate::session::table::Entity::delete_many().exec(&tx).await?;
        crate::join_token::revoke_all(&tx, at).await?;
        crate::setting::put(&tx, RESTORED, restore).await?;
        crate::setting::put(&tx, SETTLED, restore).await?;
        Ok(tx.commit().await?)
    }
}

fn over(what: &str) -> Fault {
    Fault::new(
        FaultCode::Conflict,
        format!("The vDC was restored from a backup that was made while {what}."),
        "Look how it ended on the host, then ask for it again if it is still wanted.",
    )
}

async fn settle_work(tx: &DatabaseTransaction, at: UnixMs) -> Result<(), StoreError> {
    let unfinished = Condition::all().add(Expr::col("is_final").eq(false));
    for mut task in row::all::<TaskRecord>(tx, unfinished).await? {
        task.state = TaskState::Failed;
        task.ended_at = Some(at);
        task.fault = Some(over("this was under way"));
        row::put(tx, &task).await?;
    }
    for mut upload in row::all::<UploadRecord>(tx, Condition::all()).await? {
        if matches!(upload.state, UploadState::Receiving | UploadState::Finishing) {
            upload.state = UploadState::Failed;
            upload.fault = Some(over("it was being uploaded"));
            row::put(tx, &upload).await?;
        }
    }
    Ok(())
}

async fn settle_things(tx: &DatabaseTransaction, at: UnixMs) -> Result<(), StoreError> {
    let past = |generation: u64| Ord::max(u64::try_from(at.0).unwrap_or(0), generation.saturating_add(1));
    for mut pool in row::all::<PoolRecord>(tx, Condition::all()).await? {
        pool.generation = past(pool.generation);
        row::put(tx, &pool).await?;
    }
    for mut vm in row::all::<VmRecord>(tx, Condition::all()).await? {
        vm.generation = past(vm.generation);
        if matches!(vm.phase, VmPhase::Creating | VmPhase::Deleting) {
            vm.phase = VmPhase::Lost;
            vm.fault = Some(over("it was being made or deleted"));
        }
        row::put(tx, &vm).await?;
    }
    for mut volume in row::all::<VolumeRecord>(tx, Condition::all()).await? {
        // A pool never shows half a volume: it is there whole, or it is missing and listed as such.
        if matches!(volume.phase, VolumePhase::Creating | VolumePhase::Deleting) {
            volume.phase = VolumePhase::Ready;
            row::put(tx, &volume).await?;
        }
    }
    for mut image in row::all::<ImageRecord>(tx, Condition::all()).await? {
        let what = match image.phase {
            ImagePhase::Uploading | ImagePhase::Verifying => "it was being uploaded",
            ImagePhase::Deleting => "it was being deleted",
            ImagePhase::Ready | ImagePhase::Error => continue,
        };
        image.phase = ImagePhase::Error;
        image.fault = Some(over(what));
        row::put(tx, &image).await?;
    }
    Ok(())
}
