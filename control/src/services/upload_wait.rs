//! The part of an upload's task that images and plain files share: opening it on the host, waiting for its bytes,
//! and removing what came.

use crate::services::upload::Target;
use crate::services::{App, lines, upload};
use crate::tasks::TaskContext;
use quantix_contract::quantix::node::v1 as node;
use quantix_model::id::{ImageId, PoolId};
use quantix_model::{Fault, FaultCode};
use std::time::Duration;

/// An upload that did not move for this long has been given up.
const STALE_AFTER: Duration = Duration::from_secs(24 * 3600);
/// How often a waiting task looks around without being told.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// How long the bytes of a failed upload are worth waiting for.
const CLEAR_PATIENCE: Duration = Duration::from_secs(10);
/// Between two attempts.
const CLEAR_RETRY: Duration = Duration::from_millis(300);

/// Opens the upload on the host and waits until all bytes are there.
pub(super) async fn receive(app: &App, task: &TaskContext, target: &Target) -> Result<(), Fault> {
    task.progress(target.received_bytes, target.size_bytes, "bytes");
    task.step("Opening the upload")?;
    let opened = super::pool_work::retry(task, || async {
        let line = lines::to_pool(app, target.pool_id).await?;
        task.on_host(line.name());
        upload::host_offset(&line, target).await
    });
    let received = tokio::select! {
        opened = opened => opened?,
        () = task.cancelled() => { task.check()?; 0 }
    };
    let lane = app.uploads.lane(target.id, received);
    lane.note(lane.received().max(received));
    task.step("Receiving bytes")?;
    let clock = &app.core.clock;
    let (mut last, mut moved_at) = (lane.received(), clock.now());
    loop {
        let moved = lane.moved.notified();
        let now = lane.received();
        task.progress(now, target.size_bytes, "bytes");
        if now >= target.size_bytes {
            return Ok(());
        }
        if now != last {
            (last, moved_at) = (now, clock.now());
        }
        if moved_at.age(clock.now()) > STALE_AFTER {
            return Err(Fault::new(
                FaultCode::UploadIncomplete,
                format!("The upload of {} stood still for 24 hours.", target.name),
                "Upload it again.",
            )
            .because(format!("{now} of {} bytes came", target.size_bytes)));
        }
        tokio::select! {
            () = moved => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = task.cancelled() => {}
        }
        task.check()?;
    }
}

/// The same for an upload that failed: whoever ends it asks once only, and its host may just be silent for a moment.
pub(super) async fn clear(app: &App, pool: PoolId, id: ImageId) -> Result<(), Fault> {
    let end = tokio::time::Instant::now() + CLEAR_PATIENCE;
    loop {
        match remove(app, pool, id).await {
            Err(fault) if fault.retryable() && tokio::time::Instant::now() < end => {
                tokio::time::sleep(CLEAR_RETRY).await;
            }
            done => return done,
        }
    }
}

/// Removes an image or what came of an upload from its host.
pub(super) async fn remove(app: &App, pool: PoolId, id: ImageId) -> Result<(), Fault> {
    let line = lines::to_pool(app, pool).await?;
    let wish = node::DeleteImageRequest {
        pool_id: pool.to_string(),
        image_id: id.to_string(),
        ..Default::default()
    };
    line.delete_image(wish).await.map(|_| ())
}
