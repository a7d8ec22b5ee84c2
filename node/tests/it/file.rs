//! Files of a pool through the whole daemon: changing them, and their bytes going out.

use crate::vdc::TestVdc;
use crate::yard::{Machine, pool_id, pool_intent};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::BodyExt as _;
use quantix_client::HostClient;
use quantix_contract::quantix::file::v1 as file;
use quantix_contract::quantix::node::v1 as node;
use quantix_model::FaultCode;
use std::time::{Duration, Instant};
use uuid::Uuid;

const SIZE: usize = 3 * 1024 * 1024 + 77;

fn noise() -> Vec<u8> {
    (0..SIZE as u64).map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8).collect()
}

fn get(path: &str) -> file::GetFileRequest {
    file::GetFileRequest { pool_id: pool_id().to_string(), path: path.into(), ..Default::default() }
}

fn folder(path: &str) -> file::MakeFolderRequest {
    file::MakeFolderRequest { pool_id: pool_id().to_string(), path: path.into(), ..Default::default() }
}

fn rename(from: &str, to: &str) -> file::MoveFileRequest {
    let pool_id = pool_id().to_string();
    file::MoveFileRequest { pool_id, from_path: from.into(), to_path: to.into(), ..Default::default() }
}

fn copy(from: &str, to: &str) -> file::CopyFileRequest {
    let pool_id = pool_id().to_string();
    file::CopyFileRequest { pool_id, from_path: from.into(), to_path: to.into(), ..Default::default() }
}

fn delete(path: &str) -> file::DeleteFileRequest {
    file::DeleteFileRequest { pool_id: pool_id().to_string(), path: path.into(), ..Default::default() }
}

fn asked(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
}

