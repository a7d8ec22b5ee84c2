//! TLS identity: who may talk to whom, as rustls configurations.
//!
//! First contact is pinned by the certificate's fingerprint (it stands in the registration token). Afterwards both
//! sides verify each other by the vDC's own CA, under fixed names: identity is the key, never the address.
//! Everything is verified always; the one exception, [`unpinned`], is for the unauthenticated ping of hosts that
//! are offered for adding, which sends no secret and trusts no answer.

use crate::clock::{Clock, unix_time};
use crate::token::sha256;
use quantix_model::id::HostId;
use quantix_model::{Fault, FaultCode, UnixMs};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, CipherSuite, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore,
    ServerConfig, SignatureScheme,
};
use std::fmt;
use std::sync::{Arc, OnceLock};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// Name every vDC certificate carries.
pub const VDC_NAME: &str = "vdc.quantix.internal";

/// Name a host's certificate carries once the vDC signed its key.
pub fn host_name(id: HostId) -> String {
    format!("{id}.host.quantix.internal")
}

/// A SHA-256, shown as hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Fingerprint of a whole certificate.
pub fn fingerprint(certificate_der: &[u8]) -> Fingerprint {
    Fingerprint(sha256(certificate_der))
}

/// What a certificate says, as far as we use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Fingerprint of the public key (SPKI): stays when the key is certified anew.
    pub key_fingerprint: Fingerprint,
    /// The public key as DER `SubjectPublicKeyInfo`.
    pub spki_der: Vec<u8>,
    /// DNS names in the subject's alternative names.
    pub dns_names: Vec<String>,
    /// Valid from.
    pub not_before: UnixMs,
    /// Valid until.
    pub not_after: UnixMs,
}

impl CertificateFacts {
    /// Reads a certificate; a broken one is a TLS_ERROR.
    pub fn read(der: &[u8]) -> Result<CertificateFacts, Fault> {
        let (_, cert) = X509Certificate::from_der(der)
            .map_err(|err| tls_fault("A certificate could not be read.").because(err))?;
        let names = cert.subject_alternative_name().ok().flatten();
        let dns_names = names.map_or_else(Vec::new, |names| {
            let dns = |name: &GeneralName<'_>| match name {
                GeneralName::DNSName(name) => Some((*name).to_owned()),
                _ => None,
            };
            names.value.general_names.iter().filter_map(dns).collect()
        });
        let ms = |seconds: i64| UnixMs(seconds.saturating_mul(1000));
        Ok(CertificateFacts {
            key_fingerprint: Fingerprint(sha256(cert.public_key().raw)),
            spki_der: cert.public_key().raw.to_vec(),
            dns_names,
            not_before: ms(cert.validity().not_before.timestamp()),
            not_after: ms(cert.validity().not_after.timestamp()),
        })
    }

    /// The host this certificate belongs to, by its name; `None` for any other certificate.
    pub fn host_id(&self) -> Option<HostId> {
        self.dns_names.iter().find_map(|name| name.strip_suffix(".host.quantix.internal")?.parse().ok())
    }
}

/// A key and the certificates that speak for it.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// Reads PEM: the leaf first, then its issuers, and the key.
    pub fn from_pem(chain_pem: &str, key_pem: &str) -> Result<Identity, Fault> {
        let chain = certificates(chain_pem)?;
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
            .map_err(|err| Fault::internal(format!("the private key could not be read: {err}")))?;
        Ok(Identity { chain, key })
    }

    /// As a server shows it; a key that is not the certificate's is a TLS_ERROR.
    fn certified(&self) -> Result<Arc<CertifiedKey>, Fault> {
        let unfit = |err: rustls::Error| tls_fault("Our own certificate and key do not fit.").because(err);
        let key = any_supported_type(&self.key).map_err(unfit)?;
        let certified = CertifiedKey::new(self.chain.clone(), key);
        certified.keys_match().map_err(unfit)?;
        Ok(Arc::new(certified))
    }

    /// The certificate that is shown to others.
    pub fn leaf_der(&self) -> &[u8] {
        &self.chain[0]
    }
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err(tls_fault("There is no certificate in the PEM text.")),
        Err(err) => Err(tls_fault("A certificate could not be read.").because(err)),
    }
}

