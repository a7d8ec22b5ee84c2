//! Directories that are none, or want to do harm: played on loopback.

use crate::ldap::ber::{self, ENUMERATED, INTEGER, OCTETS, Reader, SEQUENCE, SET};
use crate::services::ldap::{Answer, Directory, Limits, Standing, Who};
use quantix_client::tls::{self, Identity};
use quantix_model::Secret;
use quantix_model::fault::{Fault, FaultCode};
use quantix_model::identity::{LdapConfig, Told};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

const LIMITS: Limits = Limits { server: Duration::from_secs(2), all: Duration::from_secs(6) };
const DN: &str = "uid=ada,ou=people,dc=example";

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    ber::put(&mut out, tag, content);
    out
}

fn message(id: u32, tag: u8, content: &[u8]) -> Vec<u8> {
    let mut number = Vec::new();
    ber::put_number(&mut number, INTEGER, id);
    element(SEQUENCE, &[number, element(tag, content)].concat())
}

fn result(code: u8) -> Vec<u8> {
    [element(ENUMERATED, &[code]), element(OCTETS, b""), element(OCTETS, b"its own words")].concat()
}

fn entry(id: u32, dn: &str, attributes: &[(&str, &[&[u8]])]) -> Vec<u8> {
    let list: Vec<u8> = attributes
        .iter()
        .flat_map(|(name, values)| {
            let values: Vec<u8> = values.iter().flat_map(|value| element(OCTETS, value)).collect();
            element(SEQUENCE, &[element(OCTETS, name.as_bytes()), element(SET, &values)].concat())
        })
        .collect();
    message(id, 0x64, &[element(OCTETS, dn.as_bytes()), element(SEQUENCE, &list)].concat())
}

fn ada(id: u32) -> Vec<u8> {
    entry(id, DN, &[("entryUUID", &[b"0001"]), ("uid", &[b"Ada"])])
}

fn done(id: u32) -> Vec<u8> {
    message(id, 0x65, &result(0))
}

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "directory authority");
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { pem, issuer: Issuer::new(params, key) }
    }

    fn identity(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        Identity::from_pem(&leaf.pem(), &key.serialize_pem()).unwrap()
    }
}

/// Accepts for ever; each connection is played by `play`.
async fn listen<F>(play: impl Fn(TcpStream) -> F + Send + 'static) -> u16
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(play(stream));
        }
    });
    port
}

