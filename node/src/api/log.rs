//! RPC about what this daemon wrote down.

use crate::clock;
use crate::daemon::Daemon;
use crate::log::{Logs, Query, Record};
use quantix_contract::quantix::log::v1 as wire;
use quantix_contract::{time, twin};
use quantix_model::Fault;

/// Records of a page when the caller does not say, and at most.
const PAGE_USUAL: usize = 100;
/// See [`PAGE_USUAL`].
const PAGE_MAX: usize = 500;
/// Longest filter.
const FILTER_BYTES_MAX: usize = 1024;

pub async fn list(daemon: &Daemon, request: wire::ListLogsRequest) -> Result<wire::ListLogsResponse, Fault> {
    let logs = &daemon.logs;
    let query = query(logs, &request)?;
    let look = logs.look(&query);
    let last = look.records.last().filter(|_| look.more);
    Ok(wire::ListLogsResponse {
        next_page_token: last.map_or_else(String::new, |last| format!("{}.{}", logs.epoch(), last.number)),
        records: look.records.iter().map(|record| self::record(record)).collect(),
        total: look.total as u64,
        epoch: logs.epoch().to_owned(),
        started_at: time::to_proto(logs.started_at()).into(),
        newest: look.newest,
        gone: look.gone,
        kept_level: twin::write(logs.kept_level()),
        observed_at: time::to_proto(clock::now()).into(),
        host: daemon.name(),
        ..Default::default()
    })
}

fn query(logs: &Logs, request: &wire::ListLogsRequest) -> Result<Query, Fault> {
    if request.filter.len() > FILTER_BYTES_MAX {
        return Err(Fault::invalid("filter", "The filter is too long.", "Use 1024 bytes at most."));
    }
    let level = match request.level.to_i32() {
        0 => None,
        _ => Some(twin::read("level", request.level)?),
    };
    Ok(Query {
        level,
        words: request.filter.split_whitespace().map(str::to_lowercase).collect(),
        since: request.since.as_option().map(time::from_proto),
        after: if request.epoch == logs.epoch() { request.after } else { 0 },
        before: before(logs, &request.page_token)?,
        limit: match request.page_size {
            0 => PAGE_USUAL,
            size => (size as usize).min(PAGE_MAX),
        },
    })
}

fn before(logs: &Logs, token: &str) -> Result<Option<u64>, Fault> {
    if token.is_empty() {
        return Ok(None);
    }
    let refuse = |message: &str, remedy: &str| Err(Fault::invalid("page_token", message, remedy));
    match token.split_once('.').map(|(epoch, number)| (epoch == logs.epoch(), number.parse())) {
        Some((true, Ok(number))) => Ok(Some(number)),
        Some((false, Ok(_))) => refuse(
            "The host's daemon was started anew since the page before: what it wrote down until then is gone.",
            "Begin with the first page.",
        ),
        _ => refuse("The page token is not one of ours.", "Use the token of the page before."),
    }
}

fn record(record: &Record) -> wire::LogRecord {
    wire::LogRecord {
        number: record.number,
        at: time::to_proto(record.at).into(),
        level: twin::write(record.level),
        target: record.target.to_owned(),
        message: record.message.clone(),
        ..Default::default()
    }
}