fn roots(ca_pem: &str) -> Result<Arc<RootCertStore>, Fault> {
    let mut roots = RootCertStore::empty();
    for cert in certificates(ca_pem)? {
        roots.add(cert).map_err(|err| tls_fault("The CA certificate cannot be used.").because(err))?;
    }
    Ok(Arc::new(roots))
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let make = || {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        // The fastest where processors do AES themselves, as those of all our hosts: a disk image passes here twice.
        provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
        Arc::new(provider)
    };
    PROVIDER.get_or_init(make).clone()
}

fn client_builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, Fault> {
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(Fault::internal)
}

/// The first certificate of a PEM text, as DER.
pub fn first_der(pem: &str) -> Result<Vec<u8>, Fault> {
    Ok(certificates(pem)?[0].to_vec())
}

/// Fingerprint of the first certificate of a PEM text.
pub fn first_fingerprint(pem: &str) -> Result<Fingerprint, Fault> {
    Ok(fingerprint(&certificates(pem)?[0]))
}

/// Fingerprints of all certificates of a PEM text.
pub fn fingerprints(pem: &str) -> Result<Vec<Fingerprint>, Fault> {
    Ok(certificates(pem)?.iter().map(|der| fingerprint(der)).collect())
}

/// SHA-256 of the certificates in a PEM text, one after the other in their order: what two sides compare to know that
/// they trust the same.
pub fn bundle_digest(pem: &str) -> Result<[u8; 32], Fault> {
    let all: Vec<u8> = certificates(pem)?.iter().flat_map(|der| der.iter().copied()).collect();
    Ok(sha256(&all))
}

/// Whether the first authority of a bundle, the one that signs now, signed this certificate.
pub fn is_signed_by_first(leaf_pem: &str, bundle_pem: &str) -> Result<bool, Fault> {
    let (leaf, bundle) = (certificates(leaf_pem)?, certificates(bundle_pem)?);
    let read = |err| tls_fault("A certificate could not be read.").because(err);
    let (_, leaf) = X509Certificate::from_der(&leaf[0]).map_err(read)?;
    let (_, first) = X509Certificate::from_der(&bundle[0]).map_err(read)?;
    // Every authority has a name of its own.
    Ok(leaf.issuer() == first.subject())
}

/// Verifies the server by the CA; shows no certificate of its own.
pub fn client(ca_pem: &str) -> Result<Arc<ClientConfig>, Fault> {
    Ok(Arc::new(client_builder()?.with_root_certificates(roots(ca_pem)?).with_no_client_auth()))
}

/// Verifies the server by the authorities this system trusts, as they stand in its files now: blocks.
pub fn client_of_system() -> Result<Arc<ClientConfig>, Fault> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // One that cannot be read does no harm to the others.
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let why: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        let fault = tls_fault("This system trusts no certificate authority.").because(why.join("; "));
        return Err(Fault {
            remedy: "Install the package ca-certificates, or give the authority's certificate.".into(),
            ..fault
        });
    }
    Ok(Arc::new(client_builder()?.with_root_certificates(roots).with_no_client_auth()))
}

/// Who signed a certificate, as it says.
pub fn issuer_of(der: &[u8]) -> Result<String, Fault> {
    let (_, cert) = X509Certificate::from_der(der)
        .map_err(|err| tls_fault("A certificate could not be read.").because(err))?;
    Ok(cert.issuer().to_string())
}

/// Verifies the server by the CA and shows `identity`.
pub fn mutual_client(identity: &Identity, ca_pem: &str) -> Result<Arc<ClientConfig>, Fault> {
    let config = client_builder()?
        .with_root_certificates(roots(ca_pem)?)
        .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
        .map_err(|err| tls_fault("Our own certificate and key do not fit.").because(err))?;
    Ok(Arc::new(config))
}

