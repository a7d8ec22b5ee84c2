//! Every way a first contact can fail, against real sockets and real TLS.

use quantix_client::clock::Clock;
use quantix_client::tls::{self, Identity};
use quantix_client::{Registration, RegistrationToken};
use quantix_model::{Fault, FaultCode};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

struct Stranger {
    url: String,
    token: RegistrationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn certificate(not_after_days: i64) -> Identity {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(vec!["new.host".to_owned()]).expect("a name");
    let now = time::OffsetDateTime::now_utc();
    params.not_before = now - time::Duration::days(10);
    params.not_after = now + time::Duration::days(not_after_days);
    let cert = params.self_signed(&key).expect("signs itself");
    Identity::from_pem(&cert.pem(), &key.serialize_pem()).expect("our own PEM")
}

/// Answers every request with these bytes, then closes.
async fn stranger(answer: impl Into<Vec<u8>>, days: i64) -> Stranger {
    let identity = certificate(days);
    let answer: Vec<u8> = answer.into();
    let acceptor = TlsAcceptor::from(tls::server(&identity, None).expect("a server"));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://{}", listener.local_addr().expect("bound"));
    let token = RegistrationToken::generate(tls::fingerprint(identity.leaf_der())).expect("random");
    let task = tokio::spawn(async move {
        loop {
            let Ok((tcp, _)) = listener.accept().await else { return };
            let Ok(mut stream) = acceptor.accept(tcp).await else { continue };
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(&answer).await;
            let _ = stream.shutdown().await;
        }
    });
    Stranger { url, token, task }
}

fn http(status: &str, kind: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn ping(skew: i64, level: u32, product: &str) -> Vec<u8> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let now = i64::try_from(now.as_millis()).expect("in range") + skew;
    let body = serde_json::json!({"status": "ok", "product": product, "version": "0.1.0", "time_unix_ms": now, "api_level": level});
    http("200 OK", "application/json", &body.to_string())
}

async fn ping_of(stranger: &Stranger) -> Result<quantix_client::registration::Contact, Fault> {
    Registration::new(&stranger.url, &stranger.token.to_string())?.ping().await
}

#[tokio::test]
async fn a_good_host_answers() {
    let host = stranger(ping(0, 1, "quantix-node"), 10).await;
    let contact = ping_of(&host).await.expect("answers");
    assert_eq!(tls::fingerprint(&contact.certificate_der), host.token.fingerprint);
    assert!(contact.clock_skew_ms.abs() < 5_000);
    let offered = Registration::offer(&host.url).expect("a URL").ping().await.expect("answers");
    assert_eq!(offered.certificate_der, contact.certificate_der);
}

#[tokio::test]
async fn each_bad_answer_has_its_code() {
    let fault = |code: &str, number: u16| {
        let fault = Fault::new(
            FaultCode::ALL.iter().copied().find(|c| c.as_str() == code).expect("a code"),
            "It says no.",
            "Do something.",
        );
        let body = serde_json::json!({ "fault": fault }).to_string();
        http(&format!("{number} No"), "application/json", &body)
    };
    let huge = "x".repeat(2 << 20);
    let cases: Vec<(&str, Vec<u8>, FaultCode)> = vec![
        (
            "html",
            http("200 OK", "text/html; charset=utf-8", "<html>old</html>"),
            FaultCode::HostFirmwareOutdated,
        ),
        ("404", http("404 Not Found", "text/plain", "nothing"), FaultCode::HostFirmwareOutdated),
        ("404 json", fault("UNKNOWN_PATH", 404), FaultCode::HostFirmwareOutdated),
        ("500", http("502 Bad Gateway", "text/html", "<html>"), FaultCode::HostApiNotAvailable),
        ("no json", http("200 OK", "application/json", "hello\u{7}\u{1b}[2J"), FaultCode::InvalidResponse),
        ("other json", http("200 OK", "application/json", "{\"a\":1}"), FaultCode::InvalidResponse),
        (
            "redirect",
            http("302 Found\r\nlocation: https://127.0.0.1/", "text/plain", ""),
            FaultCode::InvalidResponse,
        ),
        ("other product", ping(0, 1, "toaster"), FaultCode::InvalidResponse),
        ("huge", http("200 OK", "application/json", &huge), FaultCode::InvalidResponse),
        ("no http", b"220 smtp ready\r\n".to_vec(), FaultCode::HostConnectionFailed),
        ("nothing", Vec::new(), FaultCode::HostConnectionFailed),
        ("old", ping(0, 0, "quantix-node"), FaultCode::VersionUnsupported),
        ("new", ping(0, 2, "quantix-node"), FaultCode::VersionUnsupported),
        ("late", ping(-301_000, 1, "quantix-node"), FaultCode::ClockSkew),
        ("early", ping(302_000, 1, "quantix-node"), FaultCode::ClockSkew),
        ("missing", fault("TOKEN_MISSING", 401), FaultCode::TokenMissing),
        ("invalid", fault("TOKEN_INVALID", 401), FaultCode::TokenInvalid),
        ("expired", fault("TOKEN_EXPIRED", 401), FaultCode::TokenExpired),
    ];
    for (what, answer, code) in cases {
        let host = stranger(answer, 10).await;
        let fault = ping_of(&host).await.expect_err(what);
        assert_eq!(fault.code, code, "{what}: {fault}");
        assert_eq!(fault.phase, "PING", "{what}");
        assert!(!fault.message.is_empty() && !fault.remedy.is_empty(), "{what}");
        let evidence = fault.evidence.expect(what);
        assert!(evidence.url.starts_with(&host.url), "{what}");
        assert!(!evidence.body_start.chars().any(char::is_control), "{what}");
        assert!(!format!("{evidence:?}").contains(&host.token.to_string()), "{what}");
    }
}

#[tokio::test]
async fn another_certificate_and_an_expired_one_are_told_apart() {
    let one = stranger(ping(0, 1, "quantix-node"), 10).await;
    let two = stranger(ping(0, 1, "quantix-node"), 10).await;
    let wrong = Registration::new(&one.url, &two.token.to_string()).expect("both are good");
    let fault = wrong.ping().await.expect_err("pinned");
    assert_eq!(fault.code, FaultCode::TlsError);
    assert!(fault.message.contains("fingerprint"), "{fault}");
    assert!(fault.cause.contains(&two.token.fingerprint.to_string()), "{fault}");

    let old = stranger(ping(0, 1, "quantix-node"), -1).await;
    let fault = ping_of(&old).await.expect_err("expired");
    assert_eq!(fault.code, FaultCode::TlsError);
    assert!(fault.message.contains("expiry"), "{fault}");
    assert!(fault.cause.contains("valid from") && fault.cause.contains("clock"), "{fault}");
}

#[tokio::test]
async fn what_is_no_tls_is_said_to_be_none() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://{}", listener.local_addr().expect("bound"));
    let task = tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let _ = tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            let mut rest = [0; 1024];
            let _ = tcp.read(&mut rest).await;
        }
    });
    let token = RegistrationToken::generate(tls::fingerprint(b"x")).expect("random");
    let fault = Registration::new(&url, &token.to_string()).expect("good").ping().await.expect_err("no TLS");
    assert_eq!(fault.code, FaultCode::TlsError, "{fault}");
    assert!(fault.message.contains("does not speak TLS"), "{fault}");
    task.abort();
}