/// Answers questions over TLS: number, tag and content of the question in, bytes out.
async fn directory(
    authority: &Authority,
    answer: impl Fn(u32, u8, &[u8]) -> Vec<u8> + Send + Sync + 'static,
) -> u16 {
    let acceptor = TlsAcceptor::from(tls::server(&authority.identity("127.0.0.1"), None).unwrap());
    let answer = Arc::new(answer);
    listen(move |stream| {
        let (acceptor, answer) = (acceptor.clone(), answer.clone());
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                converse(stream, &*answer).await;
            }
        }
    })
    .await
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    answer: &(impl Fn(u32, u8, &[u8]) -> Vec<u8> + ?Sized),
) {
    let mut buffer = Vec::new();
    loop {
        while let Some((id, tag, content, end)) = question(&buffer) {
            if stream.write_all(&answer(id, tag, &content)).await.is_err() {
                return;
            }
            buffer.drain(..end);
        }
        match stream.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

fn question(buffer: &[u8]) -> Option<(u32, u8, Vec<u8>, usize)> {
    let mut whole = Reader::new(buffer);
    let mut inner = Reader::new(whole.expect(SEQUENCE, "").ok()?);
    let id = ber::number(inner.expect(INTEGER, "").ok()?).ok()?;
    let (tag, content) = inner.any().ok()?;
    let (len, rest) = ber::length(&buffer[1..]).ok()??;
    Some((id, tag, content.to_vec(), buffer.len() - rest.len() + len))
}

/// A directory that is as it should be: Ada, whose password is `right`.
fn good(id: u32, tag: u8, content: &[u8]) -> Vec<u8> {
    match tag {
        0x60 => {
            let wrong = content.windows(3).any(|w| w == b"ada") && !content.windows(5).any(|w| w == b"right");
            message(id, 0x61, &result(if wrong { 49 } else { 0 }))
        }
        0x63 => [ada(id), done(id)].concat(),
        _ => Vec::new(),
    }
}

fn config(authority: &Authority, urls: &[String]) -> LdapConfig {
    LdapConfig {
        urls: urls.to_vec(),
        ca_pem: authority.pem.clone(),
        bind_dn: "cn=reader".into(),
        user_base: "dc=example".into(),
        user_filter: "(uid={name})".into(),
        id_attribute: "entryUUID".into(),
        name_attribute: "uid".into(),
        ..LdapConfig::default()
    }
}

async fn sign_in(config: &LdapConfig, name: &str, password: &str) -> Result<Answer, Fault> {
    let secret = Secret::new("reader's secret");
    let began = Instant::now();
    let answer =
        Directory::new(config, &secret).limited(LIMITS).authenticate(Who::Name(name), password).await;
    assert!(began.elapsed() < LIMITS.all + Duration::from_secs(2), "it held us for {:?}", began.elapsed());
    if let Err(fault) = &answer {
        let shown = format!("{fault:?}");
        assert!(!shown.contains("reader's secret") && !shown.contains("right"), "{shown}");
        assert!(!fault.remedy.is_empty(), "{shown}");
    }
    answer
}

async fn refused(config: &LdapConfig) -> Fault {
    sign_in(config, "ada", "right").await.expect_err("it must be refused")
}

fn ldaps(port: u16) -> String {
    format!("ldaps://127.0.0.1:{port}")
}

#[tokio::test]
async fn one_that_is_well() {
    let authority = Authority::new();
    let port = directory(&authority, good).await;
    let config = config(&authority, &[ldaps(port)]);
    let told = Told { subject: "0001".into(), name: "Ada".into(), groups: vec![] };
    assert_eq!(sign_in(&config, "ada", "right").await.unwrap(), Answer::Right(told));
    assert_eq!(sign_in(&config, "ada", "other").await.unwrap(), Answer::Wrong);
    let mut facts = Vec::new();
    Directory::new(&config, &Secret::new("x")).limited(LIMITS).test(&mut facts).await.unwrap();
    assert!(facts[0].contains("TLS 1.3") && facts[0].contains("directory authority"), "{facts:?}");
    assert_eq!(facts[1..], ["It lets us search as cn=reader.", "1 people found."]);
}

#[tokio::test]
async fn without_a_password_nothing_is_even_tried() {
    let authority = Authority::new();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let port = listen(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        async {}
    })
    .await;
    let config = config(&authority, &[ldaps(port)]);
    assert_eq!(sign_in(&config, "ada", "").await.unwrap(), Answer::Wrong);
    assert_eq!(sign_in(&config, "", "right").await.unwrap(), Answer::Unknown);
    assert_eq!(sign_in(&config, "ada", &"x".repeat(2000)).await.unwrap(), Answer::Wrong);
    let secret = Secret::default();
    let fault = Directory::new(&config, &secret)
        .authenticate(Who::Name("ada"), "right")
        .await
        .expect_err("no secret");
    assert_eq!(fault.field, "secret");
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_password_goes_nowhere_while_nobody_is_found() {
    let authority = Authority::new();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ears = heard.clone();
    let port = directory(&authority, move |id, tag, content| {
        ears.lock().unwrap().extend_from_slice(content);
        if tag == 0x63 { done(id) } else { good(id, tag, content) }
    })
    .await;
    assert_eq!(sign_in(&config(&authority, &[ldaps(port)]), "ada", "right").await.unwrap(), Answer::Unknown);
    let heard = heard.lock().unwrap();
    assert!(heard.windows(3).any(|w| w == b"ada") && !heard.windows(5).any(|w| w == b"right"));
}

#[tokio::test]
async fn silent_slow_and_gone() {
    let authority = Authority::new();
    let silent = listen(|stream| async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(stream);
    })
    .await;
    let fault = refused(&config(&authority, &[ldaps(silent)])).await;
    assert_eq!(fault.code, FaultCode::IdentitySourceUnreachable, "{fault}");
    assert!(fault.message.contains("TLS handshake"), "{fault}");

    let closing = listen(|stream| async move { drop(stream) }).await;
    let fault = refused(&config(&authority, &[ldaps(closing)])).await;
    assert_eq!(fault.code, FaultCode::IdentitySourceUnreachable, "{fault}");

    let acceptor = TlsAcceptor::from(tls::server(&authority.identity("127.0.0.1"), None).unwrap());
    let slow = listen(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            for byte in message(1, 0x61, &result(0)).into_iter().cycle() {
                if stream.write_all(&[byte]).await.is_err() || stream.flush().await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(40)).await;
            }
        }
    })
    .await;
    let fault = refused(&config(&authority, &[ldaps(slow)])).await;
    assert_eq!(fault.code, FaultCode::IdentitySourceUnreachable, "{fault}");

    let mute = directory(&authority, |id, tag, content| match tag {
        0x63 => Vec::new(),
        _ => good(id, tag, content),
    })
    .await;
    let fault = refused(&config(&authority, &[ldaps(mute)])).await;
    assert!(fault.message.contains("looking for the person"), "{fault}");

    let port = { TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port() };
    let nobody = ldaps(port);
    let fault = refused(&config(&authority, std::slice::from_ref(&nobody))).await;
    assert_eq!(fault.code, FaultCode::IdentitySourceUnreachable, "{fault}");

    // Those before it do not keep the last from answering.
    let well = ldaps(directory(&authority, good).await);
    let all = [nobody.clone(), ldaps(closing), ldaps(silent), well];
    assert!(matches!(sign_in(&config(&authority, &all), "ada", "right").await, Ok(Answer::Right(_))));
    let fault = refused(&config(&authority, &[ldaps(silent), nobody])).await;
    assert_eq!(fault.reasons.len(), 2, "{fault:?}");
}

