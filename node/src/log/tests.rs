//! Bounds, hostile words, secrets, and what is asked for.

use super::*;
use proptest::prelude::*;
use quantix_model::Secret;
use tracing_subscriber::layer::SubscriberExt as _;

/// What is traced in `work` comes to a log of its own.
fn written(work: impl FnOnce()) -> Logs {
    let logs = Logs::new();
    let subscriber = tracing_subscriber::registry().with(LevelFilter::DEBUG).with(logs.layer());
    tracing::subscriber::with_default(subscriber, work);
    logs
}

fn all() -> Query {
    Query { limit: 500, ..Query::default() }
}

fn messages(look: &Look) -> Vec<&str> {
    look.records.iter().map(|record| record.message.as_str()).collect()
}

#[test]
fn a_record_is_one_line_with_its_fields() {
    let logs = written(|| {
        let fault = quantix_model::Fault::internal("x\ny");
        tracing::warn!(pool = 7, %fault, host = "h 1", "the pool is left as it is");
        tracing::info!(target: "quantix_node::beat", "it answers again");
        tracing::info!(target: "hyper", "others tell too much");
        tracing::error!(target: "hyper", "but what fails is kept");
        tracing::trace!("too small for the filter");
    });
    let look = logs.look(&all());
    assert_eq!((look.newest, look.gone, look.total, look.more), (3, 0, 3, false));
    let first = look.records.last().unwrap();
    assert_eq!((first.number, first.level, first.target), (1, LogLevel::Warn, "quantix_node::log::tests"));
    assert!(first.message.starts_with("the pool is left as it is pool=7 fault=INTERNAL"), "{first:?}");
    assert!(first.message.contains("x\\ny") && first.message.ends_with("host=\"h 1\""), "{first:?}");
    assert_eq!(messages(&look)[..2], ["but what fails is kept", "it answers again"]);
}

#[test]
fn hostile_words_are_spelt_out_and_long_ones_cut() {
    let logs = written(|| {
        tracing::info!(said = %"\u{1b}[2J\u{7}\r\0 \u{202e}gnp.exe", "a\tb\u{200b}");
        tracing::info!("{}", "ä".repeat(4000));
        tracing::info!(a = %"\u{1b}".repeat(9000), b = 1, "short");
    });
    let look = logs.look(&all());
    let [fields, long, hostile] = messages(&look)[..] else { panic!("three records") };
    assert_eq!(
        hostile, r"a\tb\u{200b} said=\u{1b}[2J\u{7}\u{d}\u{0} \u{202e}gnp.exe",
        "nothing of it reaches a terminal"
    );
    assert!(long.starts_with("ää") && long.ends_with("… (cut, 5952 more bytes)"), "{long}");
    assert!(fields.starts_with(r"short a=\u{1b}\u{1b}") && fields.contains("(cut, "), "{fields}");
    for message in messages(&look) {
        assert!(message.len() < RECORD_BYTES_MAX + 64 && !message.chars().any(char::is_control));
    }
}

#[test]
fn secrets_stay_out() {
    let logs = written(|| {
        let chap = Secret::new("hush-hush-hush");
        tracing::info!(?chap, password = "hush-hush-hush", api_token = "hush-hush-hush", "signing in");
        tracing::info!("signing in with {chap:?}");
    });
    let look = logs.look(&all());
    let text = messages(&look).join("\n");
    assert!(!text.contains("hush") && text.contains("password=••• api_token=•••"), "{text}");
}

#[test]
fn the_oldest_go_first_and_are_counted() {
    let logs = Logs::new();
    for n in 0..RECORDS_MAX + 10 {
        logs.keep(LogLevel::Info, "quantix_x", format!("line {n}"));
    }
    let look = logs.look(&all());
    assert_eq!((look.gone, look.newest, look.total), (10, RECORDS_MAX as u64 + 10, RECORDS_MAX));
    let long = "x".repeat(RECORD_BYTES_MAX);
    for _ in 0..RECORDS_MAX {
        logs.keep(LogLevel::Info, "quantix_x", long.clone());
    }
    assert_eq!(logs.look(&all()).total, BYTES_MAX / RECORD_BYTES_MAX, "bytes are bounded, too");
}

#[test]
fn what_is_asked_for_is_what_comes() {
    let logs = Logs::new();
    for n in 1..=10 {
        let level = if n % 2 == 0 { LogLevel::Warn } else { LogLevel::Info };
        logs.keep(level, "quantix_node::pool", format!("Line {n} of ten"));
    }
    let numbers = |query: Query| logs.look(&query).records.iter().map(|r| r.number).collect::<Vec<_>>();
    assert_eq!(numbers(Query { limit: 3, ..Query::default() }), [10, 9, 8]);
    assert_eq!(numbers(Query { before: Some(8), limit: 3, ..Query::default() }), [7, 6, 5]);
    assert_eq!(numbers(Query { level: Some(LogLevel::Warn), after: 4, ..all() }), [10, 8, 6]);
    assert_eq!(numbers(Query { words: vec!["line".into(), "10".into()], ..all() }), [10]);
    assert_eq!(numbers(Query { words: vec!["pool".into(), "nothing".into()], ..all() }), [0; 0]);
    assert_eq!(numbers(Query { since: Some(UnixMs(i64::MAX)), ..all() }), [0; 0]);
    assert!(logs.look(&Query { limit: 9, ..Query::default() }).more);
    assert!(!logs.look(&Query { limit: 10, ..Query::default() }).more);
}

proptest! {
    #[test]
    fn any_text_becomes_a_line_of_bounded_length(pieces in prop::collection::vec(any::<String>(), 0..200)) {
        let mut line = Line::default();
        for piece in &pieces {
            line.sentence.write_str(piece).unwrap();
            line.fields.write_str(piece).unwrap();
        }
        let text = line.end();
        prop_assert!(text.len() < RECORD_BYTES_MAX + 64);
        prop_assert!(!text.chars().any(deceives));
    }
}
