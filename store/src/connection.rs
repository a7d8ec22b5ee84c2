//! Opening the store: which engine, with which guarantees, and how transactions begin on it.

use crate::error::StoreError;
use crate::list::List;
use crate::mark::Marks;
use crate::migration::Migrator;
use sea_orm::metric::Info;
use sea_orm::{
    ConnectOptions, Database, DatabaseConnection, DatabaseTransaction, DbBackend, SqliteTransactionMode,
    TransactionOptions, TransactionTrait,
};
use sea_orm_migration::MigratorTrait;
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use std::fs::{OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long a statement waits for another process's lock before it gives up.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a caller waits for its turn.
pub(crate) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// Readers beside the one writer.
const READERS_MAX: u32 = 4;

/// The store. Cheap to clone; all clones share its connections.
#[derive(Clone, Debug)]
pub struct Store {
    writer: DatabaseConnection,
    reader: DatabaseConnection,
    marks: Arc<Marks>,
    vm_list: Arc<List>,
    volume_list: Arc<List>,
}

/// A statement that ran, as an observer is told of it.
#[derive(Clone, Copy, Debug)]
pub struct Statement {
    /// Until the database answered.
    pub took: Duration,
    /// The database refused it, or did not answer.
    pub failed: bool,
    /// It changes rows: INSERT, UPDATE or DELETE.
    pub writes: bool,
}

impl Statement {
    fn of(info: &Info<'_>) -> Statement {
        let word = info.statement.sql.split_whitespace().next().unwrap_or_default();
        let writes = ["INSERT", "UPDATE", "DELETE"].iter().any(|verb| word.eq_ignore_ascii_case(verb));
        Statement { took: info.elapsed, failed: info.failed, writes }
    }
}

impl Store {
    /// Opens, and where needed makes or migrates, the SQLite file. Only this process may write to it.
    pub async fn open_file(path: &Path) -> Result<Store, StoreError> {
        make_private(path)?;
        let writer = Database::connect(sqlite(path, 1)).await?;
        let mut store = Store::over(writer);
        store.migrate().await?;
        store.reader = Database::connect(sqlite(path, READERS_MAX)).await?;
        Ok(store)
    }

    /// Opens, and where needed migrates, a PostgreSQL database, as `postgres://user@host/name`.
    pub async fn open_postgres(url: &str) -> Result<Store, StoreError> {
        let mut options = ConnectOptions::new(url);
        options.max_connections(16).acquire_timeout(ACQUIRE_TIMEOUT).sqlx_logging(false);
        let writer = Database::connect(options).await?;
        let store = Store::over(writer);
        store.migrate().await?;
        Ok(store)
    }

    fn over(writer: DatabaseConnection) -> Store {
        let (marks, vm_list, volume_list) = (Arc::default(), Arc::default(), Arc::default());
        Store { reader: writer.clone(), writer, marks, vm_list, volume_list }
    }

    async fn migrate(&self) -> Result<(), StoreError> {
        Ok(Migrator::up(&self.writer, None).await?)
    }

    /// Tells `observer` of each statement that ran.
    pub fn observe(&mut self, observer: impl Fn(Statement) + Send + Sync + Clone + 'static) {
        let beside = observer.clone();
        self.writer.set_metric_callback(move |info| observer(Statement::of(info)));
        self.reader.set_metric_callback(move |info| beside(Statement::of(info)));
    }

    /// Lets go of all connections, so that the file is whole by itself.
    pub async fn close(self) {
        if let Err(err) = self.reader.close().await {
            tracing::warn!(%err, "closing the store's readers");
        }
        if let Err(err) = self.writer.close().await {
            tracing::warn!(%err, "closing the store's writer");
        }
    }

    /// What lists of VMs are searched in.
    pub(crate) fn vm_list(&self) -> &List {
        &self.vm_list
    }

    /// What lists of volumes are searched in.
    pub(crate) fn volume_list(&self) -> &List {
        &self.volume_list
    }

    /// What writes touched.
    pub(crate) fn marks(&self) -> &Marks {
        &self.marks
    }

    /// For reading only.
    pub(crate) fn reader(&self) -> &DatabaseConnection {
        &self.reader
    }

    /// Begins a transaction that may write. Dropped without `commit`, it never was.
    pub(crate) async fn begin(&self) -> Result<DatabaseTransaction, StoreError> {
        let sqlite_transaction_mode = (self.writer.get_database_backend() == DbBackend::Sqlite)
            .then_some(SqliteTransactionMode::Immediate);
        Ok(self
            .writer
            .begin_with_options(TransactionOptions { sqlite_transaction_mode, ..Default::default() })
            .await?)
    }
}

/// Keys and passwords of pools stand in the file, so only its owner may read it. SQLite gives the files beside it
/// (`-wal`, `-shm`) the same mode.
fn make_private(path: &Path) -> Result<(), StoreError> {
    let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    let closed_off = opened.and_then(|file| file.set_permissions(Permissions::from_mode(0o600)));
    closed_off.map_err(|err| StoreError::Unavailable(format!("{}: {err}", path.display())))
}

fn sqlite(path: &Path, connections_max: u32) -> ConnectOptions {
    let file = path.to_owned();
    let mut options = ConnectOptions::new("sqlite:store.db");
    options
        .min_connections(connections_max.min(1))
        .max_connections(connections_max)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(None::<Duration>)
        .max_lifetime(None::<Duration>)
        .test_before_acquire(false)
        .sqlx_logging(false)
        .map_sqlx_sqlite_pool_opts(|pool| pool.after_release(|line, _| Box::pin(is_whole(line))))
        .map_sqlx_sqlite_opts(move |base: SqliteConnectOptions| {
            base.filename(&file)
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                .busy_timeout(BUSY_TIMEOUT)
                .foreign_keys(true)
        });
    options
}

/// Whether a connection may be used again: no transaction of it is thought to be open. On a full disk SQLite may end a
/// transaction by itself; ending it again then fails, and sqlx counts it as open for ever. What came after would be
/// a part of it, answered as written, and never be.
async fn is_whole(line: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    // Behind whatever was asked of it before, a rollback too.
    line.ping().await?;
    Ok(!line.is_in_transaction())
}

/// One connection that neither makes the file nor brings its tables to this release: another one may serve it.
pub(crate) fn sqlite_as_it_is(path: &Path) -> ConnectOptions {
    let file = path.to_owned();
    let mut options = ConnectOptions::new("sqlite:store.db");
    options.max_connections(1).acquire_timeout(ACQUIRE_TIMEOUT).sqlx_logging(false).map_sqlx_sqlite_opts(
        move |base: SqliteConnectOptions| base.filename(&file).busy_timeout(BUSY_TIMEOUT),
    );
    options
}

/// How text compares on this engine so that both sort alike: by bytes.
pub(crate) fn byte_order(backend: DbBackend) -> &'static str {
    match backend {
        DbBackend::Postgres => "COLLATE \"C\"",
        _ => "COLLATE BINARY",
    }
}
