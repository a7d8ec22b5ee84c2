//! The registration calls: PING, TOKEN, DISCOVERY and CONFIRM, with every way they can fail told apart.
//!
//! The host is a stranger here. Its TLS is pinned by the token, bodies are bounded, redirects are not followed, and
//! whatever it answers is shown only as far as it is printable.

use crate::clock::Clock;
use crate::dial::{Dial, HostUrl};
use crate::rest::{Answer, Broken};
use crate::tls::{self, Fingerprint, show};
use crate::token::RegistrationToken;
use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use quantix_model::fault::Evidence;
use quantix_model::host::Discovery;
use quantix_model::{Fault, FaultCode, UnixMs};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Version of the registration API both sides speak.
pub const API_LEVEL: u32 = 1;
/// Clocks further apart than this make certificates and ages senseless.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(300);
/// `product` of every host.
pub const PRODUCT: &str = "quantix-node";
/// Path below which the host serves registration.
pub const BASE_PATH: &str = "/api/v1/registration";
/// Discovery asks libvirt and all of /sys; the others answer at once.
const CALL_DEADLINE: Duration = Duration::from_secs(15);

/// Answer of `GET …/ping`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping {
    /// `ok`.
    pub status: String,
    /// [`PRODUCT`].
    pub product: String,
    /// Release of the daemon.
    pub version: String,
    /// The host's clock.
    pub time_unix_ms: i64,
    /// See [`API_LEVEL`].
    pub api_level: u32,
}

/// Answer of `GET …/token`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenFacts {
    /// The host's name of itself.
    pub hostname: String,
    /// Made then.
    pub created_at_unix_ms: i64,
    /// Ends then.
    pub expires_at_unix_ms: i64,
}

/// Body of `POST …/complete`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completion {
    /// The host's id from now on.
    pub host_id: String,
    /// Its name in the vDC.
    pub host_name: String,
    /// Where it reports to.
    pub vdc_url: String,
    /// Whom it trusts.
    pub vdc_ca_pem: String,
    /// Its key, certified.
    pub certificate_pem: String,
}

/// Answer of `POST …/complete`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completed {
    /// `ok`.
    pub status: String,
}

/// What a ping told.
#[derive(Clone, Debug)]
pub struct Contact {
    /// As answered.
    pub ping: Ping,
    /// Host clock minus ours, half the round trip taken into account.
    pub clock_skew_ms: i64,
    /// The certificate it showed.
    pub certificate_der: Vec<u8>,
}

/// One attempt to register one host.
pub struct Registration {
    dial: Dial,
    bearer: Option<String>,
    clock: Clock,
}

impl Registration {
    /// Checks URL and token; says nothing to anybody yet.
    pub fn new(url: &str, token: &str) -> Result<Registration, Fault> {
        let url: HostUrl = url.parse().map_err(|f: Fault| f.in_phase("PING"))?;
        let token: RegistrationToken = token.parse().map_err(|f: Fault| f.in_phase("TOKEN"))?;
        let dial = dial(url, tls::pinned(token.fingerprint)?)?;
        Ok(Registration { dial, bearer: Some(format!("Bearer {token}")), clock: Clock::system() })
    }

    /// For the ping of an offered host: nothing is secret, nothing is trusted.
    pub fn offer(url: &str) -> Result<Registration, Fault> {
        let dial = dial(url.parse()?, tls::unpinned()?)?;
        Ok(Registration { dial, bearer: None, clock: Clock::system() })
    }

    /// The same by another clock than the system's.
    pub fn by(mut self, clock: &Clock) -> Registration {
        self.dial.tls = tls::client_by(self.dial.tls, clock);
        self.clock = clock.clone();
        self
    }

    /// Where.
    pub fn url(&self) -> &HostUrl {
        &self.dial.url
    }

    /// PING: who is there, which release, what its clock says.
    pub async fn ping(&self) -> Result<Contact, Fault> {
        let asked_at = self.clock.now();
        let (answer, certificate_der) = self.call(Method::GET, "ping", "PING", None).await?;
        let answered_at = self.clock.now();
        let ping: Ping = self.parse(&answer, "ping", "PING")?;
        let middle = asked_at.0 + (answered_at.0 - asked_at.0) / 2;
        let clock_skew_ms = ping.time_unix_ms.saturating_sub(middle);
        self.check_ping(&ping, &answer, clock_skew_ms)?;
        Ok(Contact { ping, clock_skew_ms, certificate_der })
    }

