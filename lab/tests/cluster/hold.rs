//! Somebody else holds the vDC's database: what was to be written stays unwritten until they let go.

use quantix_lab::cluster::Cluster;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

/// The database, held against writers. Readers go on: the journal is a write-ahead log.
pub struct Hold(SqliteConnection);

impl Hold {
    /// Waits for the lock and keeps it.
    pub async fn of(cluster: &Cluster) -> Hold {
        let path = cluster.vdc_dir().join("vdc.sqlite");
        assert!(path.is_file(), "{} is where the vDC keeps its state", path.display());
        let options = SqliteConnectOptions::new().filename(&path).create_if_missing(false);
        let mut line = options.connect().await.expect("the file is ours");
        sqlx::query("BEGIN EXCLUSIVE").execute(&mut line).await.expect("the lock is free in a moment");
        Hold(line)
    }

    /// Lets go; nothing was changed.
    pub async fn end(mut self) {
        sqlx::query("ROLLBACK").execute(&mut self.0).await.expect("it is held");
        self.0.close().await.expect("it was open");
    }
}
