//! Join tokens, and hosts that join by them.
//!
//! ```text
//!   admin ──create──▶ token (hash kept, shown once) ──▶ Usable ──each use taken──▶ Used
//!                                                         ├──its time over──▶ Expired
//!                                                         └──revoke─────────▶ Revoked
//!   host ──Join: secret, certificate request──▶ shape, token, clock ─▶ one use, in one transaction ─▶ certified, on record
//!                                                                      └ the same key again: told the same, no other use
//! ```
//! The door is open to strangers, so it is narrow: few at once, wrong secrets counted per address, everything bounded.

use crate::bus::Thing;
use crate::ids;
use crate::services::App;
use crate::services::host_enrol::{self, Candidate, Place};
use quantix_client::registration::{API_LEVEL, CLOCK_SKEW_MAX, Completion};
use quantix_client::tries::Tries;
use quantix_client::{HostUrl, JoinToken};
use quantix_contract::quantix::join_token::v1 as wire;
use quantix_contract::time;
use quantix_model::host::Discovery;
use quantix_model::id::JoinTokenId;
use quantix_model::name::check_label;
use quantix_model::{Fault, FaultCode, UnixMs};
use quantix_store::{HostRecord, JoinTokenRecord, JoinUse, Page, PageRequest};
use rcgen::{CertificateSigningRequestParams, PublicKeyData as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;

/// How long a token lives unless it is said.
pub const LIFE: Duration = Duration::from_secs(24 * 3600);
const LIFE_MIN_S: u32 = 60;
const LIFE_MAX_S: u32 = 30 * 24 * 3600;
const USES_MAX: u32 = 1000;
const NOTE_CHARS_MAX: usize = 200;
/// Hosts that join at once; others come again.
const AT_ONCE: usize = 8;
/// One that was turned away comes again after so long.
const COME_AGAIN: Duration = Duration::from_secs(2);
/// A request for a P-256 key has 300.
const CSR_BYTES_MAX: usize = 8 << 10;
/// Disks, network cards and VMs that a machine may tell of, each.
const PARTS_MAX: usize = 10_000;

const NEW_TOKEN: &str = "Make a new join token in the vDC under Hosts, Join tokens.";

/// The open door.
pub struct Joins {
    tries: Tries,
    places: Arc<Semaphore>,
}

impl Default for Joins {
    fn default() -> Joins {
        Joins { tries: Tries::default(), places: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

/// A token as shown.
fn view(token: &JoinTokenRecord, now: UnixMs) -> wire::JoinToken {
    use wire::JoinTokenState::{
        JOIN_TOKEN_STATE_EXPIRED, JOIN_TOKEN_STATE_REVOKED, JOIN_TOKEN_STATE_USABLE, JOIN_TOKEN_STATE_USED,
    };
    let state = match token {
        token if token.revoked_at.is_some() => JOIN_TOKEN_STATE_REVOKED,
        token if token.used >= token.uses => JOIN_TOKEN_STATE_USED,
        token if token.expires_at < now => JOIN_TOKEN_STATE_EXPIRED,
        _ => JOIN_TOKEN_STATE_USABLE,
    };
    wire::JoinToken {
        id: token.id.to_string(),
        state: state.into(),
        note: token.note.clone(),
        created_by: token.created_by.clone(),
        created_at: time::to_proto(token.created_at).into(),
        expires_at: time::to_proto(token.expires_at).into(),
        revoked_at: token.revoked_at.map(time::to_proto).into(),
        uses: token.uses,
        used: token.used,
        used_at: token.used_at.map(time::to_proto).into(),
        ..Default::default()
    }
}

/// Makes a token. Its text is in the answer and nowhere else.
pub async fn create(
    app: &App,
    user: &str,
    wish: &wire::CreateJoinTokenRequest,
) -> Result<wire::CreateJoinTokenResponse, Fault> {
    let life = match wish.life_seconds {
        0 => LIFE,
        seconds @ LIFE_MIN_S..=LIFE_MAX_S => Duration::from_secs(seconds.into()),
        seconds => {
            let text = format!("A join token cannot live for {seconds} s.");
            return Err(Fault::invalid("life_seconds", text, "Choose from a minute to 30 days."));
        }
    };
    let uses = match wish.uses {
        0 => 1,
        uses @ 1..=USES_MAX => uses,
        uses => {
            let text = format!("A join token cannot serve {uses} hosts.");
            return Err(Fault::invalid("uses", text, "Choose from 1 to 1000."));
        }
    };
    let note = wish.note.trim();
    if note.chars().count() > NOTE_CHARS_MAX || note.chars().any(char::is_control) {
        let text = "The note is longer than 200 characters, or not one line.";
        return Err(Fault::invalid("note", text, "Shorten it."));
    }
    let token = JoinToken::generate(app.core.pki.pin()?)?;
    let now = app.core.clock.now();
    let record = JoinTokenRecord {
        id: ids::join_token(),
        secret_sha256: token.secret_hash(),
        note: note.to_owned(),
        created_by: user.to_owned(),
        created_at: now,
        expires_at: now.plus(life),
        revoked_at: None,
        uses,
        used: 0,
        used_at: None,
    };
    app.core.store.join_token_insert(&record).await?;
    tracing::info!(user, uses, "a join token was made");
    Ok(wire::CreateJoinTokenResponse {
        join_token: view(&record, now).into(),
        token: token.to_string(),
        vdc_url: app.core.host_facing_url.clone(),
        ..Default::default()
    })
}

/// One page, newest first.
pub async fn list(app: &App, request: &PageRequest) -> Result<Page<wire::JoinToken>, Fault> {
    let (page, now) = (app.core.store.join_token_page(request).await?, app.core.clock.now());
    let rows = page.rows.iter().map(|token| view(token, now)).collect();
    Ok(Page { rows, next_token: page.next_token, total: page.total })
}

/// Ends a token. Hosts that joined by it stay.
pub async fn revoke(app: &App, user: &str, id: JoinTokenId) -> Result<wire::JoinToken, Fault> {
    let now = app.core.clock.now();
    let token = app.core.store.join_token_revoke(id, now).await?;
    tracing::info!(user, token = %id, "a join token was revoked");
    Ok(view(&token, now))
}

/// Takes up a host that shows a token.
pub async fn join(
    app: &Arc<App>,
    address: SocketAddr,
    request: wire::JoinRequest,
) -> Result<wire::JoinResponse, Fault> {
    app.joins.tries.check(address.ip().to_canonical())?;
    let place = app.joins.places.clone().try_acquire_owned().map_err(|_| {
        let text = "Many hosts join at this moment.";
        Fault::new(FaultCode::Busy, text, "Try again in a moment.").retry_after(COME_AGAIN)
    })?;
    let mine = Arc::clone(app);
    let (say, said) = tokio::sync::oneshot::channel();
    // It is ended also when the host goes away: what is half done would cost it a use.
    app.core.spawn(async move {
        let _place = place;
        let _ = say.send(admit(&mine, address, &request).await);
    });
    said.await.map_err(|_| Fault::internal("joining ended without a word"))?
}

async fn admit(
    app: &App,
    address: SocketAddr,
    request: &wire::JoinRequest,
) -> Result<wire::JoinResponse, Fault> {
    let token = match find(app, &request.secret).await {
        Err(fault) if fault.code == FaultCode::TokenInvalid => {
            tracing::warn!(%address, "wrong join token");
            app.joins.tries.wrong(address.ip().to_canonical());
            return Err(fault);
        }
        found => found?,
    };
    let now = app.core.clock.now();
    check_state(&token, now)?;
    check_sides(request, now)?;
    let (spki_der, discovery) = (read_csr(&request.csr_der)?, read_discovery(request)?);
    let key_sha256 = sha256(&spki_der);
    let known = app.core.store.host_find_by_key(&key_sha256).await?;
    let name = known.map_or_else(|| request.name.clone(), |host| host.name);
    check_label("name", &name)?;
    let place = host_enrol::place(app, &key_sha256, &name, None).await?;
    let candidate = Candidate {
        key_sha256,
        spki_der: &spki_der,
        url: url_of(request, address.ip().to_canonical())?,
        version: &request.node_version,
        discovery: &discovery,
    };
    let taken = app.core.store.join_token_use(token.id, &key_sha256, now).await?;
    match taken {
        JoinUse::Taken | JoinUse::Had => {}
        JoinUse::None => return Err(used()),
        JoinUse::Revoked => return Err(revoked()),
        JoinUse::Expired => return Err(expired(&token, now)),
    }
    match enrol(app, &candidate, &name, &place).await {
        Ok((host, completion)) => {
            tracing::info!(host = host.name, url = host.url, "a host joined");
            app.core.bus.changed(Thing::Host(host.id));
            Ok(wire::JoinResponse {
                host_id: completion.host_id,
                host_name: completion.host_name,
                vdc_url: completion.vdc_url,
                vdc_ca_pem: completion.vdc_ca_pem,
                certificate_pem: completion.certificate_pem,
                ..Default::default()
            })
        }
        Err(fault) => {
            if taken == JoinUse::Taken {
                app.core.store.join_token_give_back(token.id, &key_sha256).await?;
            }
            Err(fault)
        }
    }
}

async fn enrol(
    app: &App,
    candidate: &Candidate<'_>,
    name: &str,
    place: &Place,
) -> Result<(HostRecord, Completion), Fault> {
    let (host, completion) = host_enrol::draft(app, candidate, name, place)?;
    let taken = |fault: Fault| match fault.code {
        FaultCode::NameTaken => Fault {
            remedy:
                "Join under another name (--name). If that host was installed anew, add it by hand as its \
                     replacement, or remove it first."
                    .into(),
            ..fault
        },
        _ => fault,
    };
    host_enrol::write(app, &host, place).await.map_err(taken)?;
    Ok((host, completion))
}

/// The token with this secret. The look-up is by a hash, and the hashes are compared in constant time.
async fn find(app: &App, secret: &str) -> Result<JoinTokenRecord, Fault> {
    let wrong = || Fault {
        field: "token".into(),
        ..Fault::new(FaultCode::TokenInvalid, "The join token is wrong.", NEW_TOKEN)
    };
    let hash = JoinToken::hash_of_text(secret).ok_or_else(wrong)?;
    let found = app.core.store.join_token_find(&hash).await?;
    found.filter(|token| bool::from(token.secret_sha256.ct_eq(&hash))).ok_or_else(wrong)
}

fn check_state(token: &JoinTokenRecord, now: UnixMs) -> Result<(), Fault> {
    match token {
        token if token.revoked_at.is_some() => Err(revoked()),
        token if token.expires_at < now => Err(expired(token, now)),
        _ => Ok(()),
    }
}

fn used() -> Fault {
    let text = "Every use of the join token was taken by other hosts.";
    Fault::new(FaultCode::JoinTokenUsed, text, NEW_TOKEN)
}

fn revoked() -> Fault {
    Fault::new(FaultCode::JoinTokenRevoked, "The join token was revoked.", NEW_TOKEN)
}

fn expired(token: &JoinTokenRecord, now: UnixMs) -> Fault {
    let late = token.expires_at.age(now).as_secs();
    Fault::new(FaultCode::TokenExpired, "The join token has expired.", NEW_TOKEN)
        .because(format!("it ended {late} s ago by the vDC's clock"))
}

fn check_sides(request: &wire::JoinRequest, now: UnixMs) -> Result<(), Fault> {
    if request.api_level != API_LEVEL {
        let remedy = if request.api_level < API_LEVEL {
            "Update Quantix on the host."
        } else {
            "Update the vDC first."
        };
        let text = "The releases of the host and the vDC do not fit each other.";
        return Err(Fault::new(FaultCode::VersionUnsupported, text, remedy)
            .because(format!("the host speaks API level {}, the vDC level {API_LEVEL}", request.api_level)));
    }
    let at = request.observed_at.as_option().map_or(now, time::from_proto);
    let apart = at.age(now).max(now.age(at));
    if apart > CLOCK_SKEW_MAX {
        return Err(Fault::new(
            FaultCode::ClockSkew,
            format!("The clocks of the host and the vDC are {} s apart.", apart.as_secs()),
            "Set both clocks right (NTP), then try again.",
        ));
    }
    Ok(())
}

/// The public key of a certificate request whose signature fits: the host has the key.
fn read_csr(der: &[u8]) -> Result<Vec<u8>, Fault> {
    let refuse = |cause: String| {
        let text = "The host's certificate request cannot be used.";
        let fault = Fault::new(FaultCode::InvalidRequest, text, "Compare the releases of vDC and host.");
        Fault { field: "csr_der".into(), ..fault.because(cause) }
    };
    if der.len() > CSR_BYTES_MAX {
        return Err(refuse("it is longer than 8 KiB".into()));
    }
    let csr = CertificateSigningRequestParams::from_der(&der.to_vec().into());
    Ok(csr.map_err(|err| refuse(err.to_string()))?.public_key.subject_public_key_info())
}

fn read_discovery(request: &wire::JoinRequest) -> Result<Discovery, Fault> {
    let absurd = |why: &str| {
        let text = "What the host says of itself cannot be.";
        let fault = Fault::new(FaultCode::InvalidRequest, text, "Compare the releases of vDC and host.");
        Fault { field: "discovery".into(), ..fault.because(why) }
    };
    let found = request.discovery.as_option().ok_or_else(|| absurd("it says nothing"))?;
    let parts = [
        found.disks.len(),
        found.nics.len(),
        found.pci_devices.len(),
        found.mounts.len(),
        found.existing_vms.len(),
    ];
    if parts.iter().any(|n| *n > PARTS_MAX) || request.node_version.len() > 64 {
        return Err(absurd(
            "it tells of more than 10000 things of a kind, or its version is longer than 64 bytes",
        ));
    }
    Discovery::try_from(found)
}

/// Where the host listens: as it says, or at the address it called from.
fn url_of(request: &wire::JoinRequest, address: IpAddr) -> Result<String, Fault> {
    if !request.url.is_empty() {
        return Ok(request.url.parse::<HostUrl>()?.to_string());
    }
    let port = u16::try_from(request.port).unwrap_or(0);
    Ok(format!("https://{}", SocketAddr::new(address, port)).parse::<HostUrl>()?.to_string())
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    #[test]
    fn a_request_proves_its_key() {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["x".to_owned()]).unwrap();
        let der = params.serialize_request(&key).unwrap().der().to_vec();
        assert_eq!(read_csr(&der).unwrap(), key.subject_public_key_info());
        let mut forged = der.clone();
        let last = forged.len() - 1;
        forged[last] ^= 1;
        assert_eq!(read_csr(&forged).unwrap_err().field, "csr_der");
        assert!(read_csr(b"nothing").is_err() && read_csr(&vec![0; CSR_BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn where_a_host_listens() {
        let ask = |url: &str, port| {
            let request = wire::JoinRequest { url: url.into(), port, ..Default::default() };
            url_of(&request, IpAddr::from([192, 0, 2, 7]))
        };
        assert_eq!(ask("", 9443).unwrap(), "https://192.0.2.7:9443");
        assert_eq!(ask("https://host-7.example", 0).unwrap(), "https://host-7.example:9443");
        assert!(ask("", 0).is_err() && ask("", 70_000).is_err());
        assert!(ask("https://169.254.169.254", 0).is_err());
    }
}