/// What no directory says, in place of an answer to a bind or a search.
fn nonsense() -> Vec<Vec<u8>> {
    // Headers within headers: a reader that recurses runs out of stack.
    let mut deep = vec![0x05, 0x00];
    while deep.len() < 200_000 {
        let mut head = vec![0x30];
        let len = u32::try_from(deep.len()).unwrap().to_be_bytes();
        head.push(0x84);
        head.extend_from_slice(&len);
        deep.splice(0..0, head);
    }
    vec![
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        vec![0; 4096],
        vec![0xff; 4096],
        vec![0x30, 0x80, 0, 0],
        vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 1, 2, 3],
        vec![0x30, 0x00],
        element(SEQUENCE, &[element(INTEGER, &[1]), deep.clone()].concat()),
        deep,
        element(SEQUENCE, &element(INTEGER, &[1])),
        element(SEQUENCE, &[element(OCTETS, b"x"), element(0x61, &result(0))].concat()),
        message(77, 0x61, &result(0)),
        message(1, 0x61, b""),
        message(1, 0x70, &result(0)),
        message(1, 0x61, &element(ENUMERATED, &[0, 0, 0, 0, 0, 0, 1])),
        message(2, 0x64, &element(OCTETS, b"\xff\xfe")),
        message(2, 0x64, &[element(OCTETS, DN.as_bytes()), element(SEQUENCE, b"\x30\x04\x04")].concat()),
        (0..100_000_u32).flat_map(|_| message(2, 0x73, b"")).collect(),
    ]
}

#[tokio::test]
async fn rubbish() {
    let authority = Authority::new();
    for (number, bytes) in nonsense().into_iter().enumerate() {
        for instead in [0x60, 0x63] {
            let bytes = bytes.clone();
            let port = directory(&authority, move |id, tag, content| match tag {
                tag if tag == instead => bytes.clone(),
                _ => good(id, tag, content),
            })
            .await;
            let fault = refused(&config(&authority, &[ldaps(port)])).await;
            let silence = fault.message.contains("did not answer");
            assert!(silence || fault.code == FaultCode::IdentitySourceInvalid, "{number}: {fault}");
        }
    }
}

#[tokio::test]
async fn answers_without_end_are_cut() {
    let authority = Authority::new();
    // More entries than asked for; one entry of every size; places elsewhere for ever.
    let many = directory(&authority, |id, tag, content| match tag {
        0x63 => (0..5_000).flat_map(|_| ada(id)).collect(),
        _ => good(id, tag, content),
    })
    .await;
    let fault = refused(&config(&authority, &[ldaps(many)])).await;
    assert!(fault.message.contains("more than one entry"), "{fault}");
    let large = directory(&authority, |id, tag, content| match tag {
        0x63 => entry(id, DN, &[("entryUUID", &[&[b'x'; 300 << 10]])]),
        _ => good(id, tag, content),
    })
    .await;
    let fault = refused(&config(&authority, &[ldaps(large)])).await;
    assert!(fault.cause.contains("far too long"), "{fault}");
}

