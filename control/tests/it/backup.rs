//! Backup and restore of the vDC's own state, on both engines: all or nothing wherever it is cut, and each refusal.

use crate::postgres::Postgres;
use quantix_control::clock::Clock;
use quantix_control::{Config, Vdc, VdcOptions, backup};
use quantix_model::{Fault, FaultCode};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// A vDC that is not started.
fn config(dir: &Path, url: Option<&str>) -> Config {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let database_url = url.map(str::to_owned);
    Config {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        host_offer_urls: Vec::new(),
        database_url,
        ..Config::new(dir)
    }
}

async fn start(config: &Config) -> quantix_control::VdcHandle {
    Vdc::start(VdcOptions::new(config.clone())).await.unwrap()
}

/// Gives a vDC something to remember, and answers what tells it from others: that and its CA.
async fn mark(config: &Config, word: &str) -> (String, String) {
    let vdc = start(config).await;
    vdc.core().store.setting_put("word", word).await.unwrap();
    let ca = vdc.ca_pem();
    vdc.stop().await;
    (word.to_owned(), ca)
}

async fn seen(config: &Config) -> (String, String) {
    let vdc = start(config).await;
    let word = vdc.core().store.setting_get("word").await.unwrap().unwrap_or_default();
    let ca = vdc.ca_pem();
    vdc.stop().await;
    (word, ca)
}

async fn restore(config: &Config, file: &Path, replace: bool) -> Result<backup::Restored, Fault> {
    backup::restore(config, file, replace, Clock::system().now(), &mut |_| Ok(())).await
}

