//! Registration over a line that breaks: the host did what it was asked, and nobody heard.

use quantix_contract::quantix::host::v1::AddHostRequest;
use quantix_lab::cluster::{Cluster, DEADLINE};
use quantix_lab::rig::until;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A line to the host that can lose answers.
struct Line {
    url: String,
    /// So many of the next calls are heard by the host and not answered.
    lose: Arc<AtomicU32>,
}

impl Line {
    async fn to(cluster: &Cluster) -> Line {
        let host: SocketAddr = cluster.host_url().trim_start_matches("https://").parse().expect("an address");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let url = format!("https://{}", listener.local_addr().expect("bound"));
        let lose = Arc::new(AtomicU32::new(0));
        let losing = lose.clone();
        tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                let loses =
                    losing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
                tokio::spawn(carry(from, host, loses));
            }
        });
        Line { url, lose }
    }
}

/// Carries bytes both ways. A line that loses the answer lets the TLS handshake through: what the host says after the
/// client spoke for the second time is dropped, and the line cut.
async fn carry(mut from: TcpStream, host: SocketAddr, loses: bool) {
    let Ok(mut to) = TcpStream::connect(host).await else { return };
    if !loses {
        let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
        return;
    }
    let (mut spoken, mut heard) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut host_spoke_first = false;
    loop {
        tokio::select! {
            n = from.read(&mut spoken) => match n {
                Ok(n) if n > 0 => {
                    if to.write_all(&spoken[..n]).await.is_err() { return }
                    if host_spoke_first { break }
                }
                _ => return,
            },
            n = to.read(&mut heard) => match n {
                Ok(n) if n > 0 => {
                    host_spoke_first = true;
                    if from.write_all(&heard[..n]).await.is_err() { return }
                }
                _ => return,
            },
        }
    }
    // The call itself may come behind the end of the handshake, in pieces.
    let calm = std::time::Duration::from_millis(300);
    loop {
        tokio::select! {
            n = from.read(&mut spoken) => match n {
                Ok(n) if n > 0 => { if to.write_all(&spoken[..n]).await.is_err() { return } }
                _ => return,
            },
            n = to.read(&mut heard) => if !matches!(n, Ok(n) if n > 0) { return },
            () = tokio::time::sleep(calm) => return,
        }
    }
}

async fn probed(cluster: &Cluster, line: &Line) -> String {
    let token = cluster.host_token().await;
    cluster.probe(&line.url, &token).await.expect("the probe goes well")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_to_confirm_is_asked_for_again() {
    let cluster = Cluster::apart().await;
    let line = Line::to(&cluster).await;
    let probe = probed(&cluster, &line).await;
    line.lose.store(1, Ordering::SeqCst);
    let host = cluster.ok(cluster.add_host(&probe, "host-1").await);
    assert_eq!(line.lose.load(Ordering::SeqCst), 0, "one answer was lost");
    assert_eq!(cluster.host_ready().await.id, host.id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_beats_was_told_though_no_answer_came() {
    let cluster = Cluster::apart().await;
    let line = Line::to(&cluster).await;
    let probe = probed(&cluster, &line).await;
    line.lose.store(u32::MAX, Ordering::SeqCst);
    let host = cluster.ok(cluster.add_host(&probe, "host-1").await);
    line.lose.store(0, Ordering::SeqCst);
    assert_eq!(cluster.host_ready().await.id, host.id);
    cluster.pool("main").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_died_after_it_was_told_is_added_by_asking_again() {
    let mut cluster = Cluster::apart().await;
    let line = Line::to(&cluster).await;
    let probe = probed(&cluster, &line).await;
    line.lose.store(u32::MAX, Ordering::SeqCst);
    let request = AddHostRequest { probe_id: probe.clone(), name: "host-1".into(), ..Default::default() };
    let client = cluster.client.clone();
    let adding = tokio::spawn(async move { client.hosts().add_host(request).await.map(drop) });
    until("the host was told", DEADLINE, async || cluster.is_registered().then_some(())).await;
    cluster.kill_node();
    let first = adding.await.expect("it does not panic");
    line.lose.store(0, Ordering::SeqCst);
    cluster.start_node().await;
    if first.is_err() {
        // It died before its first beat: nothing stayed on record, and the same is asked for again.
        cluster.ok(cluster.add_host(&probe, "host-1").await);
    }
    assert_eq!(cluster.host_ready().await.name, "host-1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_that_goes_away_ends_nothing() {
    let cluster = Cluster::apart().await;
    let line = Line::to(&cluster).await;
    let probe = probed(&cluster, &line).await;
    // Long enough for the browser to go in the middle.
    line.lose.store(1, Ordering::SeqCst);
    let request = AddHostRequest { probe_id: probe, name: "host-1".into(), ..Default::default() };
    let client = cluster.client.clone();
    let adding = tokio::spawn(async move { client.hosts().add_host(request).await.map(drop) });
    until("the host was told", DEADLINE, async || cluster.is_registered().then_some(())).await;
    adding.abort();
    assert_eq!(cluster.host_ready().await.name, "host-1");
}
