//! Making keys and certificates. Everything runs on ECDSA P-256. Authority and leaves have different subjects, because
//! some TLS libraries take a leaf of the same name for self-signed.

use super::authority::{Authority, CA_LIFE, Standing};
use super::unreadable;
use quantix_client::tls::{CertificateFacts, Identity, VDC_NAME};
use quantix_model::UnixMs;
use quantix_model::fault::Fault;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData,
};
use std::time::Duration;
use time::OffsetDateTime;

/// How long the vDC's and a host's certificate last.
pub const LEAF_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);
/// Certificates begin a little before now, for clocks that are behind.
const BACKDATE: Duration = Duration::from_secs(3600);

/// A new authority, and its key as PEM.
pub(super) fn make_ca(now: UnixMs) -> Result<(Authority, String), Fault> {
    let key = KeyPair::generate().map_err(Fault::internal)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(&format!("Quantix CA {}", crate::ids::plain().simple()));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = moment(now.0 - millis(BACKDATE));
    params.not_after = moment(now.0 + millis(CA_LIFE));
    let certificate = params.self_signed(&key).map_err(Fault::internal)?;
    let authority = Authority {
        certificate_pem: certificate.pem(),
        key: String::new(),
        standing: Standing::Signing,
        since: now,
        made_at: now,
        expires_at: now.plus(CA_LIFE),
    };
    Ok((authority, key.serialize_pem()))
}

/// Certifies a key; answers the leaf and its end, which is never later than the authority's own.
pub(super) fn sign(
    authority: &Authority,
    ca_key_pem: &str,
    key: &impl PublicKeyData,
    names: &[String],
    common_name: &str,
    now: UnixMs,
) -> Result<(String, UnixMs), Fault> {
    let end = now.plus(LEAF_LIFE).min(authority.expires_at);
    let mut params = CertificateParams::new(names).map_err(Fault::internal)?;
    params.distinguished_name = subject(common_name);
    params.not_before = moment(now.0 - millis(BACKDATE));
    params.not_after = moment(end.0);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let ca_key = KeyPair::from_pem(ca_key_pem).map_err(unreadable)?;
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate_pem, ca_key).map_err(unreadable)?;
    let certificate = params.signed_by(key, &issuer).map_err(Fault::internal)?;
    Ok((certificate.pem(), end))
}

fn subject(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "Quantix");
    name.push(DnType::CommonName, common_name);
    name
}

/// Names and addresses the vDC's certificate must carry.
pub(super) fn vdc_names(more: &[String]) -> Vec<String> {
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
pub(super) fn still_good(pem: &str, key: &str, wanted: &[String], now: UnixMs) -> bool {
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
