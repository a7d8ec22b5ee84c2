//! Reaching a machine: address, TCP and TLS, each failure told apart.

use crate::clock::Clock;
use crate::tls::{pin_error, show, tls_fault};
use quantix_model::{Fault, FaultCode, UnixMs};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::fmt;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Port of a host when its URL names none.
pub const HOST_PORT: u16 = 9443;
/// Name, TCP and TLS together take no longer than this.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// Our clock.
fn now() -> UnixMs {
    Clock::system().now()
}

/// Where a host is: `https://address[:port]`, nothing else in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostUrl {
    /// Name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl FromStr for HostUrl {
    type Err = Fault;

    fn from_str(text: &str) -> Result<HostUrl, Fault> {
        let wrong = |why: &str| Fault {
            field: "url".into(),
            ..Fault::new(
                FaultCode::InvalidRequest,
                format!("The host URL cannot be used: {why}."),
                "Write https:// and the host's name or address, for example https://192.0.2.10:9443.",
            )
        };
        let text = text.trim();
        if text.len() > 300 {
            return Err(wrong("it is longer than 300 characters"));
        }
        let uri: http::Uri = text.parse().map_err(|_| wrong("it is not a URL"))?;
        if uri.scheme_str() != Some("https") {
            return Err(wrong("only https is spoken"));
        }
        let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("it holds a user or password"));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() || text.contains('#') {
            return Err(wrong("it goes on after the address"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(wrong("it names no host"));
        }
        let port = match authority.port_u16() {
            Some(0) => return Err(wrong("port 0 is no port")),
            Some(port) => port,
            None if authority.as_str().ends_with(&authority.host()[authority.host().len() - 1..]) => {
                HOST_PORT
            }
            None => return Err(wrong("its port is no port")),
        };
        if host.parse::<IpAddr>().is_ok_and(is_forbidden) {
            return Err(wrong("that address is link-local or reserved, where no host can be"));
        }
        Ok(HostUrl { host, port })
    }
}

impl fmt::Display for HostUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "https://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "https://{}:{}", self.host, self.port)
        }
    }
}

/// Addresses no host may have: link-local (where clouds keep their metadata), multicast, unspecified, broadcast.
pub fn is_forbidden(address: IpAddr) -> bool {
    let address = match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4),
        v4 => v4,
    };
    match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_multicast() || v4.is_unspecified() || v4.is_broadcast(),
        IpAddr::V6(v6) => {
            let first = v6.segments()[0];
            let metadata = v6.segments() == [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254];
            first & 0xffc0 == 0xfe80 || v6.is_multicast() || v6.is_unspecified() || metadata
        }
    }
}

/// Why a machine could not be reached.
#[derive(Debug)]
pub enum DialError {
    /// The name has no address.
    Resolve(std::io::Error),
    /// Refused, reset, or another failure of TCP.
    Connect(std::io::Error),
    /// No route to it.
    NoRoute(std::io::Error),
    /// Silence; says in which step.
    TimedOut(&'static str),
    /// TLS was not agreed on.
    Tls(std::io::Error),
    /// Its name leads to an address no host may have.
    Forbidden(IpAddr),
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DialError::Resolve(err)
            | DialError::Connect(err)
            | DialError::NoRoute(err)
            | DialError::Tls(err) => {
                write!(f, "{err}")
            }
            DialError::TimedOut(step) => {
                write!(f, "no answer within {} s ({step})", CONNECT_DEADLINE.as_secs())
            }
            DialError::Forbidden(address) => write!(f, "the name leads to {address}"),
        }
    }
}

impl std::error::Error for DialError {}

impl DialError {
    /// The fault for people, in registration's vocabulary.
    pub fn fault(&self, url: &HostUrl) -> Fault {
        let service =
            "Check the address, that quantix-node runs there, and that no firewall closes the port.";
        let fault = match self {
            DialError::Resolve(_) => Fault::new(
                FaultCode::HostConnectionFailed,
                format!("The name {} has no address.", url.host),
                "Correct the name, or use the host's address.",
            ),
            DialError::Connect(err) => Fault::new(
                FaultCode::HostConnectionFailed,
                match err.kind() {
                    ErrorKind::ConnectionRefused => format!("{url} refused the connection."),
                    _ => format!("The connection to {url} failed."),
                },
                service,
            ),
            DialError::NoRoute(_) => Fault::new(
                FaultCode::NetworkUnreachable,
                format!("There is no route to {}.", url.host),
                "Check the vDC's network and routes, and that the host is on.",
            ),
            DialError::TimedOut(_) => {
                Fault::new(FaultCode::ConnectionTimeout, format!("{url} did not answer in time."), service)
            }
            DialError::Forbidden(_) => Fault::new(
                FaultCode::InvalidRequest,
                format!("{} leads to an address where no host can be.", url.host),
                "Use the host's address on your own network.",
            ),
            DialError::Tls(err) => return tls_error(err, url),
        };
        fault.because(self)
    }
}

