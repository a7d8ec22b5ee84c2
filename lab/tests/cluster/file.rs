//! Files of a pool through the vDC: made, moved, copied, removed, sent in and out; and whose they are.

use crate::bad_input::on_disk;
use crate::wish;
use quantix_contract::quantix::file::v1 as file;
use quantix_contract::quantix::pool::v1 as pool;
use quantix_contract::quantix::task::v1 as task;
use quantix_lab::cluster::{Cluster, DEADLINE};
use quantix_lab::rig::until;
use quantix_model::FaultCode;
use std::time::Duration;

pub fn folder(pool_id: &str, path: &str) -> file::MakeFolderRequest {
    file::MakeFolderRequest { pool_id: pool_id.into(), path: path.into(), ..Default::default() }
}

pub fn copy(pool_id: &str, from: &str, to: &str) -> file::CopyFileRequest {
    file::CopyFileRequest {
        pool_id: pool_id.into(),
        from_path: from.into(),
        to_path: to.into(),
        ..Default::default()
    }
}

fn change(pool_id: &str, from: &str, to: &str) -> file::MoveFileRequest {
    file::MoveFileRequest {
        pool_id: pool_id.into(),
        from_path: from.into(),
        to_path: to.into(),
        ..Default::default()
    }
}

pub fn removal(pool_id: &str, path: &str) -> file::DeleteFileRequest {
    file::DeleteFileRequest { pool_id: pool_id.into(), path: path.into(), ..Default::default() }
}

pub fn upload(pool_id: &str, path: &str, size_bytes: usize) -> file::CreateUploadRequest {
    file::CreateUploadRequest {
        pool_id: pool_id.into(),
        path: path.into(),
        size_bytes: size_bytes as u64,
        ..Default::default()
    }
}

/// A file's bytes through the vDC, URL-encoded as a browser does.
pub fn download_path(pool_id: &str, path: &str) -> String {
    let encoded: String = path.bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("/api/v1/pools/{pool_id}/files?path={encoded}")
}

