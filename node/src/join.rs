//! Joining a vDC by a token it made: the host asks, and is certified in one call.
//!
//! ```text
//!   quantix-node join ──node.sock──▶ token's shape ─▶ line pinned to the token's authority ─▶ Join (secret, certificate
//!   request, discovery) ─▶ answer checked like any enrolment ─▶ written down ─▶ first beat
//! ```
//! The key stays here: the vDC gets a certificate request that proves it. A call whose answer was lost is repeated with
//! the same token. The token is neither kept nor logged.

use crate::VERSION;
use crate::clock;
use crate::daemon::Daemon;
use crate::ledger::Book;
use quantix_client::registration::{API_LEVEL, Completion};
use quantix_client::tls::{self, VDC_NAME};
use quantix_client::{JoinToken, VdcClient};
use quantix_contract::quantix::host::v1 as host;
use quantix_contract::quantix::join_token::v1 as wire;
use quantix_contract::time;
use quantix_model::{Fault, FaultCode};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// Port of a vDC when its URL names none.
const VDC_PORT: u16 = 8443;
/// Asking libvirt and all of /sys.
const DISCOVERY_DEADLINE: Duration = Duration::from_secs(12);

/// What an administrator asks for on this machine. Its Debug shows no token.
#[derive(Clone, Serialize, Deserialize)]
pub struct JoinWish {
    /// `https://…` of the vDC.
    pub vdc: String,
    /// The whole join token.
    pub token: String,
    /// Where the vDC reaches this host; empty: at the address it sees, on the daemon's port.
    #[serde(default)]
    pub url: String,
    /// What the host is to be called; empty: as it calls itself.
    #[serde(default)]
    pub name: String,
}

impl fmt::Debug for JoinWish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinWish").field("vdc", &self.vdc).finish_non_exhaustive()
    }
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// The host's name in the vDC.
    pub host_name: String,
    /// Where it reports from now on.
    pub vdc_url: String,
}

/// The vDC's URL with its port.
fn with_port(url: &str) -> Result<String, Fault> {
    let wrong = |why: &str| {
        let remedy =
            "Write https:// and the vDC's name or address, for example https://vdc.example.org:8443.";
        Fault::invalid("vdc", format!("The vDC's URL cannot be used: {why}."), remedy)
    };
    let uri: http::Uri = url.trim().parse().map_err(|_| wrong("it is not a URL"))?;
    let mut checked: quantix_client::HostUrl =
        url.parse().map_err(|f: Fault| wrong(f.message.trim_end_matches('.')))?;
    if uri.port_u16().is_none() {
        checked.port = VDC_PORT;
    }
    Ok(checked.to_string())
}

/// Refuses to leave a vDC that this host still belongs to, unheard.
fn check_free(book: &Book, token: &JoinToken) -> Result<(), Fault> {
    let Some(enrolment) = &book.registration else { return Ok(()) };
    if tls::fingerprints(&enrolment.vdc_ca_pem)?.contains(&token.authority) {
        return Ok(());
    }
    Err(Fault::new(
        FaultCode::Conflict,
        format!("This host belongs to another vDC already, as {}.", enrolment.host_name),
        "Remove it there first. If that vDC is gone for good, stop the daemon and move its ledger.json away: \
         VMs and pools stay as they are.",
    )
    .because(format!("it reports to {}", enrolment.vdc_url)))
}

/// A host name as a label; a machine may call itself anything.
fn label(hostname: &str) -> String {
    let first = hostname.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let plain = first.replace(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit(), "-");
    plain.trim_matches('-').chars().take(63).collect()
}

impl Daemon {
    /// Joins a vDC; `listen` is where this daemon listens.
    pub async fn join(&self, wish: JoinWish, listen: SocketAddr) -> Result<Joined, Fault> {
        let token: JoinToken = wish.token.parse()?;
        check_free(&self.ledger.book(), &token)?;
        let url = with_port(&wish.vdc)?;
        let config = tls::client_by(tls::pinned_authority(token.authority)?, clock::machine());
        let line = VdcClient::new(&url, VDC_NAME, config)?;
        line.try_dial(&url).await?;
        let work = self.facts.discovery(&self.vms);
        let discovery = tokio::time::timeout(DISCOVERY_DEADLINE, work).await.map_err(|_| {
            let text = "The host could not describe itself in time.";
            Fault::new(FaultCode::DeadlineExceeded, text, "Look at its load and at libvirt, then try again.")
        })??;
        let name = match wish.name.is_empty() {
            true => label(&discovery.inventory.hostname),
            false => wish.name,
        };
        let request = wire::JoinRequest {
            secret: token.secret_text(),
            csr_der: self.identity.csr_der()?,
            url: wish.url,
            port: listen.port().into(),
            name,
            discovery: host::Discovery::from(&discovery).into(),
            node_version: VERSION.to_owned(),
            api_level: API_LEVEL,
            observed_at: time::to_proto(clock::now()).into(),
            ..Default::default()
        };
        let answer = line.join(request).await?;
        self.take_up(Completion {
            host_id: answer.host_id,
            host_name: answer.host_name,
            // As the vDC calls itself: it may have several names.
            vdc_url: answer.vdc_url,
            vdc_ca_pem: answer.vdc_ca_pem,
            certificate_pem: answer.certificate_pem,
        })
        .await
    }

    async fn take_up(&self, completion: Completion) -> Result<Joined, Fault> {
        let enrolment = self.identity.accept(&completion)?;
        self.ledger
            .update(move |book| {
                book.registration = Some(enrolment);
                Ok(())
            })
            .await?;
        self.refresh_tls()?;
        tracing::info!(name = completion.host_name, vdc = completion.vdc_url, "joined");
        self.changed.notify_one();
        Ok(Joined { host_name: completion.host_name, vdc_url: completion.vdc_url })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_names() {
        assert_eq!(with_port("https://vdc.example.org").unwrap(), "https://vdc.example.org:8443");
        assert_eq!(with_port("https://192.0.2.1:9000/").unwrap(), "https://192.0.2.1:9000");
        assert_eq!(with_port("https://[2001:db8::1]").unwrap(), "https://[2001:db8::1]:8443");
        for bad in ["", "vdc", "http://vdc", "https://vdc/x", "https://a@vdc"] {
            assert_eq!(with_port(bad).unwrap_err().field, "vdc", "{bad}");
        }
        assert_eq!(label("Host_7.example.org"), "host-7");
        assert_eq!(label("-x-"), "x");
        assert_eq!(label(&"a".repeat(80)).len(), 63);
    }

    #[test]
    fn a_wish_shows_no_token() {
        let wish = JoinWish {
            vdc: "https://vdc".into(),
            token: "qxj1.secret.pin".into(),
            url: String::new(),
            name: String::new(),
        };
        assert!(!format!("{wish:?}").contains("secret"));
    }
}