async fn part(line: &HostClient, path: &str, range: &str) -> (StatusCode, HeaderMap, Vec<u8>) {
    let asked = if range.is_empty() { HeaderMap::new() } else { asked(&[(header::RANGE, range)]) };
    let answer = line.download(pool_id(), path, &asked).await.unwrap();
    let (head, body) = answer.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes().to_vec();
    (head.status, head.headers, bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_made_moved_copied_and_deleted() {
    let (machine, vdc) = (Machine::new(), TestVdc::start().await);
    let (daemon, line) = machine.enrol(&vdc).await;
    line.apply_pool(pool_intent(1)).await.unwrap();
    machine.launcher.pool(pool_id()).put_file("a b.txt", b"hello".to_vec());
    let details = line.get_file(get("a b.txt")).await.unwrap();
    assert_eq!((details.path.as_str(), details.host.as_str()), ("a b.txt", "host-1"));
    assert_eq!(details.file.as_option().map(|f| f.size_bytes), Some(5));
    line.make_folder(folder("x")).await.unwrap();
    line.make_folder(folder("x")).await.expect("the same again");
    let moved = line.move_file(rename("a b.txt", "x/ü.txt")).await.unwrap();
    assert_eq!(moved.file.as_option().map(|f| f.name.as_str()), Some("ü.txt"));
    assert_eq!(line.get_file(get("a b.txt")).await.unwrap_err().code, FaultCode::FileNotFound);
    let mut heard = Vec::new();
    line.copy_file(copy("x/ü.txt", "y"), |p| heard.push(p.done_bytes)).await.unwrap();
    assert_eq!(heard.last(), Some(&5));
    let fault = line.copy_file(copy("x/ü.txt", "y"), |_| ()).await.unwrap_err();
    assert_eq!((fault.code, fault.host.as_str()), (FaultCode::FileExists, "host-1"));
    line.delete_file(delete("x"), |_| ()).await.unwrap();
    line.delete_file(delete("x"), |_| ()).await.expect("the same again");
    assert_eq!(line.get_file(get("x/ü.txt")).await.unwrap_err().code, FaultCode::FileNotFound);
    for (bad, code) in [
        ("", FaultCode::InvalidArgument),
        ("//", FaultCode::InvalidArgument),
        ("../x", FaultCode::PathOutsidePool),
        ("volumes/01890a5d-ac96-774b-bcce-b302099a8057.raw", FaultCode::FileInUse),
    ] {
        assert_eq!(line.make_folder(folder(bad)).await.unwrap_err().code, code, "{bad}");
        assert_eq!(line.delete_file(delete(bad), |_| ()).await.unwrap_err().code, code, "{bad}");
    }
    assert_eq!(line.get_file(get(&"x".repeat(5000))).await.unwrap_err().field, "path");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_becomes_a_file() {
    let (machine, vdc) = (Machine::new(), TestVdc::start().await);
    let (daemon, line) = machine.enrol(&vdc).await;
    line.apply_pool(pool_intent(1)).await.unwrap();
    let id = quantix_model::id::ImageId(Uuid::from_u128(5));
    let open = node::OpenUploadRequest {
        pool_id: pool_id().to_string(),
        image_id: id.to_string(),
        size_bytes: 3,
        ..Default::default()
    };
    line.open_upload(open).await.unwrap();
    let bytes = futures::stream::iter([Ok(bytes::Bytes::from_static(b"abc"))]);
    line.upload_bytes(pool_id(), id, 0, bytes).await.unwrap();
    let finish = node::FinishFileRequest {
        pool_id: pool_id().to_string(),
        upload_id: id.to_string(),
        path: "notes.txt".into(),
        size_bytes: 3,
        ..Default::default()
    };
    let kept = line.finish_file(finish).await.unwrap();
    assert_eq!(kept.file.as_option().map(|f| f.size_bytes), Some(3));
    assert_eq!(part(&line, "notes.txt", "").await.2, b"abc");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_go_out_whole_and_in_parts() {
    let (machine, vdc) = (Machine::new(), TestVdc::start().await);
    let (daemon, line) = machine.enrol(&vdc).await;
    line.apply_pool(pool_intent(1)).await.unwrap();
    let noise = noise();
    machine.launcher.pool(pool_id()).put_file("big & odd?.bin", noise.clone());
    let (status, headers, bytes) = part(&line, "big & odd?.bin", "").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers[header::CONTENT_LENGTH], SIZE.to_string());
    assert_eq!(headers[header::ACCEPT_RANGES], "bytes");
    assert!(bytes == noise, "every byte");
    let etag = headers[header::ETAG].to_str().unwrap().to_owned();
    let (status, headers, bytes) = part(&line, "big & odd?.bin", "bytes=1000000-2000000").await;
    assert_eq!(status, StatusCode::PARTIAL_CONTENT);
    assert_eq!(headers[header::CONTENT_RANGE], format!("bytes 1000000-2000000/{SIZE}"));
    assert!(bytes == noise[1_000_000..=2_000_000]);
    let (status, headers, bytes) = part(&line, "big & odd?.bin", &format!("bytes={SIZE}-")).await;
    assert_eq!((status, bytes.len()), (StatusCode::RANGE_NOT_SATISFIABLE, 0));
    assert_eq!(headers[header::CONTENT_RANGE], format!("bytes */{SIZE}"));
    let again = asked(&[(header::RANGE, "bytes=5-"), (header::IF_RANGE, &etag)]);
    let answer = line.download(pool_id(), "big & odd?.bin", &again).await.unwrap();
    assert_eq!(answer.status(), StatusCode::PARTIAL_CONTENT);
    drop(answer);
    // It was changed since: the whole of what it is now.
    machine.launcher.pool(pool_id()).put_file("big & odd?.bin", noise[..100].to_vec());
    let answer = line.download(pool_id(), "big & odd?.bin", &again).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(answer.into_body().collect().await.unwrap().to_bytes() == noise[..100]);
    let known = asked(&[(header::IF_NONE_MATCH, etag.as_str())]);
    assert_eq!(line.download(pool_id(), "big & odd?.bin", &known).await.unwrap().status(), StatusCode::OK);
    for (path, code) in [
        ("nothing", FaultCode::FileNotFound),
        ("volumes", FaultCode::FileNotRegular),
        ("../etc/passwd", FaultCode::PathOutsidePool),
        ("", FaultCode::InvalidArgument),
    ] {
        let fault = line.download(pool_id(), path, &HeaderMap::new()).await.unwrap_err();
        assert_eq!(fault.code, code, "{path}: {fault}");
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_the_vdc_may_read_files() {
    let (machine, vdc) = (Machine::new(), TestVdc::start().await);
    let (daemon, line) = machine.enrol(&vdc).await;
    line.apply_pool(pool_intent(1)).await.unwrap();
    machine.launcher.pool(pool_id()).put_file("a", b"secret".to_vec());
    let url = crate::yard::url(&daemon);
    let stranger = HostClient::new(line.id(), "host-1", &url, vdc.other_client_config()).unwrap();
    let fault = stranger.download(pool_id(), "a", &HeaderMap::new()).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::Forbidden, "{fault}");
    daemon.stop().await;
}

/// A download waits for the pool, and ends with an error, not with half a file, when the pool does not come back.
#[tokio::test(flavor = "multi_thread")]
async fn a_download_from_a_pool_that_stalls_breaks_off() {
    let (machine, vdc) = (Machine::new(), TestVdc::start().await);
    let (daemon, line) = machine.enrol(&vdc).await;
    line.apply_pool(pool_intent(1)).await.unwrap();
    let pool = machine.launcher.pool(pool_id());
    pool.put_file("big", vec![7; 64 << 20]);
    let answer = line.download(pool_id(), "big", &HeaderMap::new()).await.unwrap();
    pool.stall(true);
    let began = Instant::now();
    assert!(answer.into_body().collect().await.is_err(), "half a file is no file");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    pool.stall(false);
    daemon.stop().await;
}