/// Cuts a restore before each of its steps in turn, as a `kill -9` would: the next start serves old or new, whole.
async fn cut_anywhere(old: &Config, new: &Config, dir: &Path) {
    // PostgreSQL decides in the transaction that loads, SQLite when the journal is written.
    let back = if old.database_url.is_some() { 3 } else { 2 };
    let (files, now) = ([dir.join("old.backup"), dir.join("new.backup")], Clock::system().now());
    let was = mark(old, "old").await;
    backup::make(old, None, &files[0], now).await.unwrap();
    let is = mark(new, "new").await;
    backup::make(new, None, &files[1], now).await.unwrap();
    let mut outcomes = Vec::new();
    for cut in 0.. {
        restore(old, &files[0], true).await.unwrap();
        let mut steps = Vec::new();
        let mut step = |name| {
            steps.push(name);
            if steps.len() > cut { Err(Fault::internal("cut here")) } else { Ok(()) }
        };
        let ended = backup::restore(old, &files[1], true, Clock::system().now(), &mut step).await;
        let found = seen(old).await;
        assert!(found == was || found == is, "cut at {steps:?}: {}", found.0);
        assert!(!old.data_dir.join("restore-stage").exists() && !old.data_dir.join("restore.json").exists());
        outcomes.push(found == is);
        if ended.is_ok() {
            assert_eq!(found, is);
            break;
        }
    }
    assert!(outcomes.len() > 5 && !outcomes[0], "{outcomes:?}");
    assert!(outcomes.is_sorted(), "once decided it goes forward: {outcomes:?}");
    assert_eq!(outcomes.iter().filter(|new| !**new).count(), back, "{outcomes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_is_all_or_nothing_on_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (config(&dir.path().join("a"), None), config(&dir.path().join("b"), None));
    cut_anywhere(&old, &new, dir.path()).await;
    let aside = std::fs::read_dir(dir.path().join("a")).unwrap().flatten();
    let aside: Vec<PathBuf> = aside.map(|e| e.path()).filter(|p| p.join("vdc.sqlite").exists()).collect();
    assert!(!aside.is_empty(), "what was replaced is kept");
    assert!(aside.iter().all(|folder| folder.join("pki/authorities.json").exists()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_is_all_or_nothing_on_postgresql() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (Postgres::start(), Postgres::start());
    let old = config(&dir.path().join("a"), Some(&one.url()));
    let new = config(&dir.path().join("b"), Some(&two.url()));
    let files = dir.path().join("files");
    std::fs::create_dir(&files).unwrap();
    let (was, now) = (mark(&old, "old").await, Clock::system().now());
    let first = files.join("first");
    backup::make(&old, None, &first, now).await.unwrap();
    cut_anywhere(&old, &new, dir.path()).await;
    // A database that is gone, and a password that stands in the address only.
    let three = Postgres::start();
    let empty = config(&dir.path().join("c"), Some(&three.url().replace("quantix@", "quantix:se:cret@")));
    let done = restore(&empty, &first, false).await.unwrap();
    assert_eq!((done.aside, done.aside_schema), (None, None));
    assert_eq!(seen(&empty).await, was);
    let refused = restore(&empty, &first, false).await.unwrap_err();
    assert_eq!(refused.code, FaultCode::Conflict, "{refused}");
    let done = restore(&empty, &first, true).await.unwrap();
    assert!(done.aside_schema.unwrap().starts_with("quantix_before_"));
    let left = std::fs::read_dir(&empty.data_dir).unwrap().flatten().map(|e| e.file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().contains("pgpass")));
    let other = config(&dir.path().join("d"), None);
    let refused = restore(&other, &first, false).await.unwrap_err();
    assert_eq!(refused.code, FaultCode::InvalidArgument, "{refused}");
    assert!(refused.remedy.contains("database_url"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_change_nothing_and_say_what_would_help() {
    let dir = tempfile::tempdir().unwrap();
    let (own, file) = (config(&dir.path().join("a"), None), dir.path().join("state.backup"));
    let now = Clock::system().now();
    let nothing = backup::make(&own, None, &file, now).await.unwrap_err();
    assert_eq!(nothing.code, FaultCode::NotFound, "{nothing}");
    let was = mark(&own, "mine").await;
    let vdc = start(&own).await;
    let settings = dir.path().join("vdc.toml");
    std::fs::write(&settings, "listen = \"127.0.0.1:1\"\n").unwrap();
    let manifest = backup::make(&own, Some(&settings), &file, now).await.unwrap();
    assert!(manifest.parts.iter().any(|part| part.name == "vdc.toml"));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let twice = backup::make(&own, None, &file, now).await.unwrap_err();
    assert_eq!(twice.code, FaultCode::FileExists, "{twice}");
    let running = restore(&own, &file, true).await.unwrap_err();
    assert!(running.code == FaultCode::Conflict && running.remedy.contains("Stop it"), "{running:?}");
    vdc.stop().await;
    let full = restore(&own, &file, false).await.unwrap_err();
    assert!(full.code == FaultCode::Conflict && full.remedy.contains("--replace"), "{full:?}");

    let whole = std::fs::read(&file).unwrap();
    let bad = dir.path().join("bad");
    let cases: [(&str, Vec<u8>); 5] = [
        ("cut short", whole[..whole.len() / 2].to_vec()),
        ("without its end", whole[..whole.len() - 3].to_vec()),
        ("a byte changed", {
            let mut bytes = whole.clone();
            bytes[whole.len() / 2] ^= 1;
            bytes
        }),
        ("empty", Vec::new()),
        ("something else", b"SQLite format 3\0".repeat(100)),
    ];
    for (what, bytes) in cases {
        std::fs::write(&bad, bytes).unwrap();
        let refused = restore(&own, &bad, true).await.unwrap_err();
        assert_eq!(refused.code, FaultCode::InvalidArgument, "{what}: {refused}");
        assert!(refused.remedy.contains("another backup"), "{what}: {refused:?}");
    }
    assert!(restore(&own, &dir.path().join("nowhere"), true).await.is_err());
    assert_eq!(seen(&own).await, was);
    let left: Vec<_> = std::fs::read_dir(&own.data_dir).unwrap().flatten().map(|e| e.file_name()).collect();
    assert!(
        left.iter().all(|name| ["lock", "pki", "seal.key", "vdc.sqlite"].iter().any(|n| name == n)),
        "{left:?}"
    );
}
