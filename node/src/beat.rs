//! Telling the vDC how things are, and making true what it answers.
//!
//! ```text
//!   interval (±10 %) ──┐
//!   something changed ─┴─▶ collect what is known (never waits) ──▶ Beat ──▶ converge pools
//!                                                                    └─ error: again after a growing pause
//! ```
//! Nothing here waits for a pool or the hypervisor: what is known is told with its age. Only the first beat of a life
//! waits a moment until each was asked once: "libvirt does not answer" would be untrue of a libvirt nobody asked.

use crate::daemon::Daemon;
use crate::ledger::Enrolment;
use crate::{VERSION, clock};
use quantix_client::VdcClient;
use quantix_client::tls::VDC_NAME;
use quantix_contract::quantix::host::v1 as host;
use quantix_contract::quantix::node::v1::{BeatRequest, BeatResponse};
use quantix_contract::{pool, time};
use quantix_model::host::{BEAT_INTERVAL, Discovery};
use quantix_model::{Fault, UnixMs};
use rand::Rng as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Changes within this time are told together.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// Bounds of the interval the vDC may set.
const INTERVAL_MIN: Duration = Duration::from_millis(200);
/// See [`INTERVAL_MIN`].
const INTERVAL_MAX: Duration = Duration::from_secs(300);
/// The first beat waits so long for the first look at the hypervisor and its VMs …
const FIRST_LOOK: Duration = Duration::from_secs(5);
/// … and so long for the first look at the recovered pools.
const FIRST_LOOK_POOLS: Duration = Duration::from_secs(2);
/// First pause after an error; doubled each time, up to the interval.
const RETRY_FIRST: Duration = Duration::from_millis(500);

/// Beats until told to stop.
pub async fn run(daemon: Arc<Daemon>, stop: CancellationToken) {
    let mut heart = Heart {
        boot_id: uuid::Uuid::new_v4().to_string(),
        sequence: 0,
        interval: BEAT_INTERVAL,
        errors: 0,
        line: None,
        told: None,
        daemon,
    };
    tokio::select! {
        () = stop.cancelled() => return,
        () = first_look(&heart.daemon) => {}
    }
    let mut next = Instant::now();
    loop {
        let changed = Arc::clone(&heart.daemon.changed);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep_until(next) => {}
            () = changed.notified() => {
                tokio::time::sleep(DEBOUNCE).await;
                if heart.waits_after_an_error() {
                    continue;
                }
            }
        }
        let Some(enrolment) = heart.daemon.ledger.book().registration.clone() else {
            heart.forget();
            next = Instant::now() + INTERVAL_MAX;
            continue;
        };
        tokio::select! {
            () = stop.cancelled() => return,
            pause = heart.beat(&enrolment) => next = Instant::now() + pause,
        }
    }
}

/// Waits, but not for ever, until everything was looked at once.
async fn first_look(daemon: &Daemon) {
    let hypervisor = async {
        daemon.facts.engine_asked().await;
        daemon.vms.listed().await;
    };
    let hypervisor = tokio::time::timeout(FIRST_LOOK, hypervisor);
    let pools = tokio::time::timeout(FIRST_LOOK_POOLS, daemon.pools.looked_at());
    let (hypervisor, pools) = tokio::join!(hypervisor, pools);
    if hypervisor.is_err() || pools.is_err() {
        tracing::info!("not everything has answered yet; the first beat tells what is known");
    }
}

struct Heart {
    daemon: Arc<Daemon>,
    boot_id: String,
    sequence: u64,
    interval: Duration,
    errors: u32,
    line: Option<(Enrolment, VdcClient)>,
    /// The inventory the vDC has.
    told: Option<host::Discovery>,
}

impl Heart {
    /// After an error changes wait for the next try, unless we belong to another vDC now.
    fn waits_after_an_error(&self) -> bool {
        let now = self.daemon.ledger.book().registration.as_ref().map(|r| r.certificate_pem.clone());
        let then = self.line.as_ref().map(|(r, _)| r.certificate_pem.clone());
        self.errors > 0 && now == then
    }

    fn forget(&mut self) {
        self.line = None;
        self.told = None;
        self.errors = 0;
        self.interval = BEAT_INTERVAL;
    }

    /// One beat; answers when the next is due.
    async fn beat(&mut self, enrolment: &Enrolment) -> Duration {
        let sent_at = clock::now();
        let began = Instant::now();
        let told = self.tell(enrolment).await;
        self.daemon.metrics.beat(told.is_ok(), began.elapsed());
        match told {
            Ok((answer, told)) => {
                if self.errors > 0 {
                    tracing::info!("the vDC answers again");
                }
                self.errors = 0;
                self.take(enrolment, answer, sent_at, &told).await;
                jitter(self.interval)
            }
            Err(fault) => {
                if self.errors == 0 {
                    tracing::warn!(%fault, "the vDC did not take the beat");
                }
                self.errors = self.errors.saturating_add(1);
                self.told = None;
                jitter(retry_pause(self.errors, self.interval))
            }
        }
    }

