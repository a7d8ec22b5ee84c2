//! Who this host is: a key made at first start, and the certificates that speak for it.
//!
//! ```text
//!   first start ──▶ key + self-signed certificate     shown to strangers; the registration token pins it
//!   registered  ──▶ the same key, certified by the vDC shown to whoever asks for <id>.host.quantix.internal
//! ```
//! Both are served side by side, chosen by the name the caller asks for, so that a registration whose answer was
//! lost can be repeated, and an expired host can be added again. The key never leaves its file.

use crate::clock;
use crate::file;
use crate::ledger::Enrolment;
use quantix_client::registration::Completion;
use quantix_client::tls::{self, CertificateFacts, Fingerprint, Identity, VDC_NAME};
use quantix_model::id::HostId;
use quantix_model::{Fault, FaultCode, UnixMs};
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PublicKeyData as _,
};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

/// Name in the self-signed certificate; callers that add a host ask for it.
const NEW_NAME: &str = "new.host.quantix.internal";
/// The self-signed certificate only has to outlive the wait for registration; its key is what lasts.
const SELF_SIGNED_DAYS: i64 = 3650;
/// Certificates start in the past, so that a clock a little behind still takes them.
const BACKDATE: time::Duration = time::Duration::hours(1);
/// A PEM file of ours is far smaller.
const PEM_BYTES_MAX: u64 = 64 << 10;

/// The host's key and its self-signed certificate.
pub struct HostIdentity {
    key_pem: String,
    signing: Arc<dyn SigningKey>,
    self_signed: CertificateDer<'static>,
    spki_der: Vec<u8>,
}

impl fmt::Debug for HostIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostIdentity({})", self.fingerprint())
    }
}

impl HostIdentity {
    /// Reads key and certificate from the state folder; makes what is missing or has expired.
    pub fn open(state_dir: &Path, now: UnixMs) -> Result<HostIdentity, Fault> {
        let key_path = state_dir.join("host.key");
        let key = match read_pem(&key_path)? {
            Some(pem) => {
                check_mode(&key_path)?;
                KeyPair::from_pem(&pem).map_err(|err| unusable(&key_path, err))?
            }
            None => {
                let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(Fault::internal)?;
                write(&key_path, &key.serialize_pem())?;
                key
            }
        };
        let key_pem = key.serialize_pem();
        let self_signed = self_signed(&state_dir.join("host.pem"), &key, now)?;
        let spki_der = CertificateFacts::read(&self_signed)?.spki_der;
        let der = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(Fault::internal)?;
        let signing = any_supported_type(&der).map_err(Fault::internal)?;
        Ok(HostIdentity { key_pem, signing, self_signed, spki_der })
    }

    /// What the registration token carries: the fingerprint of the certificate shown to strangers.
    pub fn fingerprint(&self) -> Fingerprint {
        tls::fingerprint(&self.self_signed)
    }

    /// Checks what a vDC hands over at the end of a registration: it must certify this very key under its own CA.
    pub fn accept(&self, completion: &Completion) -> Result<Enrolment, Fault> {
        let host_id: HostId = completion.host_id.parse()?;
        quantix_model::name::check_label("host_name", &completion.host_name)?;
        let _: quantix_client::HostUrl =
            completion.vdc_url.parse().map_err(|f: Fault| Fault { field: "vdc_url".into(), ..f })?;
        let refuse = |field: &str, why: &str| {
            let fault = Fault::new(
                FaultCode::InvalidRequest,
                format!("The certificate the vDC sent cannot be used: {why}."),
                "Add the host again; if it comes back, compare the releases of vDC and host.",
            );
            Fault { field: field.into(), ..fault }
        };
        let leaf = certificates(&completion.certificate_pem)?;
        let facts = CertificateFacts::read(&leaf[0])?;
        if facts.spki_der != self.spki_der {
            return Err(refuse("certificate_pem", "it certifies another key"));
        }
        if facts.host_id() != Some(host_id) {
            return Err(refuse("certificate_pem", "it carries another host's name"));
        }
        let (leaf, ca) = (&completion.certificate_pem, &completion.vdc_ca_pem);
        tls::check_issued(leaf, ca, &tls::host_name(host_id), clock::now())?;
        Ok(Enrolment {
            host_id,
            host_name: completion.host_name.clone(),
            vdc_url: completion.vdc_url.clone(),
            vdc_ca_pem: completion.vdc_ca_pem.clone(),
            certificate_pem: completion.certificate_pem.clone(),
            confirmed: false,
            trusted_at: UnixMs(0),
        })
    }

