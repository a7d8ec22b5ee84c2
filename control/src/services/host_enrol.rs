//! Taking a machine up as a host, by whichever way it came: added by an administrator (CONFIRM) or joined by a token.
//!
//! ```text
//!   its key is known ────────▶ that host again: the same id, name, pools and VMs; a new certificate
//!   it replaces a silent host ▶ that host with another key; the machine before is refused from then on
//!   else ────────────────────▶ a new host
//! ```
//! The record is written before the host is told: a host that was told and is not on record could never be added again
//! without its administrator. When telling fails the record goes again, or is as it was.

use crate::bus::Thing;
use crate::ids;
use crate::services::{App, host};
use quantix_client::Registration;
use quantix_client::registration::Completion;
use quantix_client::tls::CertificateFacts;
use quantix_contract::quantix::host::v1 as wire;
use quantix_model::host::{Discovery, HostPhase};
use quantix_model::id::HostId;
use quantix_model::name::check_label;
use quantix_model::{Fault, FaultCode};
use quantix_store::{HostRecord, StoreError};
use std::sync::Arc;
use std::time::Duration;

/// Between two attempts to hand a certificate over.
const COMPLETE_RETRY: Duration = Duration::from_secs(1);

/// A machine that wants to be a host.
pub struct Candidate<'a> {
    /// SHA-256 of its public key.
    pub key_sha256: [u8; 32],
    /// Its public key, DER `SubjectPublicKeyInfo`.
    pub spki_der: &'a [u8],
    /// Where it listens.
    pub url: String,
    /// Its release.
    pub version: &'a str,
    /// What it is made of.
    pub discovery: &'a Discovery,
}

/// Which host it is to be.
#[derive(Clone, Debug)]
pub enum Place {
    /// A new one.
    New,
    /// This one again, or in the place of this one.
    Again(Box<HostRecord>),
}

/// Which host a machine with this key is to be.
pub async fn place(
    app: &App,
    key_sha256: &[u8; 32],
    name: &str,
    replaces: Option<HostId>,
) -> Result<Place, Fault> {
    let known = app.core.store.host_find_by_key(key_sha256).await?;
    match (known, replaces) {
        (Some(known), replaces) if known.name == name && replaces.is_none_or(|id| id == known.id) => {
            Ok(Place::Again(Box::new(known)))
        }
        (Some(known), _) => Err(Fault::new(
            FaultCode::HostAlreadyExists,
            format!("This machine is registered already, as {}.", known.name),
            format!("Add it as {0} to give it a new certificate, or remove {0} first.", known.name),
        )
        .on_host(known.name)),
        (None, None) => Ok(Place::New),
        (None, Some(id)) => {
            let old = app.core.store.host_get(id).await?;
            match host::phase(app, &old) {
                HostPhase::Disconnected => Ok(Place::Again(Box::new(old))),
                HostPhase::Pending | HostPhase::Ready | HostPhase::Degraded => Err(Fault {
                    field: "replaces_host_id".into(),
                    ..Fault::new(
                        FaultCode::Conflict,
                        format!("{} is not silent, so nothing can take its place.", old.name),
                        "Turn the machine off that is to be replaced, or add the new one under another name.",
                    )
                }
                .on_host(old.name)),
            }
        }
    }
}

/// A host as it will be, and what it is told of that.
pub fn draft(
    app: &App,
    candidate: &Candidate<'_>,
    name: &str,
    place: &Place,
) -> Result<(HostRecord, Completion), Fault> {
    let id = match place {
        Place::New => ids::host(),
        Place::Again(old) => old.id,
    };
    let issued = app.core.pki.sign_host_key(candidate.spki_der, id)?;
    let fresh = HostRecord {
        id,
        name: name.to_owned(),
        url: candidate.url.clone(),
        key_sha256: candidate.key_sha256,
        certificate_pem: issued.pem.clone(),
        certificate_expires_at: issued.expires_at,
        node_version: candidate.version.to_owned(),
        discovery: Some(candidate.discovery.clone()),
        fault: None,
        added_at: app.core.clock.now(),
        seen_at: None,
        beat_interval_ms: app.core.config.beat_interval_ms,
    };
    let host = match place {
        Place::New => fresh,
        Place::Again(old) => HostRecord {
            name: old.name.clone(),
            added_at: old.added_at,
            seen_at: old.seen_at,
            beat_interval_ms: old.beat_interval_ms,
            ..fresh
        },
    };
    let completion = Completion {
        host_id: id.to_string(),
        host_name: host.name.clone(),
        vdc_url: app.core.host_facing_url.clone(),
        vdc_ca_pem: app.core.pki.bundle().pem.clone(),
        certificate_pem: issued.pem,
    };
    Ok((host, completion))
}

