//! The certificate that people brought for their own name of the vDC, with its key: checked when it comes, kept sealed
//! in one file.

use super::file;
use crate::seal::Seal;
use quantix_client::tls::Identity;
use quantix_model::UnixMs;
use quantix_model::fault::{Fault, FaultCode};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::Path;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

const FILE: &str = "own.json";
/// What its sealed key is good for.
const PURPOSE: &str = "uploaded certificate";
/// A chain of ten RSA certificates is a quarter of that.
const PEM_BYTES_MAX: usize = 64 << 10;
/// No public chain is half as long.
const CHAIN_MAX: usize = 10;

/// A certificate that people brought.
#[derive(Clone, Serialize, Deserialize)]
pub struct Own {
    /// The leaf, then its issuers.
    pub chain_pem: String,
    /// Its key, sealed.
    key: String,
    /// Names and addresses it is good for.
    pub names: Vec<String>,
    /// Who signed it, in its own words.
    pub issuer: String,
    /// Valid from.
    pub not_before: UnixMs,
    /// Valid until: the first end in the chain.
    pub expires_at: UnixMs,
    /// Brought then.
    pub uploaded_at: UnixMs,
    /// By this user.
    pub uploaded_by: String,
}

impl std::fmt::Debug for Own {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Own").field("names", &self.names).finish_non_exhaustive()
    }
}

/// The field that something is wrong with.
#[derive(Clone, Copy)]
enum OwnCheck {
    Chain,
    Key,
}

fn refuse(check: OwnCheck, message: &str, remedy: &str) -> Fault {
    let field = match check {
        OwnCheck::Chain => "chain_pem",
        OwnCheck::Key => "key_pem",
    };
    Fault { field: field.into(), ..Fault::new(FaultCode::CertificateRefused, message, remedy) }
}

impl Own {
    /// Checks a chain and its key: that they fit each other, what names and dates there are, and the chain's order. The
    /// key is not repeated in any refusal.
    pub fn check(seal: &Seal, chain_pem: &str, key_pem: &str, user: &str, now: UnixMs) -> Result<Own, Fault> {
        let chain = read_chain(chain_pem)?;
        let key = read_key(key_pem)?;
        let parsed: Result<Vec<X509Certificate<'_>>, _> =
            chain.iter().map(|der| X509Certificate::from_der(der).map(|(_, cert)| cert)).collect();
        let parsed = parsed.map_err(|err| {
            refuse(OwnCheck::Chain, "A certificate in the chain cannot be read.", "Export it anew as PEM.")
                .because(err)
        })?;
        let certified = CertifiedKey::new(chain.clone(), key);
        certified.keys_match().map_err(|err| {
            let remedy = "Take the key that the certificate was requested with. The first certificate of the \
                          chain must be the vDC's own.";
            refuse(OwnCheck::Key, "The key does not belong to the first certificate of the chain.", remedy)
                .because(err)
        })?;
        let names = names_of(&parsed[0])?;
        check_order(&parsed)?;
        let (not_before, expires_at) = check_dates(&parsed, now)?;
        Ok(Own {
            chain_pem: chain_pem.trim().to_owned() + "\n",
            key: seal.close(PURPOSE, key_pem.as_bytes())?,
            names,
            issuer: parsed[0].issuer().to_string(),
            not_before,
            expires_at,
            uploaded_at: now,
            uploaded_by: user.to_owned(),
        })
    }

    /// As a server shows it.
    pub fn identity(&self, seal: &Seal) -> Result<Identity, Fault> {
        Identity::from_pem(&self.chain_pem, &seal.open_text(PURPOSE, &self.key)?)
    }

    pub(super) fn load(folder: &Path) -> Result<Option<Own>, Fault> {
        let Some(text) = file::read(folder, FILE)? else { return Ok(None) };
        let own = serde_json::from_str(&text).map_err(|err| {
            Fault::new(
                FaultCode::TlsError,
                format!("The uploaded certificate in {} cannot be read.", folder.join(FILE).display()),
                "Restore the pki folder from a backup, or remove this file and upload the certificate anew.",
            )
            .because(err)
        })?;
        Ok(Some(own))
    }