    /// The vDC's answer, and the pools it was told of.
    async fn tell(&mut self, enrolment: &Enrolment) -> Result<(BeatResponse, Vec<String>), Fault> {
        let client = self.client(enrolment)?;
        self.sequence += 1;
        let request = self.collect(enrolment).await;
        let inventory = request.inventory.as_option().cloned();
        let told = request.pools.iter().map(|pool| pool.pool_id.clone()).collect();
        let answer = client.beat(request).await?;
        if inventory.is_some() {
            self.told = inventory;
        }
        Ok((answer, told))
    }

    fn client(&mut self, enrolment: &Enrolment) -> Result<VdcClient, Fault> {
        let same =
            |old: &Enrolment| Enrolment { confirmed: enrolment.confirmed, ..old.clone() } == *enrolment;
        if let Some((old, client)) = &self.line
            && same(old)
        {
            return Ok(client.clone());
        }
        self.forget();
        let tls = self.daemon.identity.client_config(enrolment)?;
        let client = VdcClient::new(&enrolment.vdc_url, VDC_NAME, tls)?;
        self.line = Some((enrolment.clone(), client.clone()));
        Ok(client)
    }

    async fn collect(&self, enrolment: &Enrolment) -> BeatRequest {
        let daemon = &self.daemon;
        let table = daemon.vms.table();
        let known = table.is_known();
        let vms: Vec<_> = table.all().iter().map(|fact| fact.to_proto(known)).collect();
        let pools = daemon.pools.reports().iter().map(|(id, r)| pool::report_to_proto(*id, r)).collect();
        let engine = daemon.facts.engine().borrow().clone();
        let inventory = self.inventory();
        BeatRequest {
            host_id: enrolment.host_id.to_string(),
            sequence: self.sequence,
            boot_id: self.boot_id.clone(),
            node_version: VERSION.to_owned(),
            observed_at: time::to_proto(clock::now()).into(),
            vitals: host::Vitals::from(&daemon.facts.vitals().await).into(),
            inventory: inventory.into(),
            pools,
            vms,
            vms_known: known,
            engine: engine.as_ref().map(host::Engine::from).into(),
            ..Default::default()
        }
    }

    /// The inventory, when the vDC does not have it as it is.
    fn inventory(&self) -> Option<host::Discovery> {
        let found = self.daemon.facts.inventory()?;
        let engine = self.daemon.facts.engine().borrow().clone()?;
        let vms = self.daemon.vms.table().all().into_iter();
        let strangers = vms.filter(|fact| fact.report.generation.is_none());
        let found = host::Discovery::from(&Discovery {
            inventory: (*found).clone(),
            engine,
            existing_vms: strangers
                .map(|fact| quantix_model::host::ExistingVm {
                    id: fact.report.id.to_string(),
                    name: fact.report.name,
                    running: fact.report.power_state.is_active(),
                })
                .collect(),
        });
        (self.told.as_ref() != Some(&found)).then_some(found)
    }

    async fn take(&mut self, enrolment: &Enrolment, answer: BeatResponse, sent_at: UnixMs, told: &[String]) {
        if answer.interval_ms > 0 {
            self.interval = Duration::from_millis(answer.interval_ms).clamp(INTERVAL_MIN, INTERVAL_MAX);
        }
        if !enrolment.confirmed
            && let Err(fault) = self.daemon.confirm(enrolment).await
        {
            tracing::warn!(%fault, "the first beat could not be written down");
        }
        let still_ours =
            self.daemon.ledger.book().registration.as_ref().is_some_and(|r| r.host_id == enrolment.host_id);
        if still_ours {
            self.daemon.pools.converge(&answer.pools, sent_at, told).await;
        }
    }
}

/// A pause a tenth shorter or longer, so that hosts do not beat together.
fn jitter(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.9..=1.1))
}

fn retry_pause(errors: u32, interval: Duration) -> Duration {
    RETRY_FIRST.saturating_mul(1 << errors.saturating_sub(1).min(10)).min(interval)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pauses_stay_in_bounds(errors in 1u32..10_000, seconds in 1u64..300) {
            let interval = Duration::from_secs(seconds);
            let pause = retry_pause(errors, interval);
            prop_assert!(pause >= RETRY_FIRST.min(interval) && pause <= interval);
            let shaken = jitter(pause);
            prop_assert!(shaken >= pause.mul_f64(0.89) && shaken <= pause.mul_f64(1.11));
        }
    }
}
