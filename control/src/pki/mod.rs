//! Our own certificate authorities, the vDC's certificate, the certificate people brought, and certificates for hosts'
//! keys.
//!
//! ```text
//!   open ─▶ Held ──tend (each second): authorities step, vDC's certificate is made anew in time──▶ Held'
//!             │                                                                                   │
//!             └── server(), client(): made from what is held now; `epoch` counts up with each change, and whoever keeps
//!                 a configuration makes it anew then
//! ```
//! Files stand under `<data-dir>/pki`, readable by the owner only, each replaced whole: `authorities.json` decides,
//! `ca.pem` repeats the trusted certificates for tools. [`authority`] says how authorities take turns. Nothing here
//! reads the store; whoever calls `tend` knows which hosts trust what.

mod authority;
mod file;
mod issue;
mod own;

pub use authority::{Authorities, Authority, OVERLAP, Standing, Step};
pub use issue::LEAF_LIFE;
pub use own::Own;

use crate::clock::Clock;
use crate::seal::{Seal, is_sealed};
use quantix_client::tls::{self, CertificateFacts, Identity, VDC_NAME, host_name};
use quantix_model::UnixMs;
use quantix_model::fault::{Fault, FaultCode};
use quantix_model::id::HostId;
use rcgen::{KeyPair, SubjectPublicKeyInfo};
use rustls::{ClientConfig, ServerConfig};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tokio::sync::watch;
use zeroize::Zeroizing;

const AUTHORITIES: &str = "authorities.json";
const BUNDLE: &str = "ca.pem";
/// Where a release that knew one authority kept its key, in clear.
const LEGACY_KEY: &str = "ca.key";
/// Sealed; releases before kept it in clear.
const VDC_KEY: &str = "vdc.key";
/// What the sealed key is good for.
const VDC_KEY_PURPOSE: &str = "the vDC's certificate";
const VDC_PEM: &str = "vdc.pem";
/// `quantix-vdc rotate-ca` leaves this for the vDC that runs, or will.
const WANTED: &str = "rotate.wanted";

/// What all trust, and what stands for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// Certificates of all trusted authorities, the signing one first.
    pub pem: String,
    /// See [`tls::bundle_digest`].
    pub digest: [u8; 32],
}

impl Bundle {
    fn of(authorities: &Authorities) -> Result<Arc<Bundle>, Fault> {
        let pem = authorities.bundle_pem();
        Ok(Arc::new(Bundle { digest: tls::bundle_digest(&pem)?, pem }))
    }
}

/// Everything that is held, as of one moment.
#[derive(Clone)]
struct Held {
    authorities: Authorities,
    bundle: Arc<Bundle>,
    vdc_key_pem: Zeroizing<String>,
    vdc_pem: String,
    own: Option<Own>,
}

/// The authorities and what they made for us.
pub struct Pki {
    folder: PathBuf,
    clock: Clock,
    seal: Arc<Seal>,
    names: Vec<String>,
    held: RwLock<Arc<Held>>,
    /// Held while files change: one change at a time.
    changing: Mutex<()>,
    epoch: watch::Sender<u64>,
}

impl std::fmt::Debug for Pki {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pki").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// A certificate made for a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostCertificate {
    /// The leaf, followed by nothing: hosts hold the authorities separately.
    pub pem: String,
    /// Ends then.
    pub expires_at: UnixMs,
}