#[tokio::test]
async fn certificates_of_somebody_else() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let tls_server = async |identity: Identity| {
        let acceptor = TlsAcceptor::from(tls::server(&identity, None).unwrap());
        listen(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                let _ = acceptor.accept(stream).await;
            }
        })
        .await
    };
    let fault = refused(&config(&ours, &[ldaps(tls_server(theirs.identity("127.0.0.1")).await)])).await;
    assert!(
        fault.code == FaultCode::IdentitySourceUnreachable && fault.message.contains("nobody trusted"),
        "{fault}"
    );
    let fault = refused(&config(&ours, &[ldaps(tls_server(ours.identity("ldap.example.org")).await)])).await;
    assert!(
        fault.code == FaultCode::IdentitySourceUnreachable && fault.message.contains("another name"),
        "{fault}"
    );
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    let port = tls_server(Identity::from_pem(&pem, &key.serialize_pem()).unwrap()).await;
    let itself = LdapConfig { ca_pem: pem, ..config(&ours, &[ldaps(port)]) };
    let fault = refused(&itself).await;
    assert!(
        fault.code == FaultCode::IdentitySourceUnreachable && fault.remedy.contains("signed itself"),
        "{fault}"
    );
    // The system's authorities know none of them.
    let fault = refused(&LdapConfig { ca_pem: String::new(), ..itself }).await;
    assert_eq!(fault.code, FaultCode::IdentitySourceUnreachable, "{fault}");
    let plain = listen(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        tokio::time::sleep(Duration::from_secs(5)).await;
    })
    .await;
    let fault = refused(&config(&ours, &[ldaps(plain)])).await;
    assert!(fault.message.contains("does not speak TLS"), "{fault}");
}

