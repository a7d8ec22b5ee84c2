//! Our own certificate authority, the vDC's certificate, and certificates for hosts' keys.
//!
//! Files stand under `<data-dir>/pki`, readable by the owner only. CA and leaves have different subjects, because
//! some TLS libraries take a leaf of the same name for self-signed. Everything runs on ECDSA P-256.

use crate::clock::Clock;
use quantix_client::tls::{CertificateFacts, Identity, VDC_NAME, host_name};
use quantix_model::UnixMs;
use quantix_model::fault::{Fault, FaultCode};
use quantix_model::id::HostId;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData, SubjectPublicKeyInfo,
};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use time::OffsetDateTime;

/// How long the CA lasts.
const CA_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// How long the vDC's and a host's certificate last.
pub const LEAF_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);
/// Certificates begin a little before now, for clocks that are behind.
const BACKDATE: Duration = Duration::from_secs(3600);

/// The authority and what it made for us.
pub struct Pki {
    folder: PathBuf,
    clock: Clock,
    ca_key_pem: String,
    ca_pem: String,
    vdc_key_pem: String,
    vdc_pem: String,
}

impl std::fmt::Debug for Pki {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pki").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// A certificate made for a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostCertificate {
    /// The leaf, followed by nothing: hosts hold the CA separately.
    pub pem: String,
    /// Ends then.
    pub expires_at: UnixMs,
}

impl Pki {
    /// Reads the authority under `data_dir`, or makes it at the first start. The vDC's certificate names `names`
    /// beside its own; it is made anew when a third of its life or less is left, or when a name is missing.
    pub fn open(data_dir: &Path, names: &[String], clock: &Clock) -> Result<Pki, Fault> {
        let folder = data_dir.join(crate::backup::PKI);
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(|err| file_fault(&folder, &err))?;
        let now = clock.now();
        let (ca_key_pem, ca_pem) = match (read(&folder, "ca.key")?, read(&folder, "ca.pem")?) {
            (Some(key), Some(pem)) => (key, pem),
            // The key is written first: a key alone is a first start that was cut short.
            (_, None) => {
                let (key, pem) = make_ca(now)?;
                write(&folder, "ca.key", &key)?;
                write(&folder, "ca.pem", &pem)?;
                tracing::info!("made a new certificate authority");
                (key, pem)
            }
            (None, Some(_)) => {
                let missing = folder.join("ca.key");
                return Err(Fault::new(
                    FaultCode::TlsError,
                    format!("The certificate authority's key {} is missing.", missing.display()),
                    "Restore the pki folder from a backup; hosts trust only this authority.",
                ));
            }
        };
        let mut pki = Pki {
            folder,
            clock: clock.clone(),
            ca_key_pem,
            ca_pem,
            vdc_key_pem: String::new(),
            vdc_pem: String::new(),
        };
        pki.load_vdc(names, now)?;
        Ok(pki)
    }

    fn load_vdc(&mut self, names: &[String], now: UnixMs) -> Result<(), Fault> {
        let wanted = vdc_names(names);
        if let (Some(key), Some(pem)) = (read(&self.folder, "vdc.key")?, read(&self.folder, "vdc.pem")?)
            && still_good(&pem, &key, &wanted, now)
        {
            (self.vdc_key_pem, self.vdc_pem) = (key, pem);
            return Ok(());
        }
        let key = KeyPair::generate().map_err(Fault::internal)?;
        let (pem, _) = self.sign(&key, &wanted, "Quantix-vDC")?;
        write(&self.folder, "vdc.key", &key.serialize_pem())?;
        write(&self.folder, "vdc.pem", &pem)?;
        tracing::info!("made a new certificate for the vDC");
        (self.vdc_key_pem, self.vdc_pem) = (key.serialize_pem(), pem);
        Ok(())
    }

    /// The authority's certificate, for hosts and tools to trust.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The vDC's key and certificate: as a server, and as a client of hosts.
    pub fn identity(&self) -> Result<Identity, Fault> {
        Identity::from_pem(&self.vdc_pem, &self.vdc_key_pem)
    }

    /// Certifies a host's public key (DER `SubjectPublicKeyInfo`) under the name made from its id.
    pub fn sign_host_key(&self, spki_der: &[u8], host: HostId) -> Result<HostCertificate, Fault> {
        let key = SubjectPublicKeyInfo::from_der(spki_der).map_err(|err| {
            Fault::new(
                FaultCode::TlsError,
                "The host's public key is of a kind that cannot be certified.",
                "Let the host make a new key: remove its identity and restart quantix-node.",
            )
            .because(err)
        })?;
        let (pem, expires_at) = self.sign(&key, &[host_name(host)], &format!("Quantix host {host}"))?;
        Ok(HostCertificate { pem, expires_at })
    }

    fn sign(
        &self,
        key: &impl PublicKeyData,
        names: &[String],
        common_name: &str,
    ) -> Result<(String, UnixMs), Fault> {
        let now = self.clock.now();
        let mut params = CertificateParams::new(names).map_err(Fault::internal)?;
        params.distinguished_name = subject(common_name);
        params.not_before = moment(now.0 - millis(BACKDATE));
        params.not_after = moment(now.0 + millis(LEAF_LIFE));
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let ca_key = KeyPair::from_pem(&self.ca_key_pem).map_err(unreadable)?;
        let issuer = Issuer::from_ca_cert_pem(&self.ca_pem, ca_key).map_err(unreadable)?;
        let certificate = params.signed_by(key, &issuer).map_err(Fault::internal)?;
        Ok((certificate.pem(), now.plus(LEAF_LIFE)))
    }
}