#[tokio::test]
async fn refused_unknown_and_silent_are_told_apart() {
    let token = RegistrationToken::generate(tls::fingerprint(b"x")).expect("random").to_string();
    let ask = async |url: &str| Registration::new(url, &token).expect("good").ping().await.expect_err(url);

    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://{}", closed.local_addr().expect("bound"));
    drop(closed);
    let fault = ask(&url).await;
    assert_eq!(fault.code, FaultCode::HostConnectionFailed, "{fault}");
    assert!(fault.message.contains("refused"), "{fault}");

    let fault = ask("https://no-such-host.invalid").await;
    assert_eq!(fault.code, FaultCode::HostConnectionFailed, "{fault}");
    assert!(fault.message.contains("no address"), "{fault}");

    // Accepts, and says nothing: the handshake must not wait for ever.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://{}", silent.local_addr().expect("bound"));
    let asked = tokio::time::timeout(Duration::from_secs(10), ask(&url)).await.expect("has a deadline");
    assert_eq!(asked.code, FaultCode::ConnectionTimeout, "{asked}");
}

#[tokio::test]
async fn mutual_tls_finds_the_host_by_its_key_not_its_address() {
    let ca_key = rcgen::KeyPair::generate().expect("a key");
    let mut ca = rcgen::CertificateParams::new(Vec::new()).expect("no names");
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.distinguished_name.push(rcgen::DnType::CommonName, "CA");
    let ca_pem = ca.self_signed(&ca_key).expect("signs itself").pem();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let issue = |name: &str| {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let cert = params.signed_by(&key, &issuer).expect("signs");
        assert!(tls::check_issued(&cert.pem(), &ca_pem, name, Clock::system().now()).is_ok());
        assert!(tls::check_issued(&cert.pem(), &ca_pem, "other.example", Clock::system().now()).is_err());
        Identity::from_pem(&cert.pem(), &key.serialize_pem()).expect("our own PEM")
    };
    let id: quantix_model::id::HostId = "00000000-0000-4000-8000-000000000001".parse().expect("an id");
    let server = tls::server(&issue(&tls::host_name(id)), Some(&ca_pem)).expect("a server");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url: quantix_client::HostUrl =
        format!("https://{}", listener.local_addr().expect("bound")).parse().expect("a URL");
    let acceptor = TlsAcceptor::from(Arc::clone(&server));
    let task = tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            if let Ok(mut stream) = acceptor.accept(tcp).await {
                let who = stream.get_ref().1.peer_certificates().map(|c| c[0].to_vec()).unwrap_or_default();
                let facts = tls::CertificateFacts::read(&who).expect("a certificate");
                let _ = stream.write_all(facts.dns_names[0].as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        }
    });
    let config = tls::mutual_client(&issue(tls::VDC_NAME), &ca_pem).expect("a client");
    let dial = quantix_client::dial::Dial::new(url.clone(), &tls::host_name(id), Arc::clone(&config));
    let mut line = dial.expect("a name").connect(&[]).await.expect("both trust the CA");
    let mut seen = String::new();
    line.read_to_string(&mut seen).await.expect("closes well");
    assert_eq!(seen, tls::VDC_NAME);

    let other = quantix_client::dial::Dial::new(url, "someone-else.host.quantix.internal", config);
    assert!(other.expect("a name").connect(&[]).await.is_err());
    task.abort();
}