/// Writes the host down as it was drafted.
pub async fn write(app: &App, host: &HostRecord, place: &Place) -> Result<(), Fault> {
    match place {
        Place::New => app.core.store.host_insert(host).await?,
        Place::Again(old) => {
            put_identity(app, host).await?;
            if old.key_sha256 != host.key_sha256 {
                tracing::warn!(host = host.name, "another machine takes this host's place");
                // What the machine before said is not true of this one.
                app.live.remove(host.id);
                app.lives.remove(host.id);
            }
            app.lines.remove(host.id);
        }
    }
    Ok(())
}

async fn put_identity(app: &App, host: &HostRecord) -> Result<(), Fault> {
    let change = |record: &mut HostRecord| {
        record.url.clone_from(&host.url);
        record.key_sha256 = host.key_sha256;
        record.certificate_pem.clone_from(&host.certificate_pem);
        record.certificate_expires_at = host.certificate_expires_at;
        record.node_version.clone_from(&host.node_version);
        record.discovery.clone_from(&host.discovery);
        Ok::<(), StoreError>(())
    };
    app.core.store.host_update(host.id, change).await?;
    Ok(())
}

/// Undoes [`write()`].
pub async fn unwrite(app: &App, host: &HostRecord, place: &Place) -> Result<(), Fault> {
    match place {
        Place::New => {
            app.core.store.host_delete(host.id, true).await?;
            app.live.remove(host.id);
        }
        Place::Again(old) => {
            put_identity(app, old).await?;
            app.lines.remove(old.id);
        }
    }
    Ok(())
}

/// CONFIRM: certifies the host's key, hands it over, and keeps the host. `replaces`: see [`Place`].
///
/// When handing over fails, the probe may be tried once more; a host that was told after all takes the same words again.
pub async fn add(
    app: &Arc<App>,
    probe_id: &str,
    name: &str,
    replaces: Option<HostId>,
) -> Result<wire::Host, Fault> {
    check_label("name", name)?;
    let mut probe = app.probes.take(probe_id)?;
    let (mine, probe_id, name) = (app.clone(), probe_id.to_owned(), name.to_owned());
    let (say, said) = tokio::sync::oneshot::channel();
    // It is ended also when whoever asked goes away.
    app.core.spawn(async move {
        let added = add_probed(&mine, &mut probe, &name, replaces).await;
        match &added {
            Ok(host) => mine.core.bus.changed(Thing::Host(host.id)),
            Err(_) => mine.probes.put_back(&probe_id, probe),
        }
        // Nobody may listen any more.
        let _ = say.send(added);
    });
    let added = said.await.map_err(|_| Fault::internal("adding a host ended without a word"))?;
    host::view(app, &added.map_err(|fault| fault.in_phase("CONFIRM"))?).await
}

async fn add_probed(
    app: &App,
    probe: &mut host::Probe,
    name: &str,
    replaces: Option<HostId>,
) -> Result<HostRecord, Fault> {
    let facts = CertificateFacts::read(&probe.contact.certificate_der)?;
    let place = place(app, &facts.key_fingerprint.0, name, replaces).await?;
    let is_it = |id: HostId| match &place {
        Place::New => true,
        Place::Again(old) => old.id == id,
    };
    let told = probe.told.take().filter(|(host, _)| host.name == name && is_it(host.id));
    let (host, completion) = match told {
        Some(told) => told,
        None => {
            let candidate = Candidate {
                key_sha256: facts.key_fingerprint.0,
                spki_der: &facts.spki_der,
                url: probe.registration.url().to_string(),
                version: &probe.contact.ping.version,
                discovery: &probe.discovery,
            };
            draft(app, &candidate, name, &place)?
        }
    };
    let began = app.core.clock.now();
    write(app, &host, &place).await?;
    let Err(fault) = complete(&probe.registration, &completion).await else { return Ok(host) };
    if app.live.get(host.id).is_some_and(|live| live.beat_at >= began) {
        // Only it can beat under this id: it was told, and its answers were lost. Once it beats it takes no repeat.
        return Ok(host);
    }
    unwrite(app, &host, &place).await?;
    probe.told = Some((host, completion));
    Err(fault)
}

/// Hands the certificate over. The same body may be sent again, so a lost answer is asked for again.
async fn complete(registration: &Registration, completion: &Completion) -> Result<(), Fault> {
    let mut done = registration.complete(completion).await;
    for _ in 0..2 {
        match &done {
            Err(fault) if fault.retryable() => {
                tokio::time::sleep(COMPLETE_RETRY).await;
                done = registration.complete(completion).await;
            }
            _ => break,
        }
    }
    done
}