#[tokio::test]
async fn start_tls() {
    let authority = Authority::new();
    let with = |port: u16| LdapConfig {
        start_tls: true,
        ..config(&authority, &[format!("ldap://127.0.0.1:{port}")])
    };
    let first = |bytes: Vec<u8>| {
        listen(move |mut stream| {
            let bytes = bytes.clone();
            async move {
                let _ = stream.read(&mut [0; 512]).await;
                let _ = stream.write_all(&bytes).await;
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
        })
    };
    let fault = refused(&with(first(message(1, 0x78, &result(52))).await)).await;
    assert!(fault.message.contains("does not go over to TLS"), "{fault}");
    assert!(fault.cause.contains("its own words"), "{fault}");
    // Put in by somebody on the way, before anything is secret.
    let behind = [message(1, 0x78, &result(0)), message(1, 0x61, &result(0))].concat();
    let fault = refused(&with(first(behind).await)).await;
    assert!(fault.cause.contains("goes on after the answer"), "{fault}");
    for bytes in nonsense() {
        let fault = refused(&with(first(bytes).await)).await;
        let silence = fault.message.contains("did not answer");
        assert!(silence || fault.code == FaultCode::IdentitySourceInvalid, "{fault}");
    }
    let fault = refused(&with(first(message(1, 0x78, &result(0))).await)).await;
    assert!(fault.message.contains("TLS handshake"), "{fault}");

    let acceptor = TlsAcceptor::from(tls::server(&authority.identity("127.0.0.1"), None).unwrap());
    let well = listen(move |mut stream| {
        let acceptor = acceptor.clone();
        async move {
            let mut asked = [0; 31];
            stream.read_exact(&mut asked).await.unwrap();
            stream.write_all(&message(1, 0x78, &result(0))).await.unwrap();
            if let Ok(stream) = acceptor.accept(stream).await {
                converse(stream, &good).await;
            }
        }
    })
    .await;
    assert!(matches!(sign_in(&with(well), "ada", "right").await, Ok(Answer::Right(_))));
}

#[tokio::test]
async fn entries_that_cannot_be_used() {
    let authority = Authority::new();
    let finds = async |entries: fn(u32) -> Vec<u8>| {
        let port = directory(&authority, move |id, tag, content| match tag {
            0x63 => entries(id),
            _ => good(id, tag, content),
        })
        .await;
        refused(&config(&authority, &[ldaps(port)])).await
    };
    let fault =
        finds(|id| [entry(id, "", &[("entryUUID", &[b"1"]), ("uid", &[b"ada"])]), done(id)].concat()).await;
    assert!(fault.message.contains("without a name"), "{fault}");
    let fault = finds(|id| [ada(id), ada(id), done(id)].concat()).await;
    assert!(fault.message.contains("more than one entry"), "{fault}");
    let fault = finds(|id| [entry(id, DN, &[("uid", &[b"ada"])]), done(id)].concat()).await;
    assert_eq!(
        (fault.code, fault.field.as_str()),
        (FaultCode::IdentitySourceInvalid, "ldap.id_attribute"),
        "{fault}"
    );
    let fault =
        finds(|id| [entry(id, DN, &[("entryUUID", &[b"1", b"2"]), ("uid", &[b"ada"])]), done(id)].concat())
            .await;
    assert_eq!(fault.field, "ldap.id_attribute", "{fault}");
    let fault = finds(|id| [entry(id, DN, &[("entryUUID", &[b"1"])]), done(id)].concat()).await;
    assert_eq!(fault.field, "ldap.name_attribute", "{fault}");
    let fault = finds(|id| {
        message(id, 0x65, &[result(10), element(0xa3, &element(OCTETS, b"ldap://evil/"))].concat())
    })
    .await;
    assert!(
        fault.remedy.contains("referrals are not followed") && fault.cause.contains("ldap://evil/"),
        "{fault}"
    );
    let fault = finds(|id| message(id, 0x65, &result(32))).await;
    assert_eq!(
        (fault.field.as_str(), fault.code),
        ("ldap.user_base", FaultCode::IdentitySourceInvalid),
        "{fault}"
    );
    let fault = finds(|_| message(0, 0x78, &result(52))).await;
    assert!(
        fault.message.contains("ended the connection") && fault.cause.contains("its own words"),
        "{fault}"
    );
}

#[tokio::test]
async fn a_service_account_that_is_refused() {
    let authority = Authority::new();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let refusing = directory(&authority, move |id, _, _| {
        count.fetch_add(1, Ordering::SeqCst);
        message(id, 0x61, &result(49))
    })
    .await;
    let both = config(&authority, &[ldaps(refusing), ldaps(directory(&authority, good).await)]);
    let fault = refused(&both).await;
    assert_eq!((fault.field.as_str(), fault.code), ("secret", FaultCode::IdentitySourceRefused), "{fault}");
    assert_eq!(asked.load(Ordering::SeqCst), 1, "the others would say the same, and lock the account");
    let busy = directory(&authority, |id, _, _| message(id, 0x61, &result(51))).await;
    let second = config(&authority, &[ldaps(busy), ldaps(directory(&authority, good).await)]);
    assert!(matches!(sign_in(&second, "ada", "right").await, Ok(Answer::Right(_))));
}

#[tokio::test]
async fn gone_is_said_only_by_one_who_sees() {
    let authority = Authority::new();
    let secret = Secret::new("x");
    let subjects = ["0001".to_owned()];
    let look_up = async |port: u16| {
        let config = config(&authority, &[ldaps(port)]);
        Directory::new(&config, &secret).limited(LIMITS).look_up(&subjects).await
    };
    let there = directory(&authority, good).await;
    assert!(matches!(&look_up(there).await.unwrap()[..], [Standing::There(told)] if told.name == "Ada"));
    let gone = directory(&authority, |id, tag, content| match tag {
        // Others are there.
        0x63 if content.windows(4).any(|w| w == b"0001") => done(id),
        _ => good(id, tag, content),
    })
    .await;
    assert_eq!(look_up(gone).await.unwrap(), [Standing::Gone]);
    let blind = directory(&authority, |id, tag, content| match tag {
        0x63 => done(id),
        _ => good(id, tag, content),
    })
    .await;
    assert_eq!(look_up(blind).await.expect_err("it sees nobody").code, FaultCode::IdentitySourceInvalid);
}
