//! Who vouches for whom: renewing hosts' certificates, telling hosts whom to trust, and what people see and change.
//!
//! A host's beat says which authorities it trusts; while that is not what is trusted here, the answer tells it. A new
//! authority signs once every connected host trusts it ([`crate::pki`]).

use crate::bus::{Thing, VdcCertificate};
use crate::pki::{self, Own, Standing};
use crate::services::{App, alert, host};
use quantix_client::tls::{self, CertificateFacts};
use quantix_contract::quantix::action::v1::AllowedAction;
use quantix_contract::quantix::certificate::v1 as wire;
use quantix_contract::quantix::node::v1 as node;
use quantix_contract::{time, twin};
use quantix_model::alert::of_vdc_certificate;
use quantix_model::id::HostId;
use quantix_model::{Fault, FaultCode, UnixMs};
use quantix_store::{HostRecord, StoreError};
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// A renewal repeated within this time answers what the first one did: its answer may have been lost.
const SAME_WITHIN: Duration = Duration::from_secs(3600);
/// Hosts are given so long after a start to say what they trust.
const HEAR_FIRST: Duration = Duration::from_secs(90);
/// Hosts listed by the end of their certificates.
const HOSTS_MAX: u64 = 100;
/// Hosts named that are waited for.
const BEHIND_MAX: usize = 20;

/// When a host's certificate ends, by its own word or else by the record, and why it could not renew it.
pub fn of_host(app: &App, id: HostId, recorded: UnixMs) -> (UnixMs, Option<Fault>) {
    match app.live.get(id).and_then(|live| live.certificate.clone()) {
        Some(said) => (said.expires_at, said.fault.map(|fault| *fault)),
        None => (recorded, None),
    }
}

/// Whom a host should trust from now on; empty when it does already, or is of a release that does not say.
pub fn to_trust(app: &App, held: Option<Vec<u8>>) -> String {
    let bundle = app.core.pki.bundle();
    match held {
        Some(held) if held != bundle.digest => bundle.pem.clone(),
        _ => String::new(),
    }
}

/// Certifies a host's key anew. The host proved by `leaf_der` that it has the key; no other is taken.
pub async fn renew(
    app: &App,
    id: HostId,
    leaf_der: &[u8],
    public_key_der: &[u8],
) -> Result<node::RenewCertificateResponse, Fault> {
    let shown = CertificateFacts::read(leaf_der)?;
    if shown.spki_der != public_key_der {
        return Err(Fault {
            field: "public_key_der".into(),
            ..Fault::new(
                FaultCode::Forbidden,
                "A host renews the certificate of its own key only.",
                "To give it a new key, enrol it again with a new token.",
            )
        });
    }
    let now = app.core.clock.now();
    let mut renewed = false;
    let change = |host: &mut HostRecord| {
        if !is_fresh(app, host, now)? {
            app.renewals.take(now)?;
            let issued = app.core.pki.sign_host_key(public_key_der, id)?;
            host.certificate_pem = issued.pem;
            host.certificate_expires_at = issued.expires_at;
            renewed = true;
        }
        Ok::<(), Fault>(())
    };
    let host = app.core.store.host_update(id, change).await?;
    if renewed {
        tracing::info!(host = host.name, "a host's certificate was renewed");
        app.core.bus.changed(Thing::Host(id));
    }
    Ok(node::RenewCertificateResponse {
        certificate_pem: host.certificate_pem,
        trust_pem: app.core.pki.bundle().pem.clone(),
        ..Default::default()
    })
}

/// Whether what is on record was made a moment ago, by the authority that signs now.
fn is_fresh(app: &App, host: &HostRecord, now: UnixMs) -> Result<bool, Fault> {
    let made_at = host.certificate_expires_at.age(now.plus(pki::LEAF_LIFE));
    let signs = tls::is_signed_by_first(&host.certificate_pem, &app.core.pki.bundle().pem)?;
    Ok(signs && made_at < SAME_WITHIN)
}

