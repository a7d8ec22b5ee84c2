//! RPC about pools and the files in them.

use crate::clock;
use crate::daemon::Daemon;
use crate::pool::Intent;
use quantix_contract::quantix::node::v1 as wire;
use quantix_contract::quantix::pool::v1 as pool;
use quantix_contract::{pool as convert, time};
use quantix_model::file::allowed_actions;
use quantix_model::id::PoolId;
use quantix_model::{Fault, UnixMs};
use quantix_storage::backend::{FileEntry, FileKind, FileQuery, FileSort, LettingGo};

/// Most entries of one page.
const PAGE_MAX: usize = 1000;
/// Entries of a page when the caller does not say.
const PAGE_USUAL: usize = 100;
/// Longest path beneath a pool (Linux PATH_MAX).
pub(super) const PATH_BYTES_MAX: usize = 4096;

pub async fn apply(daemon: &Daemon, intent: wire::PoolIntent) -> Result<wire::PoolReport, Fault> {
    let intent = Intent::try_from(&intent)?;
    let id = intent.id;
    let report = daemon.pools.apply(intent).await?;
    Ok(convert::report_to_proto(id, &report))
}

pub async fn release(
    daemon: &Daemon,
    request: wire::ReleasePoolRequest,
) -> Result<wire::ReleasePoolResponse, Fault> {
    let id: PoolId = request.pool_id.parse()?;
    let how = if request.force { LettingGo::Forced } else { LettingGo::Orderly };
    daemon.pools.release(id, request.generation, how).await?;
    Ok(wire::ReleasePoolResponse::default())
}

pub async fn retry(daemon: &Daemon, request: wire::RetryPoolRequest) -> Result<wire::PoolReport, Fault> {
    let id: PoolId = request.pool_id.parse()?;
    let report = daemon.pools.retry(id, request.take_in).await?;
    Ok(convert::report_to_proto(id, &report))
}

pub async fn list_files(
    daemon: &Daemon,
    request: wire::ListFilesRequest,
) -> Result<pool::ListFilesResponse, Fault> {
    let id: PoolId = request.pool_id.parse()?;
    let query = query(&request)?;
    let (offset, limit) = (query.offset, query.limit);
    let worker = daemon.pools.worker(id)?;
    let page = daemon.pools.promptly(id, worker.file_list(query)).await?;
    let seen = offset.saturating_add(page.entries.len().min(limit));
    let next_page_token =
        if seen < page.total && !page.entries.is_empty() { seen.to_string() } else { String::new() };
    Ok(pool::ListFilesResponse {
        files: page.entries.iter().map(file).collect(),
        next_page_token,
        total: page.total as u64,
        host: daemon.name(),
        observed_at: time::to_proto(clock::now()).into(),
        ..Default::default()
    })
}

fn query(request: &wire::ListFilesRequest) -> Result<FileQuery, Fault> {
    if request.path.len() > PATH_BYTES_MAX || request.filter.len() > PATH_BYTES_MAX {
        return Err(Fault::invalid("path", "The path or filter is too long.", "Use 4096 bytes at most."));
    }
    let offset = match request.page_token.as_str() {
        "" => 0,
        text => text.parse().map_err(|_| {
            Fault::invalid(
                "page_token",
                "The page token is not one of ours.",
                "Use the token of the page before.",
            )
        })?,
    };
    let limit = match request.page_size {
        0 => PAGE_USUAL,
        size => (size as usize).min(PAGE_MAX),
    };
    Ok(FileQuery {
        path: request.path.clone(),
        filter: request.filter.clone(),
        sort: sort(request.sort)?,
        descending: request.descending,
        offset,
        limit,
    })
}

fn sort(value: quantix_contract::EnumValue<pool::FileSort>) -> Result<FileSort, Fault> {
    use pool::FileSort as W;
    match value.as_known() {
        Some(W::FILE_SORT_UNSPECIFIED | W::FILE_SORT_NAME) => Ok(FileSort::Name),
        Some(W::FILE_SORT_SIZE) => Ok(FileSort::Size),
        Some(W::FILE_SORT_MODIFIED) => Ok(FileSort::Modified),
        None => Err(Fault::invalid(
            "sort",
            format!("The field sort holds {}, which this release does not know.", value.to_i32()),
            "Sort by name, size or time of change.",
        )),
    }
}

pub(super) fn file(entry: &FileEntry) -> pool::File {
    let kind = match entry.kind {
        FileKind::Directory => pool::FileKind::FILE_KIND_DIRECTORY,
        FileKind::Regular => pool::FileKind::FILE_KIND_REGULAR,
        FileKind::Symlink => pool::FileKind::FILE_KIND_SYMLINK,
        FileKind::Other => pool::FileKind::FILE_KIND_OTHER,
    };
    let actions = allowed_actions(entry.kind == FileKind::Regular, entry.kept_for);
    pool::File {
        name: entry.name.clone(),
        kind: kind.into(),
        format: entry.format.clone(),
        size_bytes: entry.size_bytes,
        allocated_bytes: entry.allocated_bytes,
        mode: entry.mode,
        owner: entry.owner.clone(),
        modified_at: time::to_proto(UnixMs(entry.modified_at_ms)).into(),
        allowed_actions: actions.iter().map(Into::into).collect(),
        ..Default::default()
    }
}