    /// Checks a renewed certificate and whom to trust with it. It must do for this host what the one it has does.
    pub fn accept_renewed(
        &self,
        enrolment: &Enrolment,
        certificate_pem: &str,
        trust_pem: &str,
        now: UnixMs,
    ) -> Result<Enrolment, Fault> {
        let renewed = self.accept(&Completion {
            host_id: enrolment.host_id.to_string(),
            host_name: enrolment.host_name.clone(),
            vdc_url: enrolment.vdc_url.clone(),
            vdc_ca_pem: trust_pem.to_owned(),
            certificate_pem: certificate_pem.to_owned(),
        })?;
        let told_now = trust_pem != enrolment.vdc_ca_pem;
        let trusted_at = if told_now { now } else { enrolment.trusted_at };
        Ok(Enrolment { confirmed: enrolment.confirmed, trusted_at, ..renewed })
    }

    /// The public key as DER `SubjectPublicKeyInfo`.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    /// A certificate request (PKCS #10, DER), which proves that this host has its key.
    pub fn csr_der(&self) -> Result<Vec<u8>, Fault> {
        let key = KeyPair::from_pem(&self.key_pem).map_err(Fault::internal)?;
        let params = CertificateParams::new(vec![NEW_NAME.to_owned()]).map_err(Fault::internal)?;
        Ok(params.serialize_request(&key).map_err(Fault::internal)?.der().to_vec())
    }

    /// How this host serves: client certificates are optional here and judged per call.
    pub fn server_config(&self, enrolment: Option<&Enrolment>) -> Result<Arc<ServerConfig>, Fault> {
        let versions = &[&rustls::version::TLS13, &rustls::version::TLS12];
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(Fault::internal)?;
        let plain = CertifiedKey::new(vec![self.self_signed.clone()], Arc::clone(&self.signing));
        let mut shown = Shown { stranger: Arc::new(plain), certified: None };
        let builder = match enrolment {
            None => builder.with_no_client_auth(),
            Some(enrolment) => {
                let chain = certificates(&enrolment.certificate_pem)?;
                let key = CertifiedKey::new(chain, Arc::clone(&self.signing));
                shown.certified = Some((tls::host_name(enrolment.host_id), Arc::new(key)));
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(roots(&enrolment.vdc_ca_pem)?, provider)
                        .allow_unauthenticated()
                        .build()
                        .map_err(Fault::internal)?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(shown));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(tls::server_by(Arc::new(config), clock::machine()))
    }

    /// How this host calls its vDC.
    pub fn client_config(&self, enrolment: &Enrolment) -> Result<Arc<ClientConfig>, Fault> {
        let identity = Identity::from_pem(&enrolment.certificate_pem, &self.key_pem)?;
        let config = tls::mutual_client(&identity, &enrolment.vdc_ca_pem)?;
        Ok(tls::client_by(config, clock::machine()))
    }
}

/// Whether a client certificate that the verifier let through is the vDC's.
pub fn is_vdc(certificate_der: &[u8]) -> bool {
    CertificateFacts::read(certificate_der).is_ok_and(|facts| facts.dns_names.iter().any(|n| n == VDC_NAME))
}

#[derive(Debug)]
struct Shown {
    stranger: Arc<CertifiedKey>,
    certified: Option<(String, Arc<CertifiedKey>)>,
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match &self.certified {
            Some((name, key)) if hello.server_name() == Some(name.as_str()) => Some(Arc::clone(key)),
            _ => Some(Arc::clone(&self.stranger)),
        }
    }
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err(bad_pem("it holds no certificate")),
        Err(err) => Err(bad_pem(&err.to_string())),
    }
}