/// Something to send.
fn words(len: usize) -> Vec<u8> {
    (0..len).map(|n| b'a' + u8::try_from(n % 26).expect("below 26")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_come_change_and_go() {
    let cluster = Cluster::start().await;
    let pool_id = cluster.pool("main").await;
    let calls = cluster.client.files();
    cluster.ok(calls.make_folder(folder(&pool_id, "mine")).await);
    let bytes = words(100_000);
    let name = "mine/größe \"1\".txt";
    let opened = cluster.ok(calls.create_upload(upload(&pool_id, name, bytes.len())).await).into_owned();
    assert_eq!(
        on_disk(&cluster, &pool_id, "mine").await,
        Vec::<String>::new(),
        "not there before it is whole"
    );
    // The line is cut in the middle; the rest follows from where the host's bytes end.
    let begin = [("upload-offset", "0")];
    cluster.http("PATCH", &opened.upload_path, &begin, &bytes[..60_000], bytes.len()).await;
    let offset = until("bytes are safe", DEADLINE, async || {
        cluster.offset(&opened.upload_path).await.filter(|n| *n == 60_000)
    })
    .await;
    assert_eq!(cluster.patch(&opened.upload_path, offset, &bytes[60_000..]).await.status, 204);
    cluster.task_done(&opened.task_id).await;
    assert_eq!(
        cluster.offset(&opened.upload_path).await,
        Some(bytes.len() as u64),
        "a late question is answered"
    );
    assert_eq!(on_disk(&cluster, &pool_id, "mine").await, ["größe \"1\".txt"]);

    let whole = cluster.http("GET", &download_path(&pool_id, name), &[], b"", 0).await;
    assert_eq!(whole.status, 200, "{}", whole.body);
    assert!(whole.body.as_bytes() == bytes, "the same bytes come back");
    assert_eq!(
        whole.header("content-disposition"),
        Some("attachment; filename*=UTF-8''gr%C3%B6%C3%9Fe%20%221%22.txt")
    );
    assert_eq!(whole.header("x-content-type-options"), Some("nosniff"));
    assert!(whole.header("content-security-policy").is_some_and(|policy| policy.starts_with("sandbox")));
    assert_eq!(whole.header("content-type"), Some("application/octet-stream"));
    let range = [("range", "bytes=10-19")];
    let part = cluster.http("GET", &download_path(&pool_id, name), &range, b"", 0).await;
    assert_eq!((part.status, part.body.as_bytes()), (206, &bytes[10..20]));
    assert_eq!(part.header("content-range"), Some("bytes 10-19/100000"));
    let beyond = [("range", "bytes=100000-")];
    let beyond = cluster.http("GET", &download_path(&pool_id, name), &beyond, b"", 0).await;
    assert_eq!(beyond.status, 416);

    let moved = cluster.ok(calls.move_file(change(&pool_id, name, "mine/b.txt")).await).into_owned();
    assert_eq!(moved.path, "mine/b.txt");
    let copied = cluster.ok(calls.copy_file(copy(&pool_id, "mine/b.txt", "mine/c.txt")).await).into_owned();
    cluster.task_done(&copied.task_id).await;
    let request =
        file::GetFileRequest { pool_id: pool_id.clone(), path: "mine/c.txt".into(), ..Default::default() };
    let details = cluster.ok(calls.get_file(request).await).into_owned();
    assert_eq!(details.file.as_option().map(|f| f.size_bytes), Some(100_000));
    assert!(details.observed_at.is_set());
    let gone = cluster.ok(calls.delete_file(removal(&pool_id, "mine")).await).into_owned();
    cluster.task_done(&gone.task_id).await;
    assert!(!on_disk(&cluster, &pool_id, "").await.contains(&"mine".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_cannot_be() {
    let cluster = Cluster::start().await;
    let pool_id = cluster.pool("main").await;
    let calls = cluster.client.files();
    cluster.shelf(&pool_id).put_file("a.txt", words(10));
    cluster.shelf(&pool_id).put_file("b.txt", words(10));
    let made = cluster.vm(wish("web-1", &pool_id)).await;
    let ours = format!("volumes/{}.qcow2", made.volumes[0].id);
    for path in ["../x", "/etc/passwd", "a/../../x"] {
        let fault = cluster.refused(calls.make_folder(folder(&pool_id, path)).await);
        assert_eq!((fault.code, fault.field.as_str()), (FaultCode::PathOutsidePool, "path"), "{path}");
        let answer = cluster.http("GET", &download_path(&pool_id, path), &[], b"", 0).await;
        assert!(answer.body.contains("PATH_OUTSIDE_POOL"), "{} {}", answer.status, answer.body);
        let request =
            pool::ListFilesRequest { pool_id: pool_id.clone(), path: path.into(), ..Default::default() };
        let fault = cluster.refused(cluster.client.pools().list_files(request).await);
        assert_eq!(fault.code, FaultCode::PathOutsidePool);
    }
    for path in ["", "a\nb", "a\0b", "a//b", ".", ".quantix-pool", &"x".repeat(256)] {
        let fault = cluster.refused(calls.make_folder(folder(&pool_id, path)).await);
        assert_eq!(fault.field, "path", "{path:?}: {fault}");
        let fault = cluster.refused(calls.create_upload(upload(&pool_id, path, 1)).await);
        assert_eq!(fault.field, "path", "{path:?}: {fault}");
    }
    for path in ["-rf", "it's \"x\" $(reboot)", "💾", "a..b"] {
        cluster.ok(calls.make_folder(folder(&pool_id, path)).await);
    }
    let fault = cluster.refused(calls.create_upload(upload(&pool_id, "a.txt", 1)).await);
    assert_eq!((fault.code, fault.field.as_str()), (FaultCode::FileExists, "path"));
    let fault = cluster.refused(calls.copy_file(copy(&pool_id, "a.txt", "b.txt")).await);
    assert_eq!((fault.code, fault.field.as_str()), (FaultCode::FileExists, "to_path"));
    let fault = cluster.refused(calls.copy_file(copy(&pool_id, "none", "c.txt")).await);
    assert_eq!((fault.code, fault.field.as_str()), (FaultCode::FileNotFound, "from_path"));
    let fault = cluster.refused(calls.copy_file(copy(&pool_id, "-rf", "-rf/inner")).await);
    assert_eq!(fault.field, "to_path");
    let answer = cluster.http("GET", &download_path(&pool_id, "none"), &[], b"", 0).await;
    assert_eq!(answer.status, 404, "{}", answer.body);

    what_is_ours_is_left_alone(&cluster, &pool_id, &ours).await;
}

/// `ours` is the file of a disk of VM web-1.
async fn what_is_ours_is_left_alone(cluster: &Cluster, pool_id: &str, ours: &str) {
    let calls = cluster.client.files();
    let allowed = async |path: &str| {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let request =
            pool::ListFilesRequest { pool_id: pool_id.to_owned(), path: folder.into(), ..Default::default() };
        let files = cluster.ok(cluster.client.pools().list_files(request).await).into_owned().files;
        let found = files.into_iter().find(|file| path.ends_with(&file.name)).expect("it is there");
        let (yes, no): (Vec<_>, Vec<_>) =
            found.allowed_actions.into_iter().partition(|action| action.allowed);
        assert!(no.iter().all(|action| !action.reason_if_not.is_empty()), "{no:?}");
        let reasons: Vec<String> = no.into_iter().map(|action| action.reason_if_not).collect();
        (yes.into_iter().map(|action| action.verb).collect::<Vec<_>>().join(" "), reasons.join(" "))
    };
    assert_eq!(allowed("a.txt").await, ("download copy move delete".to_owned(), String::new()));
    assert_eq!(allowed(".quantix-pool").await.0, "download copy");
    assert_eq!(allowed("volumes").await.0, "");
    let (may, why) = allowed(ours).await;
    assert!(may == "download" && why.contains("web-1"), "{may}: {why}");
    for refused in [
        cluster.refused(calls.delete_file(removal(pool_id, ours)).await),
        cluster.refused(calls.move_file(change(pool_id, ours, "mine.qcow2")).await),
        cluster.refused(calls.delete_file(removal(pool_id, "volumes")).await),
    ] {
        assert_eq!(refused.code, FaultCode::FileInUse, "{refused}");
        assert!(refused.message.contains("web-1"), "{refused}");
    }
    for own in ["volumes/new", "images/new"] {
        assert_eq!(cluster.refused(calls.make_folder(folder(pool_id, own)).await).code, FaultCode::FileInUse);
        let fault = cluster.refused(calls.create_upload(upload(pool_id, own, 1)).await);
        assert_eq!(fault.code, FaultCode::FileInUse);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_that_cannot_be() {
    let cluster = Cluster::start().await;
    let pool_id = cluster.pool("main").await;
    let calls = cluster.client.files();
    let fault = cluster.refused(calls.create_upload(upload(&pool_id, "huge", 17 << 40)).await);
    assert_eq!(fault.field, "size_bytes");
    // More than the declared 5 GB is refused at once, and nothing of it is kept in memory or on the pool.
    let opened = cluster.ok(calls.create_upload(upload(&pool_id, "sparse", 5 << 30)).await).into_owned();
    let answer = cluster.patch(&opened.upload_path, 5 << 30, b"x").await;
    assert_eq!(answer.status, 413, "{}", answer.body);
    let fault = cluster.refused(calls.create_upload(upload(&pool_id, "sparse", 1)).await);
    assert_eq!(fault.code, FaultCode::FileExists, "it is on its way already");
    let request = task::CancelTaskRequest { id: opened.task_id.clone(), ..Default::default() };
    cluster.ok(cluster.client.tasks().cancel_task(request).await);
    assert_eq!(cluster.task_end(&opened.task_id).await.state, task::TaskState::TASK_STATE_CANCELLED);
    assert_eq!(on_disk(&cluster, &pool_id, "images").await, Vec::<String>::new(), "no bytes stay");
    let mut wrong = upload(&pool_id, "sum", 3);
    wrong.sha256 = "00".repeat(32);
    let opened = cluster.ok(calls.create_upload(wrong).await).into_owned();
    cluster.patch(&opened.upload_path, 0, b"abc").await;
    assert_eq!(cluster.task_failed(&opened.task_id).await.code, FaultCode::ImageChecksumMismatch);
    assert!(!on_disk(&cluster, &pool_id, "").await.contains(&"sum".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_of_a_file_goes_on_after_both_daemons_died() {
    let mut cluster = Cluster::start().await;
    let pool_id = cluster.pool("main").await;
    let bytes = words(3 << 20);
    let request = upload(&pool_id, "big.txt", bytes.len());
    let opened = cluster.ok(cluster.client.files().create_upload(request).await).into_owned();
    let begin = [("upload-offset", "0")];
    cluster.http("PATCH", &opened.upload_path, &begin, &bytes[..1 << 20], bytes.len()).await;
    until("a part is safe", DEADLINE, async || cluster.offset(&opened.upload_path).await.filter(|n| *n > 0))
        .await;
    cluster.kill_node();
    cluster.kill_vdc();
    cluster.start_node().await;
    cluster.start_vdc().await;
    let offset =
        until("the offset is known", DEADLINE, async || cluster.offset(&opened.upload_path).await).await;
    let from = usize::try_from(offset).unwrap();
    assert!(from <= 1 << 20);
    assert_eq!(cluster.patch(&opened.upload_path, offset, &bytes[from..]).await.status, 204);
    cluster.task_done(&opened.task_id).await;
    let whole = cluster.http("GET", &download_path(&pool_id, "big.txt"), &[], b"", 0).await;
    assert!(whole.body.as_bytes() == bytes, "not one byte is lost or doubled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_nobody_touches_ends_after_a_day_and_leaves_nothing() {
    let mut cluster = Cluster::start().await;
    let pool_id = cluster.pool("main").await;
    let bytes = words(3 << 20);
    let request = upload(&pool_id, "left.txt", bytes.len());
    let file = cluster.ok(cluster.client.files().create_upload(request).await).into_owned();
    let image = cluster.declare("left.img", &pool_id, &bytes).await;
    let paths = [&file.upload_path, &image.upload_path];
    for path in paths {
        let begin = [("upload-offset", "0")];
        cluster.http("PATCH", path, &begin, &bytes[..1 << 20], bytes.len()).await;
        until("a part is safe", DEADLINE, async || cluster.offset(path).await.filter(|n| *n > 0)).await;
    }
    assert_eq!(on_disk(&cluster, &pool_id, "images").await.len(), 2, "both lie on the host");
    cluster.clock.advance(Duration::from_secs(23 * 3600));
    cluster.sign_in().await;
    for path in paths {
        until("still awaited", DEADLINE, async || cluster.offset(path).await.filter(|n| *n > 0)).await;
    }
    // That somebody asked is no byte: the day goes on.
    cluster.clock.advance(Duration::from_secs(2 * 3600));
    cluster.sign_in().await;
    for (path, task) in paths.into_iter().zip([&file.task_id, &image.task_id]) {
        // Whoever asks wakes the task, which otherwise looks every half minute.
        until("it has ended", DEADLINE, async || cluster.offset(path).await.is_none().then_some(())).await;
        let why = cluster.task_failed(task).await;
        assert_eq!(why.code, FaultCode::UploadIncomplete, "{why}");
        assert!(why.message.contains("24 hours") && why.cause.contains("3145728 bytes"), "{why}");
        let late = cluster.patch(path, 1 << 20, b"more").await;
        assert!(late.body.contains("UPLOAD_INCOMPLETE"), "the sender hears why: {}", late.body);
    }
    assert_eq!(on_disk(&cluster, &pool_id, "images").await, Vec::<String>::new(), "nothing stays");
    let names = on_disk(&cluster, &pool_id, "").await;
    assert!(!names.contains(&"left.txt".to_owned()), "{names:?}");
}
