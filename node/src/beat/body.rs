//! What a heart beats for, and the daemon as such a body.

use crate::daemon::Daemon;
use crate::ledger::Enrolment;
use crate::vm::table::VmFact;
use async_trait::async_trait;
use quantix_client::VdcClient;
use quantix_contract::quantix::host::v1 as host;
use quantix_contract::quantix::node::v1::{BeatRequest, BeatResponse, HeldCertificate};
use quantix_model::host::{Discovery, Engine, ExistingVm, Inventory, Vitals};
use quantix_model::id::PoolId;
use quantix_model::pool::PoolReport;
use quantix_model::{Fault, UnixMs};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// The first beat waits so long for the first look at the hypervisor and its VMs …
const FIRST_LOOK: Duration = Duration::from_secs(5);
/// … and so long for the first look at the recovered pools.
const FIRST_LOOK_POOLS: Duration = Duration::from_secs(2);

/// What is known of a host, each thing with its age.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Load.
    pub vitals: Vitals,
    /// Hardware; `None` until it was read once.
    pub inventory: Option<Arc<Inventory>>,
    /// libvirt and QEMU; `None` until they were asked once.
    pub engine: Option<Engine>,
    /// By id.
    pub pools: Vec<(PoolId, PoolReport)>,
    /// By id.
    pub vms: Vec<VmFact>,
    /// Whether the hypervisor answers.
    pub vms_known: bool,
}

impl State {
    /// What a vDC keeps of the machine, once everything was looked at.
    pub(super) fn discovery(&self) -> Option<host::Discovery> {
        let strangers = self.vms.iter().filter(|fact| fact.report.generation.is_none());
        Some(host::Discovery::from(&Discovery {
            inventory: Inventory::clone(self.inventory.as_deref()?),
            engine: self.engine.clone()?,
            existing_vms: strangers
                .map(|fact| ExistingVm {
                    id: fact.report.id.to_string(),
                    name: fact.report.name.clone(),
                    running: fact.report.power_state.is_active(),
                })
                .collect(),
        }))
    }
}

/// A host that reports to a vDC.
#[async_trait]
pub trait Body: Send + Sync + 'static {
    /// The vDC it belongs to, if it belongs to one.
    fn enrolment(&self) -> Option<Enrolment>;
    /// A line to that vDC.
    fn line(&self, enrolment: &Enrolment) -> Result<VdcClient, Fault>;
    /// Told when something changed that the vDC should hear at once.
    fn changed(&self) -> Arc<Notify>;
    /// Ends when everything was looked at once, or should have been.
    async fn first_look(&self);
    /// What is known; asks nobody.
    async fn state(&self) -> State;
    /// Sends a beat and waits for its answer.
    async fn send(&self, line: &VdcClient, beat: BeatRequest) -> Result<BeatResponse, Fault>;
    /// A beat was answered: the registration is over.
    async fn confirm(&self, enrolment: &Enrolment) -> Result<(), Fault>;
    /// What the host proves itself with; `None` from one that never renews it.
    fn certificate(&self, _enrolment: &Enrolment) -> Option<HeldCertificate> {
        None
    }
    /// After an answer: takes up whom to trust (empty: as before), and renews the certificate when it is time.
    async fn renew(&self, _line: &VdcClient, _trust_pem: &str) {}
    /// Makes true what was answered to a beat sent at `sent_at`.
    async fn converge(&self, answer: &BeatResponse, sent_at: UnixMs);
}

#[async_trait]
impl Body for Daemon {
    fn enrolment(&self) -> Option<Enrolment> {
        self.ledger.book().registration.clone()
    }

    fn line(&self, enrolment: &Enrolment) -> Result<VdcClient, Fault> {
        VdcClient::for_host(&enrolment.vdc_url, self.identity.client_config(enrolment)?)
    }

    fn changed(&self) -> Arc<Notify> {
        Arc::clone(&self.changed)
    }

    async fn first_look(&self) {
        let hypervisor = async {
            self.facts.engine_asked().await;
            self.vms.listed().await;
        };
        let hypervisor = tokio::time::timeout(FIRST_LOOK, hypervisor);
        let pools = tokio::time::timeout(FIRST_LOOK_POOLS, self.pools.looked_at());
        let (hypervisor, pools) = tokio::join!(hypervisor, pools);
        if hypervisor.is_err() || pools.is_err() {
            tracing::info!("not everything has answered yet; the first beat tells what is known");
        }
    }

    async fn state(&self) -> State {
        let vitals = self.facts.vitals().await;
        let table = self.vms.table();
        let vms_known = table.is_known();
        State {
            vms: table.all(),
            vms_known,
            pools: self.pools.reports(),
            engine: self.facts.engine().borrow().clone(),
            inventory: self.facts.inventory(),
            vitals,
        }
    }

    async fn send(&self, line: &VdcClient, beat: BeatRequest) -> Result<BeatResponse, Fault> {
        let began = Instant::now();
        let answer = line.beat(beat).await;
        self.metrics.beat(answer.is_ok(), began.elapsed());
        answer.map_err(|fault| self.renewal.explain(self.enrolment().as_ref(), fault))
    }

    fn certificate(&self, enrolment: &Enrolment) -> Option<HeldCertificate> {
        self.renewal.held(enrolment)
    }

    async fn renew(&self, line: &VdcClient, trust_pem: &str) {
        self.keep_certificate(line, trust_pem).await;
    }

    async fn confirm(&self, enrolment: &Enrolment) -> Result<(), Fault> {
        Daemon::confirm(self, enrolment).await
    }

    async fn converge(&self, answer: &BeatResponse, sent_at: UnixMs) {
        self.pools.converge(answer, sent_at).await;
    }
}