impl Pki {
    /// Reads the authorities under `data_dir`, or makes the first one at the first start. The vDC's certificate names
    /// `names` beside its own; it is made anew when a third of its life or less is left, or when a name is missing.
    pub fn open(data_dir: &Path, names: &[String], clock: &Clock, seal: &Arc<Seal>) -> Result<Pki, Fault> {
        let folder = data_dir.join(crate::backup::PKI);
        file::make_folder(&folder)?;
        let now = clock.now();
        let authorities = load(&folder, seal, now)?;
        let bundle = Bundle::of(&authorities)?;
        let own = Own::load(&folder)?;
        let held =
            Held { authorities, bundle, vdc_key_pem: Zeroizing::default(), vdc_pem: String::new(), own };
        let pki = Pki {
            folder,
            clock: clock.clone(),
            seal: Arc::clone(seal),
            names: issue::vdc_names(names),
            held: RwLock::new(Arc::new(held)),
            changing: Mutex::new(()),
            epoch: watch::channel(0).0,
        };
        let key = pki.take_over_key()?;
        let pem = file::read(&pki.folder, VDC_PEM)?.unwrap_or_default();
        let mut held = Held::clone(&pki.held());
        (held.vdc_key_pem, held.vdc_pem) = (key, pem);
        pki.renew_vdc(&mut held, now)?;
        file::write(&pki.folder, BUNDLE, &held.bundle.pem)?;
        pki.hold(held);
        Ok(pki)
    }

    /// The vDC's key, sealed from now on when it was not. What cannot be opened is made anew, with its certificate.
    fn take_over_key(&self) -> Result<Zeroizing<String>, Fault> {
        let Some(text) = file::read(&self.folder, VDC_KEY)?.map(Zeroizing::new) else {
            return Ok(Zeroizing::default());
        };
        if !is_sealed(&text) {
            self.write_key(&text)?;
            tracing::info!("the key of the vDC's certificate was sealed");
            return Ok(text);
        }
        Ok(self.seal.open_text(VDC_KEY_PURPOSE, &text).unwrap_or_else(|fault| {
            tracing::warn!(%fault, "the vDC's certificate is made anew");
            Zeroizing::default()
        }))
    }

    fn write_key(&self, pem: &str) -> Result<(), Fault> {
        file::write(&self.folder, VDC_KEY, &self.seal.close(VDC_KEY_PURPOSE, pem.as_bytes())?)
    }