/// Shows `identity`; asks clients for a certificate, checks it by the CA when they give one, and lets them in
/// without: who may call what is decided per call. Without a CA no certificate is asked for.
pub fn server(identity: &Identity, client_ca_pem: Option<&str>) -> Result<Arc<ServerConfig>, Fault> {
    let shown = Shown { named: None, others: identity.certified()? };
    shown_by(shown, client_ca_pem)
}

/// The same, but shows `identity` only to who asks for `name`, and `others` to everybody else.
pub fn server_by_name(
    identity: &Identity,
    name: &str,
    others: &Identity,
    client_ca_pem: Option<&str>,
) -> Result<Arc<ServerConfig>, Fault> {
    let named = Some((name.to_owned(), identity.certified()?));
    shown_by(Shown { named, others: others.certified()? }, client_ca_pem)
}

fn shown_by(shown: Shown, client_ca_pem: Option<&str>) -> Result<Arc<ServerConfig>, Fault> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(Fault::internal)?;
    let builder = match client_ca_pem {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots(pem)?, provider())
                .allow_unauthenticated()
                .build()
                .map_err(|err| tls_fault("The CA certificate cannot be used.").because(err))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(shown));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Which certificate a server shows to whom.
#[derive(Debug)]
struct Shown {
    named: Option<(String, Arc<CertifiedKey>)>,
    others: Arc<CertifiedKey>,
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match &self.named {
            Some((name, key)) if hello.server_name() == Some(name.as_str()) => Some(Arc::clone(key)),
            _ => Some(Arc::clone(&self.others)),
        }
    }
}

/// The same client, which judges certificates by this clock and not by the system's.
pub fn client_by(mut config: Arc<ClientConfig>, clock: &Clock) -> Arc<ClientConfig> {
    Arc::make_mut(&mut config).time_provider = Arc::new(clock.clone());
    config
}

/// The same server, which judges certificates by this clock and not by the system's.
pub fn server_by(mut config: Arc<ServerConfig>, clock: &Clock) -> Arc<ServerConfig> {
    Arc::make_mut(&mut config).time_provider = Arc::new(clock.clone());
    config
}

/// First contact of a host with the vDC that made its join token: accepts a certificate of [`VDC_NAME`] by exactly the
/// authority with this fingerprint, which the vDC shows with it.
pub fn pinned_authority(authority: Fingerprint) -> Result<Arc<ClientConfig>, Fault> {
    let verifier = Arc::new(PinnedAuthority { pin: authority, provider: provider() });
    Ok(Arc::new(
        client_builder()?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth(),
    ))
}

/// First contact: accepts exactly the certificate with this fingerprint, within its dates.
pub fn pinned(fingerprint: Fingerprint) -> Result<Arc<ClientConfig>, Fault> {
    first_contact(Some(fingerprint))
}

/// Accepts any certificate. Only for the ping of hosts that are offered for adding: no secret may be sent and no
/// answer trusted.
pub fn unpinned() -> Result<Arc<ClientConfig>, Fault> {
    first_contact(None)
}

fn first_contact(pin: Option<Fingerprint>) -> Result<Arc<ClientConfig>, Fault> {
    let verifier = Arc::new(FirstContact { pin, provider: provider() });
    Ok(Arc::new(
        client_builder()?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth(),
    ))
}

/// Why a pinned contact was refused by us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinError {
    /// Another certificate than the token names.
    Fingerprint {
        /// In the token.
        expected: Fingerprint,
        /// Shown by the host.
        shown: Fingerprint,
    },
    /// None of the authorities that were shown is the one the token names.
    Authority {
        /// In the token.
        expected: Fingerprint,
    },
    /// The right certificate, outside its dates.
    Expired {
        /// Valid from.
        not_before: UnixMs,
        /// Valid until.
        not_after: UnixMs,
        /// Our clock.
        now: UnixMs,
    },
}

