//! Somebody else holds the vDC's database, or all its server's connections: what was to be written stays unwritten until
//! they let go.

use quantix_lab::cluster::{Cluster, DEADLINE};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, SqliteConnection};
use std::time::Instant;

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

/// What PostgreSQL says when it has no connection left (its manual, appendix A: `too_many_connections`).
const TOO_MANY: &str = "53300";

/// Every connection that a PostgreSQL server allows.
pub struct Crowd(Vec<PgConnection>);

impl Crowd {
    /// Takes what is free, ends everybody else's, and takes those.
    pub async fn at(url: &str) -> Crowd {
        let options: PgConnectOptions = url.parse().expect("a URL of ours");
        let options = options.application_name("crowd");
        let (until, mut lines) = (Instant::now() + DEADLINE, Vec::new());
        loop {
            assert!(
                Instant::now() < until,
                "{} connections are ours, and others still get some",
                lines.len()
            );
            match options.connect().await {
                Ok(line) => lines.push(line),
                Err(sqlx::Error::Database(full)) if full.code().as_deref() == Some(TOO_MANY) => {
                    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                               WHERE backend_type = 'client backend' AND application_name <> 'crowd'";
                    let first = lines.first_mut().expect("one was free");
                    let others: i64 = sqlx::query_scalar(end).fetch_one(first).await.expect("we may");
                    if others == 0 {
                        return Crowd(lines);
                    }
                }
                Err(other) => panic!("{other}"),
            }
        }
    }

    /// Gives them all back.
    pub async fn leave(self) {
        for line in self.0 {
            line.close().await.expect("it was open");
        }
    }
}