    fn held(&self) -> Arc<Held> {
        Arc::clone(&self.held.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn hold(&self, held: Held) {
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(held);
        self.epoch.send_modify(|epoch| *epoch += 1);
    }

    /// Makes the vDC's certificate anew when it must be; whether it did.
    fn renew_vdc(&self, held: &mut Held, now: UnixMs) -> Result<bool, Fault> {
        let issuer = held.authorities.of_vdc();
        let by_it = |pem: &str| tls::is_signed_by_first(pem, &issuer.certificate_pem).unwrap_or(false);
        if issue::still_good(&held.vdc_pem, &held.vdc_key_pem, &self.names, now) && by_it(&held.vdc_pem) {
            return Ok(false);
        }
        let key = KeyPair::generate().map_err(Fault::internal)?;
        let (leaf, _) = issue::sign(issuer, &issuer.key(&self.seal)?, &key, &self.names, "Quantix-vDC", now)?;
        // With the authority behind it: a host that joins knows only that one's fingerprint.
        let pem = leaf + &issuer.certificate_pem;
        let key_pem = Zeroizing::new(key.serialize_pem());
        self.write_key(&key_pem)?;
        file::write(&self.folder, VDC_PEM, &pem)?;
        tracing::info!("made a new certificate for the vDC");
        (held.vdc_key_pem, held.vdc_pem) = (key_pem, pem);
        Ok(true)
    }

    /// All trusted authorities, for hosts and tools.
    pub fn bundle(&self) -> Arc<Bundle> {
        Arc::clone(&self.held().bundle)
    }

    /// All authorities and how they stand.
    pub fn authorities(&self) -> Authorities {
        self.held().authorities.clone()
    }

    /// What a join token names: the authority that vouches for the vDC now.
    pub fn pin(&self) -> Result<tls::Fingerprint, Fault> {
        self.held().authorities.of_vdc().fingerprint()
    }

    /// The vDC's own certificate.
    pub fn vdc_facts(&self) -> Result<CertificateFacts, Fault> {
        CertificateFacts::read(self.identity()?.leaf_der())
    }

    /// The certificate people brought.
    pub fn own(&self) -> Option<Own> {
        self.held().own.clone()
    }

    /// Counts up with each change of what is held.
    pub fn epoch(&self) -> watch::Receiver<u64> {
        self.epoch.subscribe()
    }

    /// The vDC's key and certificate: as a server, and as a client of hosts.
    pub fn identity(&self) -> Result<Identity, Fault> {
        let held = self.held();
        Identity::from_pem(&held.vdc_pem, &held.vdc_key_pem)
    }

    /// How the vDC calls hosts now.
    pub fn client(&self) -> Result<Arc<ClientConfig>, Fault> {
        let config = tls::mutual_client(&self.identity()?, &self.bundle().pem)?;
        Ok(tls::client_by(config, &self.clock))
    }

    /// How the vDC serves now: hosts, who ask for [`VDC_NAME`], see its own certificate, everybody else the one that
    /// people brought, if they did.
    pub fn server(&self) -> Result<Arc<ServerConfig>, Fault> {
        let held = self.held();
        let config = match &held.own {
            None => tls::server(&self.identity()?, Some(&held.bundle.pem))?,
            Some(own) => {
                let others = own.identity(&self.seal)?;
                tls::server_by_name(&self.identity()?, VDC_NAME, &others, Some(&held.bundle.pem))?
            }
        };
        Ok(tls::server_by(config, &self.clock))
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
        let (held, now) = (self.held(), self.clock.now());
        let authority = held.authorities.signing();
        let names = [host_name(host)];
        let ca_key = authority.key(&self.seal)?;
        let (pem, expires_at) =
            issue::sign(authority, &ca_key, &key, &names, &format!("Quantix host {host}"), now)?;
        Ok(HostCertificate { pem, expires_at })
    }

    /// Makes a new authority, which will sign once all connected hosts trust it.
    pub fn rotate(&self) -> Result<(), Fault> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut held = Held::clone(&self.held());
        held.authorities.may_begin()?;
        self.begin(&mut held.authorities, self.clock.now())?;
        self.take_up(held)
    }

    fn begin(&self, authorities: &mut Authorities, now: UnixMs) -> Result<(), Fault> {
        let (mut authority, key) = issue::make_ca(now)?;
        authority.close_key(&self.seal, &key)?;
        authorities.begin(authority);
        tracing::info!("made a new certificate authority; it signs once all connected hosts trust it");
        Ok(())
    }

    fn take_up(&self, mut held: Held) -> Result<(), Fault> {
        save(&self.folder, &held.authorities)?;
        held.bundle = Bundle::of(&held.authorities)?;
        file::write(&self.folder, BUNDLE, &held.bundle.pem)?;
        self.renew_vdc(&mut held, self.clock.now())?;
        self.hold(held);
        Ok(())
    }

    /// Puts right what the time or the hosts have made possible; what it did. `trusted`: every connected host says that
    /// it holds the bundle with this digest. Costs next to nothing while nothing is due. Writes files.
    pub fn tend(&self, trusted: Option<[u8; 32]>) -> Result<Vec<Step>, Fault> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        let mut held = Held::clone(&self.held());
        let mut done = Vec::new();
        let wanted = held.authorities.may_begin().is_ok() && file::remove(&self.folder, WANTED)?;
        if wanted || held.authorities.is_due(now) {
            self.begin(&mut held.authorities, now)?;
            done.push(Step::Begun);
        }
        let all_trust = trusted == Some(held.bundle.digest) && done.is_empty();
        while let Some(step) = held.authorities.step(all_trust, now) {
            tracing::info!(?step, "the certificate authorities took a step");
            done.push(step);
        }
        if !done.is_empty() {
            self.take_up(held)?;
        } else if self.renew_vdc(&mut held, now)? {
            self.hold(held);
        }
        Ok(done)
    }