impl fmt::Display for PinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PinError::Fingerprint { expected, shown } => {
                write!(f, "the token names certificate {expected}, the host shows {shown}")
            }
            PinError::Authority { expected } => {
                write!(f, "the token names authority {expected}, another one vouches for this vDC")
            }
            PinError::Expired { not_before, not_after, now } => write!(
                f,
                "the certificate is valid from {} to {}, the clock here says {}",
                show(*not_before),
                show(*not_after),
                show(*now)
            ),
        }
    }
}

impl std::error::Error for PinError {}

/// A time as people read it, in UTC.
pub(crate) fn show(at: UnixMs) -> String {
    time::OffsetDateTime::from_unix_timestamp(at.0.div_euclid(1000)).map_or_else(
        |_| at.0.to_string(),
        |t| format!("{} {:02}:{:02}:{:02} UTC", t.date(), t.hour(), t.minute(), t.second()),
    )
}

#[derive(Debug)]
struct FirstContact {
    pin: Option<Fingerprint>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for FirstContact {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(expected) = self.pin else { return Ok(ServerCertVerified::assertion()) };
        let refuse = |err: PinError| {
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(err))))
        };
        let shown = fingerprint(end_entity);
        if shown != expected {
            return Err(refuse(PinError::Fingerprint { expected, shown }));
        }
        let facts = CertificateFacts::read(end_entity)
            .map_err(|_| rustls::Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let now = UnixMs(i64::try_from(now.as_secs()).unwrap_or(i64::MAX).saturating_mul(1000));
        if now < facts.not_before || now > facts.not_after {
            let (not_before, not_after) = (facts.not_before, facts.not_after);
            return Err(refuse(PinError::Expired { not_before, not_after, now }));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[derive(Debug)]
struct PinnedAuthority {
    pin: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let other = PinError::Authority { expected: self.pin };
        let refuse = || {
            let err = OtherError(Arc::new(other.clone()));
            rustls::Error::InvalidCertificate(CertificateError::Other(err))
        };
        let named = intermediates.iter().find(|der| fingerprint(der) == self.pin).ok_or_else(refuse)?;
        let mut roots = RootCertStore::empty();
        roots.add(named.clone().into_owned())?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
                .build()
                .map_err(|err| rustls::Error::General(err.to_string()))?;
        verifier.verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// A TLS_ERROR with the usual remedy.
pub(crate) fn tls_fault(message: &str) -> Fault {
    Fault::new(
        FaultCode::TlsError,
        message,
        "Check that the address belongs to the right machine and that nothing between rewrites TLS.",
    )
}

/// The pin error inside a rustls error, if that is what it was.
pub(crate) fn pin_error(err: &rustls::Error) -> Option<PinError> {
    match err {
        rustls::Error::InvalidCertificate(CertificateError::Other(other)) => {
            other.0.downcast_ref::<PinError>().cloned()
        }
        _ => None,
    }
}

/// Checks that `leaf_pem` fits the CA under `name` at this moment: what a host does before it takes a certificate from
/// the vDC.
pub fn check_issued(leaf_pem: &str, ca_pem: &str, name: &str, now: UnixMs) -> Result<(), Fault> {
    let verifier = WebPkiServerVerifier::builder_with_provider(roots(ca_pem)?, provider())
        .build()
        .map_err(|err| tls_fault("The CA certificate cannot be used.").because(err))?;
    let chain = certificates(leaf_pem)?;
    let name = ServerName::try_from(name.to_owned())
        .map_err(|_| Fault::invalid("name", format!("{name:?} is no DNS name."), "Use a DNS name."))?;
    verifier
        .verify_server_cert(&chain[0], &chain[1..], &name, &[], unix_time(now))
        .map_err(|err| tls_fault("The certificate does not fit its CA.").because(err))?;
    Ok(())
}
