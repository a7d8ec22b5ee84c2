//! The store's suite: the same checks on every engine.
//!
//! SQLite runs on a file of its own, PostgreSQL on a server of its own.
#![allow(clippy::unwrap_used)]

mod identity;
mod lists;
mod make;
mod postgres;
mod rights;
mod suite;

use quantix_store::Store;

#[tokio::test]
async fn sqlite() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("store.sqlite");
    let store = Store::open_file(&file).await.unwrap();
    suite::run(&store).await;
    store.close().await;

    let again = Store::open_file(&file).await.unwrap();
    suite::survived(&again).await;
    again.close().await;
}

#[tokio::test]
async fn postgresql() {
    let server = postgres::Postgres::start();
    let store = Store::open_postgres(&server.url()).await.unwrap();
    suite::run(&store).await;
    store.close().await;

    let again = Store::open_postgres(&server.url()).await.unwrap();
    suite::survived(&again).await;
    again.close().await;
}
