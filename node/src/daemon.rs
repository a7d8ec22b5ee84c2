//! What all parts of the daemon share, and the few things that touch several of them: making a token, being
//! registered, leaving.

use crate::clock;
use crate::device::Devices;
use crate::facts::Facts;
use crate::identity::HostIdentity;
use crate::ledger::{Book, Enrolment, Ledger};
use crate::log::Logs;
use crate::metrics::Metrics;
use crate::pool::Pools;
use crate::registration::{self, Grant};
use crate::renewal::Renewal;
use crate::server::{Caller, Tls};
use crate::vm::Vms;
use quantix_client::RegistrationToken;
use quantix_client::registration::Completion;
use quantix_client::tries::Tries;
use quantix_model::{Fault, FaultCode, UnixMs};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::{Notify, watch};

/// The daemon's parts.
pub struct Daemon {
    /// Who we are.
    pub identity: HostIdentity,
    /// What we remember.
    pub ledger: Ledger,
    /// Wrong registration tries.
    pub tries: Tries,
    /// How it stands with our certificate.
    pub renewal: Renewal,
    /// Our pools.
    pub pools: Arc<Pools>,
    /// Our disks.
    pub devices: Devices,
    /// Our VMs.
    pub vms: Arc<Vms>,
    /// Our machine.
    pub facts: Arc<Facts>,
    /// Something changed that the vDC should hear at once.
    pub changed: Arc<Notify>,
    /// Our figures.
    pub metrics: Arc<Metrics>,
    /// What we wrote down lately.
    pub logs: Logs,
    /// TLS for new connections.
    pub tls: watch::Sender<Tls>,
}

impl Daemon {
    /// This host's name for sentences: the vDC's word for it, or its own.
    pub fn name(&self) -> String {
        let book = self.ledger.book();
        let own = || self.facts.inventory().map(|i| i.hostname.clone()).unwrap_or_default();
        book.registration.as_ref().map_or_else(own, |r| r.host_name.clone())
    }

    /// Makes a new registration token; the one before stops working.
    pub async fn make_token(&self) -> Result<(RegistrationToken, UnixMs), Fault> {
        let (token, entry) = registration::make_token(self.identity.fingerprint(), clock::now())?;
        let expires_at = entry.expires_at;
        self.ledger
            .update(move |book| {
                book.token = Some(entry);
                Ok(())
            })
            .await?;
        tracing::info!("a registration token was made");
        Ok((token, expires_at))
    }

    /// Judges a registration call, counting wrong tries.
    pub fn judge(&self, address: IpAddr, authorization: Option<&str>) -> Result<Grant, Fault> {
        self.tries.check(address)?;
        let book = self.ledger.book();
        let grant = registration::judge(&book, authorization, self.identity.fingerprint(), clock::now());
        if let Err(fault) = &grant
            && fault.code == FaultCode::TokenInvalid
        {
            tracing::warn!(%address, "wrong registration token");
            self.tries.wrong(address);
        }
        grant
    }

    /// Ends a registration: from now on this vDC is ours.
    pub async fn complete(&self, grant: Grant, completion: &Completion) -> Result<(), Fault> {
        let enrolment = self.identity.accept(completion)?;
        let name = enrolment.host_name.clone();
        self.ledger.update(move |book| registration::enrol(book, &grant, enrolment)).await?;
        self.refresh_tls()?;
        tracing::info!(name, vdc = completion.vdc_url, "registered");
        self.changed.notify_one();
        Ok(())
    }

    /// A beat was answered: the registration is over.
    pub async fn confirm(&self, enrolment: &Enrolment) -> Result<(), Fault> {
        let seen = enrolment.clone();
        self.ledger
            .update(move |book| {
                if let Some(current) = book.registration.as_mut().filter(|c| **c == seen) {
                    current.confirmed = true;
                }
                Ok(())
            })
            .await
    }

    /// Takes up a certificate or whom to trust, in place of what `was`; nothing changes if that is not so any more. Lines
    /// that stand go on.
    pub async fn renewed(&self, was: &Enrolment, is: Enrolment) -> Result<(), Fault> {
        let was = was.clone();
        self.ledger
            .update(move |book| {
                if let Some(current) = book.registration.as_mut()
                    && (Enrolment { confirmed: was.confirmed, ..current.clone() }) == was
                {
                    *current = Enrolment { confirmed: current.confirmed, ..is };
                }
                Ok(())
            })
            .await?;
        let config = self.identity.server_config(self.ledger.book().registration.as_ref())?;
        self.tls.send_modify(|tls| tls.config = config);
        self.changed.notify_one();
        Ok(())
    }

    /// Forgets the vDC. VMs go on running; pools are let go of, their files stay.
    pub async fn leave(&self) -> Result<(), Fault> {
        let forget = |book: &mut Book| {
            book.registration = None;
            book.token = None;
            book.pools.clear();
            book.released_pools.clear();
            book.deleted_vms.clear();
            Ok(())
        };
        self.ledger.update(forget).await?;
        self.refresh_tls()?;
        self.pools.release_all().await;
        tracing::info!("the vDC was forgotten");
        self.changed.notify_one();
        Ok(())
    }

    /// Serves new connections by the current enrolment, and ends the rights of those made under another one.
    pub(crate) fn refresh_tls(&self) -> Result<(), Fault> {
        let config = self.identity.server_config(self.ledger.book().registration.as_ref())?;
        self.tls.send_modify(|tls| *tls = Tls { config, epoch: tls.epoch + 1 });
        Ok(())
    }

    /// Lets only our vDC through.
    pub fn gate(&self, caller: Option<&Caller>) -> Result<(), Fault> {
        let epoch = self.tls.borrow().epoch;
        if caller.and_then(|c| c.vdc_epoch) == Some(epoch) {
            return Ok(());
        }
        Err(Fault::new(
            FaultCode::Forbidden,
            "Only the vDC this host belongs to may do that.",
            "Do it in the vDC. If the host belongs to none, add it there with a token from `quantix-node token`.",
        )
        .because("the call carries no certificate of the vDC"))
    }
}
