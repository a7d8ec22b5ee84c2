//! Files going out: `GET /api/v1/pools/{pool_id}/files?path=…`, with one range (RFC 9110, 14).
//!
//! ```text
//!   details ──▶ size, ETag ──▶ 200 | 206 | 304 | 416
//!                                └──▶ piece ──▶ piece ──▶ …   the next is asked for when one was taken
//! ```
//! The ETag is made of size and time of change: with `If-Range`, a file that changed is sent whole again. A file that
//! shrinks under way breaks the line off, so that nobody takes a part for the whole.

use super::Shared;
use super::file;
use super::rest::{Refusal, Who};
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use quantix_model::id::PoolId;
use quantix_model::{Fault, FaultCode};
use quantix_storage::backend::{FileEntry, FileKind};
use quantix_storage::worker::PoolWorker;
use serde::Deserialize;
use std::ops::Range;

/// What is asked of the worker at once.
const PIECE_BYTES: u64 = 512 << 10;
/// Pieces asked for before the first was taken.
const AHEAD: usize = 2;

#[derive(Deserialize)]
pub struct Asked {
    #[serde(default)]
    path: String,
}

pub async fn get(
    State(shared): State<Shared>,
    Who(caller): Who,
    Path(pool): Path<String>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    shared.daemon.gate(Some(&caller))?;
    let pool: PoolId = pool.parse()?;
    let path = file::path("path", &asked.path)?;
    let worker = shared.daemon.pools.worker(pool)?;
    let found = shared.daemon.pools.promptly(pool, worker.file_details(path.clone())).await?;
    if found.entry.kind != FileKind::Regular {
        return Err(not_regular(&path).into());
    }
    Ok(answer(worker, path, &found.entry, &headers))
}

fn not_regular(path: &str) -> Fault {
    Fault::new(
        FaultCode::FileNotRegular,
        format!("{path:?} is no file that can be downloaded."),
        "Choose a file, not a folder, link or device.",
    )
}

fn answer(worker: PoolWorker, path: String, entry: &FileEntry, headers: &HeaderMap) -> Response {
    let size = entry.size_bytes;
    let etag = format!("\"{size:x}-{:x}\"", entry.modified_at_ms);
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let mut answer = match wanted(text(header::RANGE), text(header::IF_RANGE), &etag, size) {
        _ if text(header::IF_NONE_MATCH) == Some(etag.as_str()) => StatusCode::NOT_MODIFIED.into_response(),
        Wanted::Nowhere => {
            let range = [(header::CONTENT_RANGE, format!("bytes */{size}"))];
            (StatusCode::RANGE_NOT_SATISFIABLE, range).into_response()
        }
        Wanted::All => {
            let length = [(header::CONTENT_LENGTH, size.to_string())];
            (length, Body::from_stream(pieces(worker, path, 0..size))).into_response()
        }
        Wanted::Part(range) => {
            let head = [
                (header::CONTENT_LENGTH, (range.end - range.start).to_string()),
                (header::CONTENT_RANGE, format!("bytes {}-{}/{size}", range.start, range.end - 1)),
            ];
            let body = Body::from_stream(pieces(worker, path, range));
            (StatusCode::PARTIAL_CONTENT, head, body).into_response()
        }
    };
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(etag) = etag.parse() {
        headers.insert(header::ETAG, etag);
    }
    answer
}

#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    All,
    Part(Range<u64>),
    Nowhere,
}

/// What a request wants of a file. What is not one well-formed range of bytes is passed over, as RFC 9110 says.
fn wanted(range: Option<&str>, if_range: Option<&str>, etag: &str, size: u64) -> Wanted {
    let Some(range) = range.and_then(|range| range.strip_prefix("bytes=")) else { return Wanted::All };
    if if_range.is_some_and(|known| known != etag) {
        return Wanted::All;
    }
    let Some((first, last)) = range.split_once('-') else { return Wanted::All };
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    match (number(first), number(last)) {
        (Some(first), None) if last.is_empty() => part(first, size, size),
        (Some(first), Some(last)) if first <= last => part(first, last.saturating_add(1), size),
        (None, Some(0)) if first.is_empty() => Wanted::Nowhere,
        (None, Some(tail)) if first.is_empty() => part(size.saturating_sub(tail), size, size),
        _ => Wanted::All,
    }
}

fn part(first: u64, end: u64, size: u64) -> Wanted {
    if first >= size { Wanted::Nowhere } else { Wanted::Part(first..end.min(size)) }
}

/// The bytes of a range, piece by piece. At most [`AHEAD`] pieces are in memory.
fn pieces(worker: PoolWorker, path: String, range: Range<u64>) -> impl Stream<Item = Result<Bytes, Fault>> {
    let starts = futures::stream::unfold(range.start, move |at| async move {
        (at < range.end).then(|| ((at, PIECE_BYTES.min(range.end - at)), (at + PIECE_BYTES).min(range.end)))
    });
    let read = move |(at, length): (u64, u64)| {
        let (worker, path) = (worker.clone(), path.clone());
        async move {
            let limit = usize::try_from(length).map_err(Fault::internal)?;
            let bytes = worker.file_read(path, at, limit).await?;
            if bytes.len() == limit { Ok(bytes) } else { Err(changed(at, length, bytes.len())) }
        }
    };
    starts.map(read).buffered(AHEAD).inspect(|piece| {
        if let Err(fault) = piece {
            tracing::info!(%fault, "a download breaks off");
        }
    })
}

fn changed(at: u64, wanted: u64, came: usize) -> Fault {
    Fault::new(
        FaultCode::Conflict,
        "The file became shorter while it was sent.",
        "Wait until nobody writes to it, then download it again.",
    )
    .because(format!("{wanted} bytes at {at} were there, {came} came"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (range, if_range, expected) in [
            (None, None, Wanted::All),
            (Some("bytes=0-0"), None, Wanted::Part(0..1)),
            (Some("bytes=2-"), None, Wanted::Part(2..10)),
            (Some("bytes=-3"), None, Wanted::Part(7..10)),
            (Some("bytes=-30"), None, Wanted::Part(0..10)),
            (Some("bytes=4-99"), None, Wanted::Part(4..10)),
            (Some("bytes=10-"), None, Wanted::Nowhere),
            (Some("bytes=99999999999999999999-"), None, Wanted::Nowhere),
            (Some("bytes=-0"), None, Wanted::Nowhere),
            (Some("bytes=5-4"), None, Wanted::All),
            (Some("bytes=0-1,4-5"), None, Wanted::All),
            (Some("bytes=+1-2"), None, Wanted::All),
            (Some("bytes=-"), None, Wanted::All),
            (Some("pages=1-2"), None, Wanted::All),
            (Some("bytes=2-3"), Some("\"a\""), Wanted::Part(2..4)),
            (Some("bytes=2-3"), Some("\"b\""), Wanted::All),
        ] {
            assert_eq!(wanted(range, if_range, "\"a\"", 10), expected, "{range:?} {if_range:?}");
        }
        assert_eq!(wanted(Some("bytes=0-"), None, "", 0), Wanted::Nowhere);
    }
}