    /// Takes up a certificate that people brought, if it can be used.
    pub fn put_own(&self, chain_pem: &str, key_pem: &str, user: &str) -> Result<(), Fault> {
        let own = Own::check(&self.seal, chain_pem, key_pem, user, self.clock.now())?;
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        own.save(&self.folder)?;
        tracing::info!(user, names = ?own.names, "a certificate was uploaded");
        self.hold(Held { own: Some(own), ..Held::clone(&self.held()) });
        Ok(())
    }

    /// Lets go of it; whether there was one.
    pub fn remove_own(&self) -> Result<bool, Fault> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let was = Own::remove(&self.folder)?;
        self.hold(Held { own: None, ..Held::clone(&self.held()) });
        Ok(was)
    }
}

/// Asks the vDC of this data folder, running or not, for a new authority.
pub fn want_rotation(data_dir: &Path) -> Result<(), Fault> {
    let folder = data_dir.join(crate::backup::PKI);
    if file::read(&folder, AUTHORITIES)?.is_none() && file::read(&folder, LEGACY_KEY)?.is_none() {
        return Err(Fault::invalid(
            "data_dir",
            format!("There is no certificate authority in {}.", folder.display()),
            "Name the data folder of the vDC, and run this as the user who runs it.",
        ));
    }
    file::write(&folder, WANTED, "")
}

/// The vDC's key and certificate as they stand in its data folder, for tools that act for it.
pub fn stored_identity(data_dir: &Path, seal: &Seal) -> Result<Identity, Fault> {
    let folder = data_dir.join(crate::backup::PKI);
    let key = file::read(&folder, VDC_KEY)?.unwrap_or_default();
    let pem = file::read(&folder, VDC_PEM)?.unwrap_or_default();
    Identity::from_pem(&pem, &seal.open_text(VDC_KEY_PURPOSE, &key)?)
}

fn load(folder: &Path, seal: &Seal, now: UnixMs) -> Result<Authorities, Fault> {
    if let Some(text) = file::read(folder, AUTHORITIES)? {
        let authorities: Authorities = serde_json::from_str(&text).map_err(unreadable)?;
        // A start that was cut short after the key was taken over.
        file::remove(folder, LEGACY_KEY)?;
        return authorities.check();
    }
    let authority = match (file::read(folder, LEGACY_KEY)?, file::read(folder, BUNDLE)?) {
        (Some(key), Some(pem)) => legacy(seal, &key, pem)?,
        (None, Some(_)) => {
            let missing = folder.join(AUTHORITIES);
            return Err(Fault::new(
                FaultCode::TlsError,
                format!("The certificate authority's key in {} is missing.", missing.display()),
                "Restore the pki folder from a backup; hosts trust only this authority.",
            ));
        }
        // A key alone is a first start that was cut short.
        (_, None) => {
            let (mut authority, key) = issue::make_ca(now)?;
            authority.close_key(seal, &key)?;
            tracing::info!("made a new certificate authority");
            authority
        }
    };
    let authorities = Authorities::first(authority);
    save(folder, &authorities)?;
    file::remove(folder, LEGACY_KEY)?;
    Ok(authorities)
}

/// The one authority of a release that knew no other.
fn legacy(seal: &Seal, key: &str, certificate_pem: String) -> Result<Authority, Fault> {
    let facts = CertificateFacts::read(&tls::first_der(&certificate_pem)?)?;
    let mut authority = Authority {
        certificate_pem,
        key: String::new(),
        standing: Standing::Signing,
        since: facts.not_before,
        made_at: facts.not_before,
        expires_at: facts.not_after,
    };
    authority.close_key(seal, key)?;
    Ok(authority)
}

fn save(folder: &Path, authorities: &Authorities) -> Result<(), Fault> {
    let text = serde_json::to_string_pretty(authorities).map_err(Fault::internal)?;
    file::write(folder, AUTHORITIES, &text)
}

fn unreadable(err: impl std::fmt::Display) -> Fault {
    Fault::new(
        FaultCode::TlsError,
        "The certificate authority cannot be read.",
        "Restore the pki folder from a backup; hosts trust only this authority.",
    )
    .because(err)
}

#[cfg(test)]
mod tests;