fn make_ca(now: UnixMs) -> Result<(String, String), Fault> {
    let key = KeyPair::generate().map_err(Fault::internal)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(&format!("Quantix CA {}", crate::ids::plain().simple()));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = moment(now.0 - millis(BACKDATE));
    params.not_after = moment(now.0 + millis(CA_LIFE));
    let certificate = params.self_signed(&key).map_err(Fault::internal)?;
    Ok((key.serialize_pem(), certificate.pem()))
}

fn subject(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "Quantix");
    name.push(DnType::CommonName, common_name);
    name
}

/// Names and addresses the vDC's certificate must carry.
fn vdc_names(more: &[String]) -> Vec<String> {
    let mut names: Vec<String> =
        [VDC_NAME, "localhost", "127.0.0.1", "::1"].iter().map(|n| (*n).to_owned()).collect();
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let all = std::iter::once(hostname.trim().to_lowercase()).chain(more.iter().cloned());
    for name in all.filter(|n| !n.is_empty() && n.is_ascii()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Whether a certificate fits its key, names all that is wanted, and has more than a third of its life left.
fn still_good(pem: &str, key: &str, wanted: &[String], now: UnixMs) -> bool {
    let Ok(identity) = Identity::from_pem(pem, key) else { return false };
    let Ok(facts) = CertificateFacts::read(identity.leaf_der()) else { return false };
    let fits = KeyPair::from_pem(key).is_ok_and(|k| k.subject_public_key_info() == facts.spki_der);
    let left = now.age(facts.not_after);
    let is_name = |n: &&String| n.parse::<std::net::IpAddr>().is_err();
    let named = wanted.iter().filter(is_name).all(|n| facts.dns_names.contains(n));
    fits && named && left > LEAF_LIFE / 3 && facts.not_before <= now
}

fn moment(unix_ms: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(unix_ms.div_euclid(1000)).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn unreadable(err: rcgen::Error) -> Fault {
    Fault::new(
        FaultCode::TlsError,
        "The certificate authority cannot be read.",
        "Restore the pki folder from a backup; hosts trust only this authority.",
    )
    .because(err)
}

fn file_fault(path: &Path, err: &std::io::Error) -> Fault {
    Fault::new(
        FaultCode::StoreUnavailable,
        format!("{} cannot be used.", path.display()),
        "Check that the data folder exists, has free space and belongs to the user who runs the vDC.",
    )
    .because(err)
}

fn read(folder: &Path, name: &str) -> Result<Option<String>, Fault> {
    let path = folder.join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(file_fault(&path, &err)),
    }
}

/// Writes a file for the owner's eyes only, whole or not at all.
fn write(folder: &Path, name: &str, text: &str) -> Result<(), Fault> {
    let path = folder.join(name);
    let part = folder.join(format!(".{name}.part"));
    let written = (|| {
        let _ = std::fs::remove_file(&part);
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&part, &path)?;
        std::fs::File::open(folder)?.sync_all()
    })();
    written.map_err(|err| file_fault(&path, &err))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn made_once_private_and_renewed_in_time() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::system();
        let first = Pki::open(dir.path(), &[], &clock).unwrap();
        for name in ["ca.key", "ca.pem", "vdc.key", "vdc.pem"] {
            let mode = std::fs::metadata(dir.path().join("pki").join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let same = Pki::open(dir.path(), &[], &clock).unwrap();
        assert_eq!((first.ca_pem(), &first.vdc_pem), (same.ca_pem(), &same.vdc_pem));
        let named = Pki::open(dir.path(), &["vdc.example.org".into()], &clock).unwrap();
        assert_ne!(named.vdc_pem, first.vdc_pem);
        clock.advance(Duration::from_secs(61 * 24 * 3600));
        let renewed = Pki::open(dir.path(), &[], &clock).unwrap();
        assert_eq!(renewed.ca_pem(), first.ca_pem());
        assert_ne!(renewed.vdc_pem, named.vdc_pem);
    }

    #[test]
    fn host_keys_are_certified_under_their_id() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::open(dir.path(), &[], &Clock::system()).unwrap();
        let key = KeyPair::generate().unwrap();
        let host = crate::ids::host();
        let made = pki.sign_host_key(&key.subject_public_key_info(), host).unwrap();
        quantix_client::tls::check_issued(&made.pem, pki.ca_pem(), &host_name(host)).unwrap();
        let identity = Identity::from_pem(&made.pem, &key.serialize_pem()).unwrap();
        let facts = CertificateFacts::read(identity.leaf_der()).unwrap();
        assert_eq!(facts.host_id(), Some(host));
        assert_eq!(facts.spki_der, key.subject_public_key_info());
        assert!(pki.sign_host_key(b"no key", host).is_err());
    }

    #[test]
    fn a_lost_key_is_said_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        Pki::open(dir.path(), &[], &Clock::system()).unwrap();
        std::fs::remove_file(dir.path().join("pki/ca.key")).unwrap();
        assert_eq!(Pki::open(dir.path(), &[], &Clock::system()).unwrap_err().code, FaultCode::TlsError);
    }
}
