//! What a host wrote down, read through the vDC: page by page, what is new, across lives of the daemon, and when
//! the host is silent.

use quantix_contract::quantix::host::v1 as host;
use quantix_contract::quantix::log::v1 as log;
use quantix_contract::quantix::pool::v1 as pool;
use quantix_lab::cluster::{Cluster, DEADLINE};
use quantix_lab::rig::until;
use quantix_model::{Fault, FaultCode};

const SECRET: &str = "hush-hush-hush";

async fn look(cluster: &Cluster, request: log::ListLogsRequest) -> log::ListLogsResponse {
    let answer = cluster.ok(cluster.client.hosts().list_logs(request).await).into_owned();
    assert!(answer.observed_at.is_set() && answer.host == "host-1", "every value has an age and a source");
    assert!(answer.records.is_sorted_by(|a, b| a.number > b.number), "newest first");
    answer
}

/// Has the host write down a refusal, in words of a program that wants to be more than that.
async fn provoke(cluster: &Cluster, pool_id: &str) {
    let list = pool::ListFilesRequest { pool_id: pool_id.into(), ..Default::default() };
    cluster.refused(cluster.client.pools().list_files(list).await);
}

async fn with_trouble() -> (Cluster, String, String) {
    let cluster = Cluster::start().await;
    let (host_id, pool_id) = (cluster.host_ready().await.id, cluster.pool("main").await);
    let hostile = Fault::new(FaultCode::PoolIoFailed, "The pool is \u{1b}[2Jbroken.", "Mend it.");
    cluster.shelf(&pool_id).fail(Some(hostile.because("mount:\nline two \u{202e}desrever")));
    for _ in 0..5 {
        provoke(&cluster, &pool_id).await;
    }
    (cluster, host_id, pool_id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_tells_what_it_wrote_down() {
    let (cluster, host_id, pool_id) = with_trouble().await;
    let ask = || log::ListLogsRequest {
        host_id: host_id.clone(),
        filter: "refused BROKEN".into(),
        ..Default::default()
    };
    let all = look(&cluster, ask()).await;
    assert_eq!((all.records.len(), all.total, all.gone), (5, 5, 0), "{all:?}");
    let record = &all.records[0];
    assert_eq!(record.target, "quantix_node::api::service");
    assert!(record.message.contains(r"The pool is \u{1b}[2Jbroken."), "{}", record.message);
    assert!(record.message.contains(r"mount:\nline two \u{202e}desrever"), "{}", record.message);
    assert!(record.level == log::LogLevel::LOG_LEVEL_INFO && record.at.is_set());

    // Page by page it is the same.
    let (mut paged, mut token) = (Vec::new(), String::new());
    loop {
        let page = look(&cluster, log::ListLogsRequest { page_size: 2, page_token: token, ..ask() }).await;
        paged.extend(page.records);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(paged, all.records);

    // Only what is new, of a gravity, since a time.
    let after = || log::ListLogsRequest { after: all.newest, epoch: all.epoch.clone(), ..ask() };
    assert_eq!(look(&cluster, after()).await.records, []);
    provoke(&cluster, &pool_id).await;
    let news = look(&cluster, after()).await;
    assert_eq!((news.records.len(), &news.epoch), (1, &all.epoch));
    assert!(news.records[0].number > all.newest);
    let level = log::LogLevel::LOG_LEVEL_WARN.into();
    assert_eq!(look(&cluster, log::ListLogsRequest { level, ..ask() }).await.records, []);
    let since = all.records[0].at.clone();
    let late = look(&cluster, log::ListLogsRequest { since, ..ask() }).await;
    assert!((2..=6).contains(&late.records.len()), "{late:?}");
    assert!(late.kept_level == log::LogLevel::LOG_LEVEL_INFO);

    // What nobody can mean.
    let calls = cluster.client.hosts();
    let bad = log::ListLogsRequest { page_token: "1; drop".into(), ..ask() };
    assert_eq!(cluster.refused(calls.list_logs(bad).await).field, "page_token");
    let bad = log::ListLogsRequest { filter: "x".repeat(2000), ..ask() };
    assert_eq!(cluster.refused(calls.list_logs(bad).await).field, "filter");
    let bad = log::ListLogsRequest { level: 77.into(), ..ask() };
    assert_eq!(cluster.refused(calls.list_logs(bad).await).field, "level");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_life_of_the_daemon_is_said() {
    let (mut cluster, host_id, pool_id) = with_trouble().await;
    let ask = || log::ListLogsRequest {
        host_id: host_id.clone(),
        filter: "broken".into(),
        page_size: 2,
        ..Default::default()
    };
    let before = look(&cluster, ask()).await;
    cluster.kill_node();
    let silent = cluster.host_in(host::HostPhase::HOST_PHASE_DISCONNECTED).await;
    assert_eq!(silent.id, host_id);
    let fault = cluster.refused(cluster.client.hosts().list_logs(ask()).await);
    assert_eq!((fault.code, fault.host.as_str()), (FaultCode::HostDisconnected, "host-1"), "{fault}");
    assert!(fault.message.contains("silent for") && !fault.cause.is_empty(), "{fault}");

    cluster.start_node().await;
    cluster.host_ready().await;
    // It asks for what is new, and hears that everything is.
    provoke(&cluster, &pool_id).await;
    let after = log::ListLogsRequest { after: before.newest, epoch: before.epoch.clone(), ..ask() };
    let news = look(&cluster, after).await;
    assert_ne!(news.epoch, before.epoch);
    assert!(!news.records.is_empty() && news.started_at != before.started_at);
    let old = log::ListLogsRequest { page_token: before.next_page_token, ..ask() };
    let fault = cluster.refused(cluster.client.hosts().list_logs(old).await);
    assert_eq!((fault.code, fault.field.as_str()), (FaultCode::InvalidArgument, "page_token"), "{fault}");
    assert!(fault.message.contains("started anew"), "{fault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_not_among_it() {
    let cluster = Cluster::start().await;
    let host_id = cluster.host_ready().await.id;
    let chap = pool::Chap { user: "vms".into(), password: SECRET.into(), ..Default::default() };
    let lun = pool::IscsiPool {
        portal: "192.0.2.1".into(),
        target: "iqn.2026-01.org.example:vms".into(),
        lun: 1,
        chap: chap.into(),
        volume_group: "vms".into(),
        ..Default::default()
    };
    let wish = pool::CreatePoolRequest {
        name: "lun".into(),
        spec: pool::PoolSpec { backend: Some(lun.into()), ..Default::default() }.into(),
        host_ids: vec![host_id.clone()],
        ..Default::default()
    };
    let made = cluster.ok(cluster.client.pools().create_pool(wish).await).into_owned();
    cluster.task_done(&made.task_id).await;
    let id = made.pool.as_option().unwrap().id.clone();
    let seen = until("the host tells of the pool", DEADLINE, async || {
        let ask = log::ListLogsRequest { host_id: host_id.clone(), page_size: 500, ..Default::default() };
        let seen = look(&cluster, ask).await.records;
        seen.iter().any(|record| record.message.contains(&id)).then_some(seen)
    })
    .await;
    assert!(seen.iter().all(|record| !record.message.contains(SECRET)), "{seen:?}");
}