    fn check_ping(&self, ping: &Ping, answer: &Answer, clock_skew_ms: i64) -> Result<(), Fault> {
        let url = &self.dial.url;
        if ping.product != PRODUCT {
            let fault = Fault::new(
                FaultCode::InvalidResponse,
                format!("What answers at {url} is no Quantix host."),
                "Check address and port.",
            );
            return Err(self.place(fault, "PING", self.evidence(answer, "ping")));
        }
        if ping.api_level != API_LEVEL {
            let (message, remedy) = if ping.api_level < API_LEVEL {
                ("is too old for this vDC", "Update Quantix on the host.")
            } else {
                ("is newer than this vDC", "Update the vDC first.")
            };
            let fault =
                Fault::new(FaultCode::VersionUnsupported, format!("The host at {url} {message}."), remedy)
                    .because(format!(
                        "host {} speaks API level {}, the vDC {} level {API_LEVEL}",
                        ping.version,
                        ping.api_level,
                        env!("CARGO_PKG_VERSION")
                    ));
            return Err(self.place(fault, "PING", self.evidence(answer, "ping")));
        }
        if clock_skew_ms.unsigned_abs() > CLOCK_SKEW_MAX.as_millis() as u64 {
            let fault = Fault::new(
                FaultCode::ClockSkew,
                format!("The clocks of the host and the vDC are {} s apart.", clock_skew_ms.abs() / 1000),
                "Set both clocks right (NTP), then try again.",
            )
            .because(format!(
                "host: {}, vDC: {}",
                show(UnixMs(ping.time_unix_ms)),
                show(self.clock.now())
            ));
            return Err(self.place(fault, "PING", self.evidence(answer, "ping")));
        }
        Ok(())
    }

    /// TOKEN: whether the host knows the token, and until when.
    pub async fn token(&self) -> Result<TokenFacts, Fault> {
        let (answer, _) = self.call(Method::GET, "token", "TOKEN", None).await?;
        self.parse(&answer, "token", "TOKEN")
    }

    /// DISCOVERY: what the machine is made of.
    pub async fn discovery(&self) -> Result<Discovery, Fault> {
        let (answer, _) = self.call(Method::GET, "discovery", "DISCOVERY", None).await?;
        self.parse(&answer, "discovery", "DISCOVERY")
    }

    /// CONFIRM: hands the host its certificate. The same body may be sent again.
    pub async fn complete(&self, completion: &Completion) -> Result<(), Fault> {
        let body = serde_json::to_vec(completion).map_err(Fault::internal)?;
        let (answer, _) = self.call(Method::POST, "complete", "CONFIRM", Some(body)).await?;
        self.parse::<Completed>(&answer, "complete", "CONFIRM").map(|_| ())
    }

