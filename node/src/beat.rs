//! Telling the vDC how things are, and making true what it answers.
//!
//! ```text
//!   interval (±10 %) ──┐
//!   something changed ─┴─▶ collect what is known (never waits) ──▶ Beat ──▶ converge pools
//!                                                                    └─ error: again after a growing pause
//! ```
//! Nothing here waits for a pool or the hypervisor: what is known is told with its age. Only the first beat of a life
//! waits a moment until each was asked once: "libvirt does not answer" would be untrue of a libvirt nobody asked.
//!
//! A beat tells everything (it is *whole*) or, while nothing but ages and load changed since a whole beat that was
//! answered, a digest of that and what moved ([`state`]). A vDC that does not hold what the digest stands for says
//! so, and the next beat is whole and comes at once.
//!
//! Renewing the host's certificate rides on the beat: only after an answer is there a vDC to ask ([`crate::renewal`]).
//!
//! A [`Body`] is what the heart beats for: the daemon, or one of many simulated hosts that share a process.

mod body;
mod state;

pub use body::{Body, State};

use crate::ledger::Enrolment;
use crate::{VERSION, clock};
use quantix_client::VdcClient;
use quantix_contract::quantix::host::v1 as host;
use quantix_contract::quantix::node::v1::{BeatRequest, BeatResponse};
use quantix_contract::{pool, time};
use quantix_model::host::BEAT_INTERVAL;
use quantix_model::{Fault, UnixMs};
use rand::Rng as _;
use state::Digest;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Changes within this time are told together.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// Bounds of the interval the vDC may set.
const INTERVAL_MIN: Duration = Duration::from_millis(200);
/// See [`INTERVAL_MIN`].
const INTERVAL_MAX: Duration = Duration::from_secs(300);
/// First pause after an error; doubled each time, up to the interval.
const RETRY_FIRST: Duration = Duration::from_millis(500);