fn bad_pem(cause: &str) -> Fault {
    let fault = Fault::new(
        FaultCode::InvalidRequest,
        "A certificate the vDC sent cannot be read.",
        "Add the host again; if it comes back, compare the releases of vDC and host.",
    );
    fault.because(cause)
}

fn roots(ca_pem: &str) -> Result<Arc<RootCertStore>, Fault> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca_pem)? {
        roots.add(certificate).map_err(|err| bad_pem(&err.to_string()))?;
    }
    Ok(Arc::new(roots))
}

fn self_signed(path: &Path, key: &KeyPair, now: UnixMs) -> Result<CertificateDer<'static>, Fault> {
    if let Some(pem) = read_pem(path)? {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|err| unusable(path, err))?;
        let facts = CertificateFacts::read(&der)?;
        if facts.not_after > now && facts.spki_der == key.subject_public_key_info() {
            return Ok(der);
        }
    }
    let mut params = CertificateParams::new(vec![NEW_NAME.to_owned()]).map_err(Fault::internal)?;
    params.distinguished_name.push(DnType::CommonName, "Quantix host, not yet registered");
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let start = time::OffsetDateTime::from_unix_timestamp(now.0 / 1000).map_err(Fault::internal)?;
    params.not_before = start - BACKDATE;
    params.not_after = start + time::Duration::days(SELF_SIGNED_DAYS);
    let certificate = params.self_signed(key).map_err(Fault::internal)?;
    write(path, &certificate.pem())?;
    Ok(certificate.der().clone())
}

fn read_pem(path: &Path) -> Result<Option<String>, Fault> {
    let bytes = file::read(path, PEM_BYTES_MAX).map_err(|err| unusable(path, err))?;
    bytes.map(|b| String::from_utf8(b).map_err(|err| unusable(path, err))).transpose()
}

fn write(path: &Path, text: &str) -> Result<(), Fault> {
    file::replace(path, text.as_bytes()).map_err(|err| unusable(path, err))
}

fn check_mode(path: &Path) -> Result<(), Fault> {
    let mode = std::fs::symlink_metadata(path).map_err(|err| unusable(path, err))?.mode();
    if mode & 0o077 != 0 {
        return Err(unusable(path, format!("others may read it (mode {:o})", mode & 0o7777)));
    }
    Ok(())
}

fn unusable(path: &Path, cause: impl fmt::Display) -> Fault {
    Fault::new(
        FaultCode::InvalidArgument,
        format!("The host's identity file {} cannot be used.", path.display()),
        "Make it readable for the daemon's user alone. If it is lost, move it away: \
         the host then gets a new identity and must be added again.",
    )
    .because(cause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_same_identity_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let one = HostIdentity::open(dir.path(), clock::now()).unwrap();
        let two = HostIdentity::open(dir.path(), clock::now()).unwrap();
        assert_eq!(one.fingerprint(), two.fingerprint());
        let mode = std::fs::metadata(dir.path().join("host.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_lost_certificate_is_made_again_for_the_same_key() {
        let dir = tempfile::tempdir().unwrap();
        let one = HostIdentity::open(dir.path(), clock::now()).unwrap();
        std::fs::remove_file(dir.path().join("host.pem")).unwrap();
        let two = HostIdentity::open(dir.path(), clock::now()).unwrap();
        assert_eq!(one.spki_der, two.spki_der);
    }

    #[test]
    fn a_key_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        HostIdentity::open(dir.path(), clock::now()).unwrap();
        let key = dir.path().join("host.key");
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
        let fault = HostIdentity::open(dir.path(), clock::now()).unwrap_err();
        assert!(fault.cause.contains("644"), "{fault}");
    }

    #[test]
    fn a_damaged_key_is_refused_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        file::replace(&dir.path().join("host.key"), b"nonsense").unwrap();
        assert!(HostIdentity::open(dir.path(), clock::now()).is_err());
        assert_eq!(std::fs::read(dir.path().join("host.key")).unwrap(), b"nonsense");
    }
}
