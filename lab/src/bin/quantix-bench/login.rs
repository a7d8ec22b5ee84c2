//! What a sign-in costs, and what others notice of a flood of wrong ones.
//!
//! The flood runs on threads of the lowest priority, so that what is measured is the vDC and not who floods it. It keeps
//! many attempts under way at once, each connection from an address of its own for as long as that address has attempts
//! in hand; or, in the second row, all from one address, which is turned away.

use quantix_client::VdcClient;
use quantix_client::tls::VDC_NAME;
use quantix_contract::quantix::session::v1 as session;
use quantix_contract::quantix::vm::v1 as vm;
use quantix_control::services::password::{Cost, Passwords};
use quantix_lab::fleet::seed::Size;
use quantix_lab::fleet::vdc::FleetVdc;
use quantix_lab::measure::{Figures, ratio, usage};
use quantix_lab::rig::PASSWORD;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;

const LOGINS: usize = 15;
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(12);
/// Requests of others, each second, whether those before were answered or not.
const OTHERS_PER_SECOND: u32 = 100;
/// Attempts under way at once.
const ATTACKERS: u64 = 64;
/// Attempts of one connection.
const ATTEMPTS: u32 = 25;
/// All attackers together try so often each second at most: more measures who floods.
const ATTEMPTS_PER_SECOND: u64 = 500;

/// Where a flood comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Many,
    One,
}

/// Prints argon2id per login, and p50 and p99 of others without and with a flood.
#[allow(clippy::print_stdout, reason = "the figures are the output")]
pub async fn login(dir: &Path) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let passwords = Passwords::new(Cost::DEFAULT);
    let (mut hash, cpu) = (Figures::default(), usage(std::process::id()).cpu);
    for _ in 0..LOGINS {
        let begun = Instant::now();
        let _ = passwords.check(PASSWORD, None).await;
        hash.add(begun.elapsed());
    }
    let Cost { mib, passes } = Cost::DEFAULT;
    let cpu = (usage(std::process::id()).cpu - cpu) / u32::try_from(LOGINS).unwrap_or(1);
    println!(
        "login   argon2id, {mib} MiB {passes} passes   {hash}, {} ms of processor each",
        cpu.as_millis()
    );
    let vdc = FleetVdc::start(dir, None, Size::of(1, 2, 20)).await.expect("a vDC starts");
    let client = vdc.sign_in().await.expect("its admin signs in");
    let mut whole = Figures::default();
    for _ in 0..LOGINS {
        let begun = Instant::now();
        sign_in(&vdc).await;
        whole.add(begun.elapsed());
    }
    println!("login   connection and sign-in       {whole}");
    let to: SocketAddr = vdc.url().trim_start_matches("https://").parse().expect("an address of loopback");
    let mut seen: [[Figures; 2]; 3] = Default::default();
    let mut attempts = [0; 3];
    for _ in 0..ROUNDS {
        for (at, flood) in [None, Some(From::Many), Some(From::One)].into_iter().enumerate() {
            let flood = flood.map(|from| Flood::start(to, from));
            let [median, p99] = round(&client).await;
            attempts[at] += flood.map_or(0, Flood::stop);
            seen[at][0].add(median);
            seen[at][1].add(p99);
        }
    }
    for (at, name) in ["healthy", "flood, many addresses", "flood, one address"].iter().enumerate() {
        let [median, p99] = &seen[at];
        let (median, p99, healthy) = (median.median(), p99.median(), seen[0][1].median());
        let rate = attempts[at] as f64 / (ROUND * u32::try_from(ROUNDS).unwrap_or(1)).as_secs_f64();
        println!(
            "login   others, {name:<22} median {median:.2?}, p99 {p99:.2?}, {} of healthy, {rate:.0} attempts/s",
            ratio(p99, healthy)
        );
    }
}