/// Puts right what the time or the hosts have made possible.
pub async fn tend(app: &Arc<App>) -> Result<(), Fault> {
    let now = app.core.clock.now();
    let digest = app.core.pki.bundle().digest;
    let heard = app.live.started_at().age(now) >= HEAR_FIRST;
    let trusted = (heard && app.live.without_trust(&digest).is_empty()).then_some(digest);
    let (mine, epoch) = (Arc::clone(app), *app.core.pki.epoch().borrow());
    let tended = tokio::task::spawn_blocking(move || mine.core.pki.tend(trusted)).await;
    tended.map_err(Fault::internal)??;
    if *app.core.pki.epoch().borrow() != epoch {
        app.core.bus.changed(Thing::Certificate(VdcCertificate::Internal));
    }
    Ok(())
}

/// Settles the alerts of a certificate of the vDC itself.
pub async fn judge(app: &App, which: VdcCertificate) -> Result<(), Fault> {
    let ends = match which {
        VdcCertificate::Internal => Some(app.core.pki.vdc_facts()?.not_after),
        VdcCertificate::Uploaded => app.core.pki.own().map(|own| own.expires_at),
    };
    let uploaded = which == VdcCertificate::Uploaded;
    let found = ends.map(|at| of_vdc_certificate(uploaded, at, app.core.clock.now())).unwrap_or_default();
    alert::settle(app, Thing::Certificate(which), "vDC", found).await
}