    pub(super) fn save(&self, folder: &Path) -> Result<(), Fault> {
        file::write(folder, FILE, &serde_json::to_string_pretty(self).map_err(Fault::internal)?)
    }

    pub(super) fn remove(folder: &Path) -> Result<bool, Fault> {
        file::remove(folder, FILE)
    }
}

fn read_chain(pem: &str) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let remedy =
        "Paste the certificate as PEM (-----BEGIN CERTIFICATE-----), the vDC's own first, then its issuers.";
    if pem.len() > PEM_BYTES_MAX {
        return Err(refuse(OwnCheck::Chain, "The chain is longer than 64 KiB.", remedy));
    }
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match chain {
        Err(err) => Err(refuse(OwnCheck::Chain, "The chain is no PEM text.", remedy).because(err)),
        Ok(chain) if chain.is_empty() => {
            Err(refuse(OwnCheck::Chain, "There is no certificate in the chain.", remedy))
        }
        Ok(chain) if chain.len() > CHAIN_MAX => {
            Err(refuse(OwnCheck::Chain, "There are more than 10 certificates in the chain.", remedy))
        }
        Ok(chain) => Ok(chain),
    }
}

fn read_key(pem: &str) -> Result<std::sync::Arc<dyn rustls::sign::SigningKey>, Fault> {
    let remedy = "Paste the private key as PEM without a passphrase: PKCS #8, RSA or EC.";
    if pem.len() > PEM_BYTES_MAX {
        return Err(refuse(OwnCheck::Key, "The key is longer than 64 KiB.", remedy));
    }
    if pem.contains("ENCRYPTED") {
        return Err(refuse(OwnCheck::Key, "The key is protected by a passphrase.", remedy));
    }
    // What the parser says could repeat a part of the key.
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|_| refuse(OwnCheck::Key, "The key is no PEM text of a private key.", remedy))?;
    any_supported_type(&key)
        .map_err(|_| refuse(OwnCheck::Key, "The key is of a kind that TLS here cannot use.", remedy))
}

fn names_of(leaf: &X509Certificate<'_>) -> Result<Vec<String>, Fault> {
    let found = leaf.subject_alternative_name().ok().flatten();
    let found = found.map(|names| names.value.general_names.clone()).unwrap_or_default();
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match *bytes {
            [a, b, c, d] => Some(IpAddr::from([*a, *b, *c, *d]).to_string()),
            bytes => <[u8; 16]>::try_from(bytes).ok().map(|b| IpAddr::from(b).to_string()),
        },
        _ => None,
    };
    let names: Vec<String> = found.iter().filter_map(name).collect();
    if leaf.is_ca() {
        return Err(refuse(
            OwnCheck::Chain,
            "The first certificate of the chain is that of an authority.",
            "Put the vDC's own certificate first.",
        ));
    }
    if names.is_empty() {
        return Err(refuse(
            OwnCheck::Chain,
            "The certificate names no host.",
            "Have it made with the vDC's name as subject alternative name: browsers look at nothing else.",
        ));
    }
    Ok(names)
}

