//! Images coming in.

use crate::vdc::TestVdc;
use crate::yard::{Machine, pool_id, pool_intent};
use bytes::Bytes;
use quantix_contract::quantix::node::v1 as node;
use quantix_model::FaultCode;
use quantix_model::id::ImageId;
use uuid::Uuid;

const IMAGE: ImageId = ImageId(Uuid::from_u128(0x1500));
const SIZE: usize = 5 * 1024 * 1024 + 137;

/// A raw disk: a boot sector, then noise.
fn disk() -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..SIZE as u64).map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    bytes[510] = 0x55;
    bytes[511] = 0xaa;
    bytes
}

fn pieces(bytes: &[u8], size: usize) -> Vec<Result<Bytes, Box<dyn std::error::Error + Send + Sync>>> {
    bytes.chunks(size).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect()
}

fn open() -> node::OpenUploadRequest {
    node::OpenUploadRequest {
        pool_id: pool_id().to_string(),
        image_id: IMAGE.to_string(),
        size_bytes: SIZE as u64,
        ..Default::default()
    }
}

fn finish(sha256: &str) -> node::FinishUploadRequest {
    node::FinishUploadRequest {
        pool_id: pool_id().to_string(),
        image_id: IMAGE.to_string(),
        size_bytes: SIZE as u64,
        sha256: sha256.into(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_on_where_it_broke_off() {
    let (machine, vdc) = (Machine::new(), TestVdc::start().await);
    let (daemon, line) = machine.enrol(&vdc).await;
    line.apply_pool(pool_intent(1)).await.unwrap();
    assert_eq!(line.open_upload(open()).await.unwrap().received_bytes, 0);
    let disk = disk();
    // The sender dies in the middle: two whole pieces are written, a third one is on its way.
    let (sender, stream) = tokio::sync::mpsc::channel(64);
    let upload = line.upload_bytes(pool_id(), IMAGE, 0, tokio_stream::wrappers::ReceiverStream::new(stream));
    let dying = async {
        for piece in pieces(&disk[..3_000_000], 70_001) {
            sender.send(piece).await.unwrap();
        }
        crate::yard::until("two pieces are written", async || {
            line.upload_offset(pool_id(), IMAGE).await.ok().filter(|n| *n >= 2 << 20)
        })
        .await;
        sender.send(Err("the browser was closed".into())).await.unwrap();
    };
    tokio::join!(upload, dying).0.unwrap_err();
    let safe = line.upload_offset(pool_id(), IMAGE).await.unwrap();
    assert!(safe <= 3_000_000, "{safe}");
    let wrong = futures::stream::iter(pieces(&disk[..10], 10));
    let fault = line.upload_bytes(pool_id(), IMAGE, 1, wrong).await.unwrap_err();
    assert!(matches!(fault.code, FaultCode::UploadOffsetMismatch | FaultCode::Busy), "{fault}");
    let all = crate::yard::until("the rest arrives", async || {
        let from = line.upload_offset(pool_id(), IMAGE).await.ok()?;
        let rest = futures::stream::iter(pieces(&disk[from as usize..], 1 << 16));
        line.upload_bytes(pool_id(), IMAGE, from, rest).await.ok()
    })
    .await;
    assert_eq!(all, SIZE as u64);
    let fault = line.finish_upload(finish(&"0".repeat(64))).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::ImageChecksumMismatch);
    // What was refused is gone; it begins anew.
    assert_eq!(line.open_upload(open()).await.unwrap().received_bytes, 0);
    let whole = futures::stream::iter(pieces(&disk, 1 << 18));
    assert_eq!(line.upload_bytes(pool_id(), IMAGE, 0, whole).await.unwrap(), SIZE as u64);
    let report = line.finish_upload(finish("")).await.unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &disk);
    let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(report.sha256, digest);
    let delete = node::DeleteImageRequest {
        pool_id: pool_id().to_string(),
        image_id: IMAGE.to_string(),
        ..Default::default()
    };
    assert!(line.delete_image(delete.clone()).await.unwrap().existed);
    assert!(!line.delete_image(delete).await.unwrap().existed);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_nobody_opened_are_refused() {
    let (machine, vdc) = (Machine::new(), TestVdc::start().await);
    let (daemon, line) = machine.enrol(&vdc).await;
    let bytes = || futures::stream::iter(pieces(b"abc", 3));
    let fault = line.upload_bytes(pool_id(), IMAGE, 0, bytes()).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::PoolNotAssigned);
    line.apply_pool(pool_intent(1)).await.unwrap();
    assert!(line.upload_bytes(pool_id(), IMAGE, 0, bytes()).await.is_err());
    assert!(line.upload_offset(pool_id(), IMAGE).await.is_err());
    daemon.stop().await;
}