/// Everything people see of certificates.
pub async fn get(app: &App) -> Result<wire::Certificates, Fault> {
    let pki = &app.core.pki;
    let authorities = pki.authorities();
    let vdc = pki.vdc_facts()?;
    let behind = match authorities.next() {
        Some(_) => app.live.without_trust(&pki.bundle().digest),
        None => Vec::new(),
    };
    let mut behind_names = Vec::new();
    for id in behind.iter().take(BEHIND_MAX) {
        match app.core.rosters.get(*id).await {
            Ok(known) => behind_names.push(known.roster.host.name.clone()),
            Err(StoreError::NotFound { .. }) => {}
            Err(err) => return Err(err.into()),
        }
    }
    let mut all = Vec::new();
    for authority in authorities.all() {
        all.push(authority_view(authority)?);
    }
    Ok(wire::Certificates {
        authorities: all,
        vdc: internal_view(app, &vdc)?.into(),
        uploaded: pki.own().map(|own| uploaded_view(&own)).transpose()?.into(),
        hosts: hosts(app).await?,
        host_count: count(app.core.rosters.hosts().await?.len()),
        hosts_behind: count(behind.len()),
        hosts_behind_names: behind_names,
        signs_at: authorities.next().map(|next| time::to_proto(next.since.plus(pki::OVERLAP))).into(),
        allowed_actions: vec![rotate_action(&authorities)],
        ..Default::default()
    })
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn rotate_action(authorities: &pki::Authorities) -> AllowedAction {
    let refusal = authorities.may_begin().err();
    AllowedAction {
        verb: "rotate".into(),
        allowed: refusal.is_none(),
        reason_if_not: refusal.map(|fault| fault.message).unwrap_or_default(),
        ..Default::default()
    }
}

fn authority_view(authority: &pki::Authority) -> Result<wire::Authority, Fault> {
    use wire::AuthorityStanding::{
        AUTHORITY_STANDING_NEXT, AUTHORITY_STANDING_OLD, AUTHORITY_STANDING_SIGNING,
    };
    let dropped_at = match authority.standing {
        Standing::Old => Some(time::to_proto(authority.since.plus(pki::LEAF_LIFE))),
        Standing::Next | Standing::Signing => None,
    };
    let standing = match authority.standing {
        Standing::Next => AUTHORITY_STANDING_NEXT,
        Standing::Signing => AUTHORITY_STANDING_SIGNING,
        Standing::Old => AUTHORITY_STANDING_OLD,
    };
    Ok(wire::Authority {
        fingerprint: authority.fingerprint()?.to_string(),
        standing: standing.into(),
        since: time::to_proto(authority.since).into(),
        not_before: time::to_proto(authority.made_at).into(),
        expires_at: time::to_proto(authority.expires_at).into(),
        dropped_at: dropped_at.into(),
        certificate_pem: authority.certificate_pem.clone(),
        ..Default::default()
    })
}

fn internal_view(app: &App, facts: &CertificateFacts) -> Result<wire::Certificate, Fault> {
    let life = facts.not_before.age(facts.not_after);
    let identity = app.core.pki.identity()?;
    Ok(wire::Certificate {
        fingerprint: tls::fingerprint(identity.leaf_der()).to_string(),
        names: facts.dns_names.clone(),
        issuer: "Quantix, this vDC".into(),
        not_before: time::to_proto(facts.not_before).into(),
        expires_at: time::to_proto(facts.not_after).into(),
        renews_at: time::to_proto(facts.not_before.plus(life / 3 * 2)).into(),
        ..Default::default()
    })
}

fn uploaded_view(own: &Own) -> Result<wire::Certificate, Fault> {
    Ok(wire::Certificate {
        fingerprint: tls::first_fingerprint(&own.chain_pem)?.to_string(),
        names: own.names.clone(),
        issuer: own.issuer.clone(),
        not_before: time::to_proto(own.not_before).into(),
        expires_at: time::to_proto(own.expires_at).into(),
        uploaded_at: time::to_proto(own.uploaded_at).into(),
        uploaded_by: own.uploaded_by.clone(),
        ..Default::default()
    })
}

async fn hosts(app: &App) -> Result<Vec<wire::HostCertificate>, Fault> {
    let mut rows = Vec::new();
    for (id, name, recorded) in app.core.store.host_certificates(HOSTS_MAX).await? {
        let (expires_at, fault) = of_host(app, id, recorded);
        let phase = match app.core.rosters.get(id).await {
            Ok(known) => host::phase_of(app, &known.roster.host),
            // Removed a moment ago.
            Err(StoreError::NotFound { .. }) => continue,
            Err(err) => return Err(err.into()),
        };
        rows.push(wire::HostCertificate {
            host_id: id.to_string(),
            host_name: name,
            phase: twin::write(phase),
            expires_at: time::to_proto(expires_at).into(),
            fault: fault.as_ref().map(Into::into).into(),
            ..Default::default()
        });
    }
    Ok(rows)
}

/// Takes a certificate for browsers and tools.
pub async fn upload(app: &Arc<App>, user: &str, chain_pem: &str, key_pem: &str) -> Result<(), Fault> {
    let mine = Arc::clone(app);
    let (user, chain_pem, key_pem) =
        (user.to_owned(), chain_pem.to_owned(), Zeroizing::new(key_pem.to_owned()));
    let put = tokio::task::spawn_blocking(move || mine.core.pki.put_own(&chain_pem, &key_pem, &user)).await;
    put.map_err(Fault::internal)??;
    app.core.bus.changed(Thing::Certificate(VdcCertificate::Uploaded));
    Ok(())
}

/// Lets go of the certificate that was uploaded.
pub async fn remove(app: &Arc<App>, user: &str) -> Result<(), Fault> {
    let mine = Arc::clone(app);
    let was =
        tokio::task::spawn_blocking(move || mine.core.pki.remove_own()).await.map_err(Fault::internal)??;
    if !was {
        return Err(Fault::not_found("uploaded", "certificate"));
    }
    tracing::info!(user, "the uploaded certificate was removed");
    app.core.bus.changed(Thing::Certificate(VdcCertificate::Uploaded));
    Ok(())
}

/// Makes a new authority, which signs once all connected hosts trust it.
pub async fn rotate(app: &Arc<App>, user: &str) -> Result<(), Fault> {
    let mine = Arc::clone(app);
    tokio::task::spawn_blocking(move || mine.core.pki.rotate()).await.map_err(Fault::internal)??;
    tracing::info!(user, "a new certificate authority was asked for");
    app.core.bus.changed(Thing::Certificate(VdcCertificate::Internal));
    Ok(())
}