fn check_order(chain: &[X509Certificate<'_>]) -> Result<(), Fault> {
    for (n, pair) in chain.windows(2).enumerate() {
        if pair[0].issuer() != pair[1].subject() {
            return Err(refuse(
                OwnCheck::Chain,
                &format!("Certificate {} of the chain is not the issuer of the one before it.", n + 2),
                "Put them in order: the vDC's own, who signed it, who signed that one.",
            )
            .because(format!("{} was signed by {}", pair[0].subject(), pair[0].issuer())));
        }
    }
    Ok(())
}

/// When the chain is valid: from the last beginning to the first end.
fn check_dates(chain: &[X509Certificate<'_>], now: UnixMs) -> Result<(UnixMs, UnixMs), Fault> {
    let ms = |seconds: i64| UnixMs(seconds.saturating_mul(1000));
    let from = chain.iter().map(|c| ms(c.validity().not_before.timestamp())).max().unwrap_or(now);
    let until = chain.iter().map(|c| ms(c.validity().not_after.timestamp())).min().unwrap_or(now);
    if until <= now {
        return Err(refuse(
            OwnCheck::Chain,
            "The certificate, or one that vouches for it, has expired.",
            "Have a new one made.",
        ));
    }
    if from > now {
        return Err(refuse(
            OwnCheck::Chain,
            "The certificate is not valid yet.",
            "Set the vDC's clock right (NTP), or wait until it is valid.",
        ));
    }
    Ok((from, until))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    struct Made {
        root: String,
        leaf: String,
        key: String,
    }

    fn made(names: &[&str], year: i32) -> Made {
        let root_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "House CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&root_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let issuer = Issuer::from_ca_cert_pem(&root.pem(), root_key).unwrap();
        let leaf = params.signed_by(&key, &issuer).unwrap();
        Made { root: root.pem(), leaf: leaf.pem(), key: key.serialize_pem() }
    }

    fn refused(chain: &str, key: &str) -> (String, String) {
        let dir = tempfile::tempdir().unwrap();
        let fault = Own::check(&seal(&dir), chain, key, "admin", now()).unwrap_err();
        assert_eq!(fault.code, FaultCode::CertificateRefused, "{fault}");
        assert!(!fault.to_string().contains("PRIVATE"), "{fault}");
        (fault.field, fault.message)
    }

    fn seal(dir: &tempfile::TempDir) -> Seal {
        Seal::open(&dir.path().join("seal.key"), true).unwrap()
    }

    fn now() -> UnixMs {
        crate::clock::Clock::system().now()
    }

    #[test]
    fn a_good_one_is_kept_and_comes_back() {
        let made = made(&["vdc.example.org", "192.0.2.7"], 2090);
        let dir = tempfile::tempdir().unwrap();
        let seal = seal(&dir);
        let own = Own::check(&seal, &(made.leaf + &made.root), &made.key, "admin", now()).unwrap();
        assert_eq!(own.names, ["vdc.example.org", "192.0.2.7"]);
        assert!(!format!("{own:?}").contains("BEGIN"));
        own.save(dir.path()).unwrap();
        assert!(!std::fs::read_to_string(dir.path().join(FILE)).unwrap().contains("PRIVATE KEY"));
        let again = Own::load(dir.path()).unwrap().unwrap();
        assert_eq!((&again.chain_pem, again.expires_at), (&own.chain_pem, own.expires_at));
        again.identity(&seal).unwrap();
        assert!(Own::remove(dir.path()).unwrap() && Own::load(dir.path()).unwrap().is_none());
    }

    #[test]
    fn each_refusal_says_which() {
        let (good, other) = (made(&["vdc.example.org"], 2090), made(&["vdc.example.org"], 2090));
        let chain = good.leaf.clone() + &good.root;
        assert_eq!(refused("", &good.key).1, "There is no certificate in the chain.");
        assert_eq!(refused(&chain, "nothing").0, "key_pem");
        assert!(refused(&chain, &other.key).1.contains("does not belong"));
        assert!(refused(&(good.root.clone() + &good.leaf), &good.key).1.contains("does not belong"));
        assert!(refused(&(good.leaf.clone() + &good.leaf), &good.key).1.contains("not the issuer"));
        let old = made(&["vdc.example.org"], 2021);
        assert!(refused(&old.leaf, &old.key).1.contains("expired"));
        let nameless = made(&[], 2090);
        assert!(refused(&nameless.leaf, &nameless.key).1.contains("names no host"));
        let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----";
        assert!(refused(&chain, locked).1.contains("passphrase"));
    }
}