    /// One call on one connection; answers the certificate that was shown, too.
    async fn call(
        &self,
        method: Method,
        name: &str,
        phase: &str,
        body: Option<Vec<u8>>,
    ) -> Result<(Answer, Vec<u8>), Fault> {
        let url = &self.dial.url;
        let nothing = || Evidence { url: self.address(name), ..Evidence::default() };
        let stream = self
            .dial
            .connect(&[b"http/1.1"])
            .await
            .map_err(|err| self.place(err.fault(url), phase, nothing()))?;
        let certificate = stream.get_ref().1.peer_certificates().and_then(|c| c.first());
        let certificate = certificate.map(|c| c.to_vec()).unwrap_or_default();
        let exchange = self.exchange(TokioIo::new(stream), method, name, body);
        let answer = match tokio::time::timeout(CALL_DEADLINE, exchange).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(cause @ Broken::TooLarge)) => {
                let fault = Fault::new(
                    FaultCode::InvalidResponse,
                    format!("{url} answers far more than a Quantix host would."),
                    "Check the address, and that no proxy stands between.",
                );
                return Err(self.place(fault.because(cause), phase, nothing()));
            }
            Ok(Err(cause)) => {
                let fault = Fault::new(
                    FaultCode::HostConnectionFailed,
                    format!("The connection to {url} broke off."),
                    "Try again; if it comes back, look at the log of quantix-node on the host.",
                );
                return Err(self.place(fault.because(cause), phase, nothing()));
            }
            Err(_) => {
                let fault = Fault::new(
                    FaultCode::ConnectionTimeout,
                    format!("{url} took the call and did not answer within {} s.", CALL_DEADLINE.as_secs()),
                    "Look at the load and the log of quantix-node on the host.",
                );
                return Err(self.place(fault, phase, nothing()));
            }
        };
        Ok((answer, certificate))
    }

    async fn exchange(
        &self,
        io: TokioIo<tokio_rustls::client::TlsStream<tokio::net::TcpStream>>,
        method: Method,
        name: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Answer, Broken> {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(io).await.map_err(|err| Broken::Off(err.to_string()))?;
        let running = AbortOnDrop(tokio::spawn(connection));
        let authority = self.dial.url.to_string().replacen("https://", "", 1);
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{BASE_PATH}/{name}"))
            .header(header::HOST, authority)
            .header(header::ACCEPT, "application/json");
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(bearer) = &self.bearer
            && name != "ping"
        {
            let mut value =
                header::HeaderValue::from_str(bearer).map_err(|err| Broken::Off(err.to_string()))?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        let request = request
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(|err| Broken::Off(err.to_string()))?;
        let response =
            sender.send_request(request).await.map_err(|err| Broken::Off(crate::transport::chain(&err)))?;
        let answer = Answer::read(response).await;
        drop(running);
        answer
    }

    fn parse<T: DeserializeOwned>(&self, answer: &Answer, name: &str, phase: &str) -> Result<T, Fault> {
        let url = &self.dial.url;
        let evidence = self.evidence(answer, name);
        if answer.status == 200
            && answer.is_json()
            && let Ok(value) = serde_json::from_slice(&answer.body)
        {
            return Ok(value);
        }
        if let Some(fault) = answer.fault().filter(|f| f.code != FaultCode::UnknownPath) {
            // The host said it in our own words already: the body would only say it again.
            let evidence = Evidence { body_start: String::new(), ..evidence };
            return Err(self.place(fault, phase, evidence));
        }
        let html = answer.content_type.to_ascii_lowercase().contains("html");
        let fault = match answer.status {
            500.. => Fault::new(
                FaultCode::HostApiNotAvailable,
                format!("{url} answers with an error ({}).", answer.status),
                "Look at the log of quantix-node on the host, and restart it if need be.",
            ),
            404 => outdated(url),
            _ if html => outdated(url),
            _ => Fault::new(
                FaultCode::InvalidResponse,
                format!("The answer of {url} is not what a Quantix host says."),
                "Check the address, and that no proxy stands between.",
            ),
        };
        Err(self.place(fault, phase, evidence))
    }

    fn evidence(&self, answer: &Answer, name: &str) -> Evidence {
        answer.evidence(&self.address(name))
    }

    fn address(&self, name: &str) -> String {
        format!("{}{BASE_PATH}/{name}", self.dial.url)
    }

    fn place(&self, fault: Fault, phase: &str, evidence: Evidence) -> Fault {
        fault.in_phase(phase).with_evidence(evidence)
    }
}

fn outdated(url: &HostUrl) -> Fault {
    Fault::new(
        FaultCode::HostFirmwareOutdated,
        format!("{url} answers, but knows no registration."),
        "Update Quantix-OS on the host; if another service has this port, correct the port.",
    )
}

/// The name does not matter while the key is pinned; SNI must not tell an address.
fn dial(url: HostUrl, tls: std::sync::Arc<rustls::ClientConfig>) -> Result<Dial, Fault> {
    Dial::new(url, "new.host.quantix.internal", tls)
}

/// Fingerprint of the key in a certificate: what makes a host that host.
pub fn key_fingerprint(certificate_der: &[u8]) -> Result<Fingerprint, Fault> {
    tls::CertificateFacts::read(certificate_der).map(|facts| facts.key_fingerprint)
}

struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
