//! Every way in which adding a host can fail, provoked by scripted strangers on loopback and asked for through the vDC's own
//! API: the code, and the sentence a person reads. What came of it stands in `target/artefacts/registration-errors.txt`.

use quantix_client::tls::{self, Identity};
use quantix_client::{Registration, RegistrationToken};
use quantix_lab::cluster::Cluster;
use quantix_model::{Fault, FaultCode};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// How a stranger behaves.
#[derive(Clone)]
enum Script {
    /// These bytes to whoever asks for this path; the first that fits.
    Says(Vec<(&'static str, Vec<u8>)>),
    /// A body without end.
    Endless,
    /// One byte now and then.
    Drips,
    /// Takes the connection and says nothing.
    Silent,
    /// Closes what it accepted.
    Resets,
    /// Speaks, but no TLS.
    Plain,
    /// Answers the handshake as a server that knows no TLS newer than 1.1 (RFC 5246, 7.2.2: protocol_version).
    OldTls,
}

struct Stranger {
    url: String,
    token: String,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn identity(last_year: i32) -> Identity {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["new.host".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(last_year, 1, 1);
    Identity::from_pem(&params.self_signed(&key).unwrap().pem(), &key.serialize_pem()).unwrap()
}

async fn stranger(script: Script) -> Stranger {
    stranger_until(script, 2999).await
}

async fn stranger_until(script: Script, last_year: i32) -> Stranger {
    let identity = identity(last_year);
    let acceptor = TlsAcceptor::from(tls::server(&identity, None).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let token = RegistrationToken::generate(tls::fingerprint(identity.leaf_der())).unwrap().to_string();
    let task = tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let (script, acceptor) = (script.clone(), acceptor.clone());
            tokio::spawn(async move {
                match script {
                    Script::Resets => {}
                    Script::Silent => tokio::time::sleep(Duration::from_secs(60)).await,
                    Script::Plain => drop(tcp.write_all(b"220 smtp ready\r\n").await),
                    Script::OldTls => {
                        let mut hello = [0; 4096];
                        let _ = tcp.read(&mut hello).await;
                        let _ = tcp.write_all(&[0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x46]).await;
                    }
                    script => {
                        if let Ok(stream) = acceptor.accept(tcp).await {
                            answer(stream, script).await;
                        }
                    }
                }
            });
        }
    });
    Stranger { url, token, task }
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, script: Script) {
    let mut request = vec![0; 8192];
    let read = stream.read(&mut request).await.unwrap_or(0);
    let request = String::from_utf8_lossy(&request[..read]).into_owned();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2147483648\r\n\r\n";
    match script {
        Script::Says(pages) => {
            let page = pages.iter().find(|(path, _)| request.contains(path));
            let _ = stream.write_all(page.map_or(b"".as_slice(), |(_, bytes)| bytes)).await;
        }
        Script::Endless => {
            let _ = stream.write_all(head.as_bytes()).await;
            while stream.write_all(&[b' '; 64 << 10]).await.is_ok() {}
        }
        Script::Drips => {
            let _ = stream.write_all(head.as_bytes()).await;
            while stream.write_all(b" ").await.is_ok() {
                let _ = stream.flush().await;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        _ => {}
    }
    let _ = stream.shutdown().await;
}

fn http(status: &str, kind: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

fn json(body: &serde_json::Value) -> Vec<u8> {
    http("200 OK", "application/json", &body.to_string())
}

fn ping(skew_ms: i64, level: u32, product: &str) -> Vec<u8> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let time = i64::try_from(now.as_millis()).unwrap() + skew_ms;
    json(&serde_json::json!({
        "status": "ok", "product": product, "version": "0.1.0", "time_unix_ms": time, "api_level": level
    }))
}

fn says(bytes: Vec<u8>) -> Script {
    Script::Says(vec![("/", bytes)])
}

/// A host that answers its ping and then refuses the token, in the words of a real one.
fn refuses(code: FaultCode) -> Script {
    let fault = Fault::new(code, format!("The host says {code}."), "As the host says.");
    let body = serde_json::json!({ "fault": fault }).to_string();
    Script::Says(vec![
        ("/ping", ping(0, 1, "quantix-node")),
        ("/token", http("401 Unauthorized", "application/json", &body)),
    ])
}

struct Table {
    lines: Vec<String>,
    codes: Vec<FaultCode>,
}

impl Table {
    /// The fault must have this code and say this; secrets are nowhere in it.
    fn check(&mut self, what: &str, place: &Stranger, fault: &Fault, code: FaultCode, sentence: &str) {
        let said = fault.message.replace(&place.url, "HOST");
        assert_eq!(fault.code, code, "{what}: {fault}");
        assert!(said.contains(sentence), "{what}: {said}");
        assert!(!fault.remedy.is_empty(), "{what}");
        assert!(!format!("{fault:?}").contains(&place.token[..30]), "{what} tells the token");
        self.add(what, fault, &said);
    }

    fn add(&mut self, what: &str, fault: &Fault, said: &str) {
        let phase = if fault.phase.is_empty() { "-" } else { &fault.phase };
        self.lines.push(format!(
            "{:<24} {phase:<9} {what:<38} {said} | {}",
            fault.code.as_str(),
            fault.remedy
        ));
        self.codes.push(fault.code);
    }
}

fn bad_answers() -> Vec<(&'static str, Script, FaultCode, &'static str)> {
    use FaultCode as C;
    let html = "<!doctype html><title>Old</title>";
    let redirect = |to: &str| http(&format!("302 Found\r\nlocation: {to}"), "text/plain", "");
    vec![
        (
            "HTML 200",
            says(http("200 OK", "text/html", html)),
            C::HostFirmwareOutdated,
            "knows no registration",
        ),
        (
            "HTML 404",
            says(http("404 Not Found", "text/html", html)),
            C::HostFirmwareOutdated,
            "knows no registration",
        ),
        (
            "error 502",
            says(http("502 Bad Gateway", "text/html", html)),
            C::HostApiNotAvailable,
            "an error (502)",
        ),
        ("empty answer", says(Vec::new()), C::HostConnectionFailed, "broke off"),
        (
            "empty JSON",
            says(http("200 OK", "application/json", "")),
            C::InvalidResponse,
            "not what a Quantix host says",
        ),
        (
            "half JSON",
            says(http("200 OK", "application/json", "{\"status\": \"o")),
            C::InvalidResponse,
            "not what",
        ),
        ("2 GB of JSON", Script::Endless, C::InvalidResponse, "far more than a Quantix host"),
        ("slow bytes", Script::Drips, C::ConnectionTimeout, "did not answer within 15 s"),
        ("redirect to itself", says(redirect("/api/v1/registration/ping")), C::InvalidResponse, "not what"),
        (
            "redirect to metadata",
            says(redirect("http://169.254.169.254/latest")),
            C::InvalidResponse,
            "not what",
        ),
        ("another product", says(ping(0, 1, "toaster")), C::InvalidResponse, "is no Quantix host"),
        (
            "older API level",
            says(ping(0, 0, "quantix-node")),
            C::VersionUnsupported,
            "is too old for this vDC",
        ),
        (
            "newer API level",
            says(ping(0, 9, "quantix-node")),
            C::VersionUnsupported,
            "is newer than this vDC",
        ),
        ("clock 1 h behind", says(ping(-3_600_000, 1, "quantix-node")), C::ClockSkew, "3600 s apart"),
        ("clock 1 h ahead", says(ping(3_600_500, 1, "quantix-node")), C::ClockSkew, "3600 s apart"),
        ("no TLS", Script::Plain, C::TlsError, "does not speak TLS"),
        ("TLS 1.1", Script::OldTls, C::TlsError, "TLS handshake with HOST failed"),
        ("silence", Script::Silent, C::ConnectionTimeout, "did not answer in time"),
        ("reset", Script::Resets, C::TlsError, "TLS handshake"),
        ("token not made yet", refuses(C::TokenMissing), C::TokenMissing, "TOKEN_MISSING"),
        ("token expired", refuses(C::TokenExpired), C::TokenExpired, "TOKEN_EXPIRED"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_error_has_its_code_and_its_sentence() {
    let cluster = Cluster::apart().await;
    let mut table = Table { lines: Vec::new(), codes: Vec::new() };
    let cases = bad_answers();
    // All at once: the slow ones wait side by side.
    let asked = cases.iter().map(async |(what, script, code, sentence)| {
        let host = stranger(script.clone()).await;
        let fault = cluster.probe(&host.url, &host.token).await.expect_err(what);
        (*what, host, fault, *code, *sentence)
    });
    for (what, host, fault, code, sentence) in futures::future::join_all(asked).await {
        table.check(what, &host, &fault, code, sentence);
    }
    certificates(&cluster, &mut table).await;
    addresses(&cluster, &mut table).await;
    the_real_host(&cluster, &mut table).await;
    table.lines.sort();
    let text = table.lines.join("\n") + "\n";
    let folder = quantix_lab::rig::target().join("artefacts");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("registration-errors.txt"), &text).unwrap();
    // Every code of registration but one is in it; no route needs two networks (`two_networks`).
    let registration = FaultCode::ALL.iter().filter(|code| (40..60).contains(&code.number()));
    let missing: Vec<_> = registration.filter(|code| !table.codes.contains(code)).collect();
    assert_eq!(missing, [&FaultCode::NetworkUnreachable]);
}

async fn certificates(cluster: &Cluster, table: &mut Table) {
    let good = || says(ping(0, 1, "quantix-node"));
    let (one, two) = (stranger(good()).await, stranger(good()).await);
    let fault = cluster.probe(&one.url, &two.token).await.expect_err("pinned");
    table.check("another certificate", &one, &fault, FaultCode::TlsError, "(fingerprint)");
    let old = stranger_until(good(), 2021).await;
    let fault = cluster.probe(&old.url, &old.token).await.expect_err("expired");
    table.check("expired certificate", &old, &fault, FaultCode::TlsError, "(expiry)");
    assert!(fault.cause.contains("clock"), "both clocks: {}", fault.cause);
}

async fn addresses(cluster: &Cluster, table: &mut Table) {
    let token = RegistrationToken::generate(tls::fingerprint(b"x")).unwrap().to_string();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for (what, url, code, sentence) in [
        (
            "nobody listens",
            format!("https://{closed}"),
            FaultCode::HostConnectionFailed,
            "refused the connection",
        ),
        (
            "unknown name",
            "https://no-such-host.invalid".into(),
            FaultCode::HostConnectionFailed,
            "has no address",
        ),
        ("plain http", "http://192.0.2.1".into(), FaultCode::InvalidRequest, "only https is spoken"),
        ("cloud metadata", "https://169.254.169.254".into(), FaultCode::InvalidRequest, "link-local"),
        ("user in the URL", "https://root@192.0.2.1".into(), FaultCode::InvalidRequest, "user or password"),
    ] {
        let fault = cluster.probe(&url, &token).await.expect_err(what);
        assert_eq!(fault.code, code, "{what}: {fault}");
        assert!(fault.message.contains(sentence), "{what}: {fault}");
        table.add(what, &fault, &fault.message.replace(&url, "HOST"));
    }
    let fault = cluster.probe("https://127.0.0.1:1", "no token").await.expect_err("no token");
    assert_eq!((fault.code, fault.phase.as_str()), (FaultCode::TokenInvalid, "TOKEN"), "{fault}");
    table.add("text that is no token", &fault, &fault.message);
}

/// What only a real host can say.
async fn the_real_host(cluster: &Cluster, table: &mut Table) {
    let url = cluster.host_url();
    let real: RegistrationToken = cluster.host_token().await.parse().unwrap();
    let wrong = RegistrationToken::generate(real.fingerprint).unwrap().to_string();
    let fault = cluster.probe(&url, &wrong).await.expect_err("wrong");
    assert_eq!(fault.code, FaultCode::TokenInvalid, "{fault}");
    table.add("wrong token", &fault, &fault.message.replace(&url, "HOST"));

    // Twice at once: the second finds the machine known, or its token used up.
    let (one, two) =
        (cluster.probe(&url, &real.to_string()).await, cluster.probe(&url, &real.to_string()).await);
    let (one, two) = (one.unwrap(), two.unwrap());
    let both =
        futures::future::join(cluster.add_host(&one, "host-1"), cluster.add_host(&two, "host-2")).await;
    let refused: Vec<Fault> = match both {
        (Ok(_), Err(err)) | (Err(err), Ok(_)) => vec![quantix_contract::fault::from_connect(&err).unwrap()],
        (first, second) => panic!("{:?} {:?}", first.is_ok(), second.is_ok()),
    };
    let codes = [FaultCode::HostAlreadyExists, FaultCode::TokenInvalid];
    assert!(codes.contains(&refused[0].code), "{}", refused[0]);
    table.add("the same host twice at once", &refused[0], &refused[0].message);
    cluster.host_ready().await;

    let direct = Registration::new(&url, &real.to_string()).unwrap().token().await.expect_err("used up");
    assert!([FaultCode::TokenInvalid, FaultCode::TokenMissing].contains(&direct.code), "{direct}");
    table.add("token used already", &direct, &direct.message.replace(&url, "HOST"));
    let again = cluster.host_token().await;
    let probed = cluster.probe(&url, &again).await.expect("it may be enrolled anew");
    let fault = cluster.refused(cluster.add_host(&probed, "host-3").await);
    assert_eq!(fault.code, FaultCode::HostAlreadyExists, "{fault}");
    table.add("a host that is registered", &fault, &fault.message);
}