/// Which of TLS's many failures it was.
fn tls_error(err: &std::io::Error, url: &HostUrl) -> Fault {
    use crate::tls::PinError;
    use rustls::{CertificateError as C, Error as E};
    let Some(inner) = err.get_ref().and_then(|e| e.downcast_ref::<E>()) else {
        return match err.kind() {
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => {
                tls_fault(&format!("{url} ended the TLS handshake.")).because(err)
            }
            _ => tls_fault(&format!("The TLS handshake with {url} failed.")).because(err),
        };
    };
    let mut fault = match (pin_error(inner), inner) {
        (Some(PinError::Fingerprint { .. }), _) => Fault::new(
            FaultCode::TlsError,
            format!("{url} does not show the certificate the token names (fingerprint)."),
            "Make a new token on that very host with `quantix-node token`. If it fails again, another machine answers at this address.",
        ),
        (Some(PinError::Authority { .. }), _) => Fault::new(
            FaultCode::TlsError,
            format!("What answers at {url} is not the vDC that made the token (authority)."),
            "Check the address. If the vDC changed its certificate authority since, make a new join token.",
        ),
        (Some(PinError::Expired { .. }), _)
        | (
            None,
            E::InvalidCertificate(
                C::Expired | C::NotValidYet | C::ExpiredContext { .. } | C::NotValidYetContext { .. },
            ),
        ) => Fault::new(
            FaultCode::TlsError,
            format!("The certificate of {url} is outside its dates (expiry)."),
            "Set both clocks right (NTP). If they are, renew the host's certificate by enrolling it again with a new token.",
        ),
        (None, E::InvalidMessage(_)) => Fault::new(
            FaultCode::TlsError,
            format!("{url} does not speak TLS (handshake)."),
            "Check the port: a host listens on 9443.",
        ),
        _ => tls_fault(&format!("The TLS handshake with {url} failed (handshake).")),
    };
    fault = match pin_error(inner) {
        Some(pin) => fault.because(pin),
        None => fault.because(format!("{inner}; the clock here says {}", show(now()))),
    };
    fault
}

/// How to reach one machine under one identity.
#[derive(Clone)]
pub struct Dial {
    /// Where.
    pub url: HostUrl,
    /// Whom to find there.
    pub server_name: ServerName<'static>,
    /// Who we are and whom we trust.
    pub tls: Arc<ClientConfig>,
}

impl Dial {
    /// A way to a machine that must prove to be `server_name`.
    pub fn new(url: HostUrl, server_name: &str, tls: Arc<ClientConfig>) -> Result<Dial, Fault> {
        let server_name = ServerName::try_from(server_name.to_owned()).map_err(|_| {
            Fault::invalid("server_name", format!("{server_name:?} is no DNS name."), "Use a DNS name.")
        })?;
        Ok(Dial { url, server_name, tls })
    }

    /// Connects, offering these protocols (ALPN).
    pub async fn connect(&self, alpn: &[&[u8]]) -> Result<TlsStream<TcpStream>, DialError> {
        let mut config = ClientConfig::clone(&self.tls);
        config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
        let deadline = tokio::time::Instant::now() + CONNECT_DEADLINE;
        let tcp = tokio::time::timeout_at(deadline, self.tcp())
            .await
            .unwrap_or(Err(DialError::TimedOut("connecting")))?;
        let tls = TlsConnector::from(Arc::new(config)).connect(self.server_name.clone(), tcp);
        match tokio::time::timeout_at(deadline, tls).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(err)) => Err(DialError::Tls(err)),
            Err(_) => Err(DialError::TimedOut("TLS handshake")),
        }
    }

    async fn tcp(&self) -> Result<TcpStream, DialError> {
        let found = tokio::net::lookup_host((self.url.host.as_str(), self.url.port)).await;
        let addresses: Vec<SocketAddr> = found.map_err(DialError::Resolve)?.collect();
        let mut last = DialError::Resolve(std::io::Error::other("the name has no address"));
        for address in addresses {
            if is_forbidden(address.ip()) {
                last = DialError::Forbidden(address.ip());
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(err) => {
                    last = match err.kind() {
                        ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable => DialError::NoRoute(err),
                        ErrorKind::TimedOut => DialError::TimedOut("connecting"),
                        _ => DialError::Connect(err),
                    }
                }
            }
        }
        Err(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let url: HostUrl = "https://192.0.2.1".parse().expect("good");
        assert_eq!(url.to_string(), "https://192.0.2.1:9443");
        let url: HostUrl = "https://[2001:db8::1]:7/".parse().expect("good");
        assert_eq!((url.host.as_str(), url.port), ("2001:db8::1", 7));
        assert_eq!(url.to_string(), "https://[2001:db8::1]:7");
        for bad in [
            "",
            "192.0.2.1",
            "http://192.0.2.1",
            "https://user@192.0.2.1",
            "https://192.0.2.1/x",
            "https://192.0.2.1?x",
            "https://192.0.2.1#x",
            "https://192.0.2.1:0",
            "https://192.0.2.1:99999",
            "https://169.254.169.254",
            "https://[fe80::1]",
            "https://[::ffff:169.254.169.254]",
            "https://[fd00:ec2::254]",
            "https://0.0.0.0",
            "https://224.0.0.1",
        ] {
            let fault = bad.parse::<HostUrl>().expect_err(bad);
            assert_eq!((fault.code, fault.field.as_str()), (FaultCode::InvalidRequest, "url"), "{bad}");
        }
    }
}