/// A new connection, and name and password over it.
async fn sign_in(vdc: &FleetVdc) {
    let tls = quantix_client::tls::client(&vdc.seeded.ca_pem).expect("our own authority is good");
    let client = VdcClient::new(&vdc.url(), VDC_NAME, tls).expect("the address is good");
    let request =
        session::LoginRequest { user_name: "admin".into(), password: PASSWORD.into(), ..Default::default() };
    client.sessions().login(request).await.expect("its admin signs in");
}

/// Asks as somebody who works would; median and p99 of the waits.
async fn round(client: &VdcClient) -> [Duration; 2] {
    let mut tick = tokio::time::interval(Duration::from_secs(1) / OTHERS_PER_SECOND);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let mut asked = tokio::task::JoinSet::new();
    let end = Instant::now() + ROUND;
    while Instant::now() < end {
        let due = tick.tick().await.into_std();
        let client = client.clone();
        asked.spawn(async move {
            let session = client.sessions().get_session(session::GetSessionRequest::default()).await.is_ok();
            let list = client.vms().list_vms(vm::ListVmsRequest::default()).await.is_ok();
            assert!(session && list, "others are served");
            due.elapsed()
        });
    }
    let mut waits = asked.join_all().await;
    waits.sort();
    let at = |share: usize| waits.get(waits.len() * share / 100).copied().unwrap_or_default();
    [at(50), at(99)]
}

/// Wrong logins without end, on a runtime of their own.
struct Flood {
    runtime: tokio::runtime::Runtime,
    over: Arc<AtomicBool>,
    attempts: Arc<AtomicU64>,
}

impl Flood {
    fn start(to: SocketAddr, from: From) -> Flood {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .on_thread_start(|| {
                let _ = rustix::process::nice(19);
            })
            .build()
            .expect("threads can be started");
        let (over, attempts) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let mut tls =
            ClientConfig::clone(&quantix_client::tls::unpinned().expect("our own settings are good"));
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let tls = TlsConnector::from(Arc::new(tls));
        for attacker in 0..ATTACKERS {
            let (over, attempts, tls) = (Arc::clone(&over), Arc::clone(&attempts), tls.clone());
            runtime.spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    // What fails begins anew.
                    let _ = attack(to, from, attacker, &tls, &over, &attempts).await;
                }
            });
        }
        Flood { runtime, over, attempts }
    }

    fn stop(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        self.runtime.shutdown_background();
        self.attempts.load(Ordering::Relaxed)
    }
}

/// Another address each time: each has 30 attempts in hand.
fn next_address(from: From) -> IpAddr {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let n = match from {
        From::Many => NEXT.fetch_add(1, Ordering::Relaxed) % 60_000 + 1000,
        From::One => 1,
    };
    let [high, low] = u16::try_from(n).unwrap_or(1).to_be_bytes();
    IpAddr::from(Ipv4Addr::new(127, 8, high, low))
}

async fn attack(
    to: SocketAddr,
    from: From,
    attacker: u64,
    tls: &TlsConnector,
    over: &AtomicBool,
    attempts: &AtomicU64,
) -> std::io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(next_address(from), 0))?;
    let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
    let mut line = tls.connect(name, socket.connect(to).await?).await?;
    let mut piece = vec![0; 16 << 10];
    let pause = Duration::from_millis(1000 * ATTACKERS / ATTEMPTS_PER_SECOND);
    for n in 0..ATTEMPTS {
        if over.load(Ordering::Relaxed) {
            return Ok(());
        }
        let begun = Instant::now();
        let body = format!("{{\"userName\":\"user-{attacker}-{n}\",\"password\":\"correct horse batterx\"}}");
        let head = format!(
            "POST /quantix.session.v1.SessionService/Login HTTP/1.1\r\nhost: localhost\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        line.write_all(head.as_bytes()).await?;
        line.write_all(body.as_bytes()).await?;
        line.flush().await?;
        // One answer fits into one piece.
        if line.read(&mut piece).await? == 0 {
            return Ok(());
        }
        attempts.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(pause.saturating_sub(begun.elapsed())).await;
    }
    Ok(())
}