/// Beats until told to stop.
pub async fn run<B: Body>(body: Arc<B>, stop: CancellationToken) {
    let mut heart = Heart {
        boot_id: uuid::Uuid::new_v4().to_string(),
        sequence: 0,
        interval: BEAT_INTERVAL,
        errors: 0,
        line: None,
        inventory: None,
        told: None,
        asked_again: false,
        body,
    };
    tokio::select! {
        () = stop.cancelled() => return,
        () = heart.body.first_look() => {}
    }
    let changed = heart.body.changed();
    let mut next = Instant::now();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep_until(next) => {}
            () = pushed(&changed) => {
                if heart.waits_after_an_error() {
                    continue;
                }
            }
        }
        let Some(enrolment) = heart.body.enrolment() else {
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

/// Something changed, and what follows within a moment is told with it.
async fn pushed(changed: &Notify) {
    changed.notified().await;
    tokio::time::sleep(DEBOUNCE).await;
}

struct Heart<B> {
    body: Arc<B>,
    boot_id: String,
    sequence: u64,
    interval: Duration,
    errors: u32,
    line: Option<(Enrolment, VdcClient)>,
    /// The inventory the vDC has.
    inventory: Option<host::Discovery>,
    /// What the last whole beat that was answered said.
    told: Option<Digest>,
    /// The last answer wanted everything, and was obeyed at once: a second one in a row waits for its time.
    asked_again: bool,
}

/// What one beat told.
struct Told {
    inventory: Option<host::Discovery>,
    digest: Digest,
}

impl<B: Body> Heart<B> {
    /// After an error changes wait for the next try, unless we belong to another vDC now.
    fn waits_after_an_error(&self) -> bool {
        let now = self.body.enrolment().map(|r| r.certificate_pem);
        let then = self.line.as_ref().map(|(r, _)| r.certificate_pem.clone());
        self.errors > 0 && now == then
    }

    fn forget(&mut self) {
        self.line = None;
        self.inventory = None;
        self.told = None;
        self.errors = 0;
        self.interval = BEAT_INTERVAL;
    }

    /// One beat; answers when the next is due.
    async fn beat(&mut self, enrolment: &Enrolment) -> Duration {
        let sent_at = clock::now();
        match self.tell(enrolment).await {
            Ok((answer, told)) => {
                if self.errors > 0 {
                    tracing::info!("the vDC answers again");
                }
                self.errors = 0;
                let again = answer.full_wanted && !self.asked_again;
                self.asked_again = answer.full_wanted;
                self.take(enrolment, answer, sent_at, &told).await;
                if again { Duration::ZERO } else { jitter(self.interval) }
            }
            Err(fault) => {
                if self.errors == 0 {
                    tracing::warn!(%fault, "the vDC did not take the beat");
                }
                self.errors = self.errors.saturating_add(1);
                // Whether it was heard is not known.
                (self.inventory, self.told) = (None, None);
                let asked = Duration::from_millis(fault.retry_after_ms.into()).min(INTERVAL_MAX);
                jitter(retry_pause(self.errors, self.interval)).max(asked)
            }
        }
    }

    /// The vDC's answer, and what it was told.
    async fn tell(&mut self, enrolment: &Enrolment) -> Result<(BeatResponse, Told), Fault> {
        let client = self.client(enrolment)?;
        self.sequence += 1;
        let mut request = self.collect(enrolment).await;
        let told =
            Told { inventory: request.inventory.as_option().cloned(), digest: state::digest(&request) };
        request.state_digest = told.digest.to_vec();
        if self.told == Some(told.digest) {
            state::leave_out(&mut request);
        }
        Ok((self.body.send(&client, request).await?, told))
    }

    fn client(&mut self, enrolment: &Enrolment) -> Result<VdcClient, Fault> {
        let place = |e: &Enrolment| (e.host_id, e.vdc_url.clone());
        let proof = |e: &Enrolment| (e.certificate_pem.clone(), e.vdc_ca_pem.clone());
        match &self.line {
            Some((old, client)) if place(old) == place(enrolment) => {
                if proof(old) == proof(enrolment) {
                    return Ok(client.clone());
                }
                // The same vDC, and only the certificate is new: what it was told stands.
            }
            _ => self.forget(),
        }
        let client = self.body.line(enrolment)?;
        self.line = Some((enrolment.clone(), client.clone()));
        Ok(client)
    }

    /// A whole beat.
    async fn collect(&self, enrolment: &Enrolment) -> BeatRequest {
        let state = self.body.state().await;
        let inventory = state.discovery().filter(|found| self.inventory.as_ref() != Some(found));
        BeatRequest {
            host_id: enrolment.host_id.to_string(),
            sequence: self.sequence,
            boot_id: self.boot_id.clone(),
            node_version: VERSION.to_owned(),
            observed_at: time::to_proto(clock::now()).into(),
            vitals: host::Vitals::from(&state.vitals).into(),
            inventory: inventory.into(),
            pools: state.pools.iter().map(|(id, r)| pool::report_to_proto(*id, r)).collect(),
            vms: state.vms.iter().map(|fact| fact.to_proto(state.vms_known)).collect(),
            vms_known: state.vms_known,
            engine: state.engine.as_ref().map(host::Engine::from).into(),
            certificate: self.body.certificate(enrolment).into(),
            ..Default::default()
        }
    }

    async fn take(&mut self, enrolment: &Enrolment, answer: BeatResponse, sent_at: UnixMs, told: &Told) {
        if answer.full_wanted {
            (self.inventory, self.told) = (None, None);
        } else {
            self.told = Some(told.digest);
            if told.inventory.is_some() {
                self.inventory.clone_from(&told.inventory);
            }
        }
        if answer.interval_ms > 0 {
            self.interval = Duration::from_millis(answer.interval_ms).clamp(INTERVAL_MIN, INTERVAL_MAX);
        }
        if !enrolment.confirmed
            && let Err(fault) = self.body.confirm(enrolment).await
        {
            tracing::warn!(%fault, "the first beat could not be written down");
        }
        if self.body.enrolment().is_some_and(|r| r.host_id == enrolment.host_id) {
            self.body.converge(&answer, sent_at).await;
            if let Some((_, line)) = &self.line {
                self.body.renew(line, &answer.trust_pem).await;
            }
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
