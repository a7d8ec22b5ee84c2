//! Keeping the certificate that the vDC gave this host alive, and knowing whom to trust.
//!
//! ```text
//!   a beat is answered ─▶ told whom to trust? ─▶ written down (whole) ─▶ new lines use it
//!                      └▶ time to renew? ── RenewCertificate, same key ─▶ checked ─▶ written down ─▶ new lines use it
//!                                               ├─ BUSY: again at the host's own moment of the next ten minutes
//!                                               └─ refused or silent: again after 10 s, 20 s, … 1 h; told with beats
//! ```
//! Time to renew: two thirds of the certificate's life are over, or another authority signs now. From then on it happens
//! at the host's own moment of the day, which follows from its id: ten thousand hosts renew within a day, evenly.
//!
//! An expired host cannot prove itself any more. It says so in its log, goes on running its VMs, and is enrolled again
//! with a new token.

use crate::clock;
use crate::daemon::Daemon;
use crate::ledger::Enrolment;
use quantix_client::VdcClient;
use quantix_client::tls::{self, CertificateFacts};
use quantix_contract::quantix::node::v1::{HeldCertificate, RenewCertificateRequest};
use quantix_contract::time;
use quantix_model::id::HostId;
use quantix_model::{Fault, FaultCode, UnixMs};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const DAY_MS: i64 = 24 * 3600 * 1000;
/// Hosts that are asked to come again do so within this time.
const AGAIN_MS: i64 = 10 * 60 * 1000;
/// First pause after a failed renewal; doubled each time …
const RETRY_FIRST: Duration = Duration::from_secs(10);
/// … up to this.
const RETRY_MAX: Duration = Duration::from_secs(3600);

/// Of the certificate in hand.
#[derive(Debug, Default)]
pub struct Renewal(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Failed in a row.
    errors: u32,
    /// Not tried again before that.
    next_try: UnixMs,
    fault: Option<Fault>,
    /// Its end was written to the log.
    said_expired: bool,
}

/// When a host renews: `start` is when it may, the moment of the day is its own, and what has little life waits for less.
pub fn due(facts: &CertificateFacts, changed_at: Option<UnixMs>, host: HostId) -> UnixMs {
    let life_ms = (facts.not_after.0 - facts.not_before.0).max(0);
    let by_age = facts.not_before.0 + life_ms / 3 * 2;
    let start = changed_at.map_or(by_age, |at| by_age.min(at.0));
    let slot = moment_of(DAY_MS, host);
    let wait = (slot - start.rem_euclid(DAY_MS)).rem_euclid(DAY_MS);
    UnixMs(start + wait.min(life_ms / 6))
}

/// When a host that was told BUSY asks again: its own moment of the next ten minutes.
pub fn again(host: HostId, now: UnixMs) -> UnixMs {
    let wait = (moment_of(AGAIN_MS, host) - now.0).rem_euclid(AGAIN_MS);
    // A beat that is a little early must not count as the next round's.
    UnixMs(now.0 + wait.max(1))
}

/// Milliseconds after the start of each day, or of each shorter time, evenly spread over all hosts.
fn moment_of(span_ms: i64, host: HostId) -> i64 {
    // The last bits of an id are random.
    let random = host.0.as_u128() as u64 & 0xffff_ffff;
    i64::try_from(random).unwrap_or(0) * span_ms / (1 << 32)
}

fn facts(enrolment: &Enrolment) -> Result<CertificateFacts, Fault> {
    CertificateFacts::read(&tls::first_der(&enrolment.certificate_pem)?)
}

/// Whether the certificate should be renewed now.
fn is_due(enrolment: &Enrolment, now: UnixMs) -> Result<bool, Fault> {
    let current = tls::is_signed_by_first(&enrolment.certificate_pem, &enrolment.vdc_ca_pem)?;
    let changed_at = (!current).then_some(enrolment.trusted_at);
    Ok(due(&facts(enrolment)?, changed_at, enrolment.host_id) <= now)
}

impl Renewal {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What beats tell of the certificate.
    pub fn held(&self, enrolment: &Enrolment) -> Option<HeldCertificate> {
        let facts = facts(enrolment).ok()?;
        let fault = self.state().fault.clone();
        Some(HeldCertificate {
            trust_sha256: tls::bundle_digest(&enrolment.vdc_ca_pem).ok()?.to_vec(),
            expires_at: time::to_proto(facts.not_after).into(),
            fault: fault.as_ref().map(Into::into).into(),
            ..Default::default()
        })
    }

    /// The fault of a beat. An expired certificate is the reason, whatever the other side said.
    pub fn explain(&self, enrolment: Option<&Enrolment>, fault: Fault) -> Fault {
        let ended = enrolment.and_then(|e| facts(e).ok()).filter(|facts| facts.not_after < clock::now());
        let mut state = self.state();
        let Some(facts) = ended else {
            state.said_expired = false;
            return fault;
        };
        let days = facts.not_after.age(clock::now()).as_secs() / (24 * 3600);
        let expired = Fault::new(
            FaultCode::CertificateExpired,
            format!("This host's certificate ended {days} days ago, so the vDC takes nothing from it."),
            "Run `quantix-node token` here and add the host again in the vDC: it stays the same host. \
             Its VMs go on running.",
        )
        .because(fault);
        if !std::mem::replace(&mut state.said_expired, true) {
            tracing::error!(fault = %expired, remedy = expired.remedy, "this host must be enrolled again");
        }
        expired
    }

    fn may_try(&self, now: UnixMs) -> bool {
        self.state().next_try <= now
    }

    fn put_off(&self, until: UnixMs) {
        tracing::info!(
            until = until.0,
            "many hosts renew at once: the certificate is renewed a little later"
        );
        self.state().next_try = until;
    }

    fn done(&self) {
        *self.state() = State::default();
    }

    fn failed(&self, fault: Fault, now: UnixMs) {
        let mut state = self.state();
        let pause = RETRY_FIRST.saturating_mul(1 << state.errors.min(10)).min(RETRY_MAX);
        state.errors = state.errors.saturating_add(1);
        tracing::warn!(%fault, again_in_s = pause.as_secs(), "the certificate could not be renewed");
        state.next_try = now.plus(pause);
        state.fault = Some(fault);
    }
}

impl Daemon {
    /// After a beat was answered: takes up whom to trust (empty: as before), and renews the certificate when it is time.
    pub async fn keep_certificate(&self, line: &VdcClient, trust_pem: &str) {
        let now = clock::now();
        let Some(mut enrolment) = self.ledger.book().registration.clone() else { return };
        if !trust_pem.is_empty() && trust_pem != enrolment.vdc_ca_pem {
            match self.trust(&enrolment, trust_pem, now).await {
                Ok(Some(changed)) => enrolment = changed,
                Ok(None) => return,
                Err(fault) => {
                    tracing::warn!(%fault, "whom to trust could not be taken up");
                    return;
                }
            }
        }
        if !self.renewal.may_try(now) || !is_due(&enrolment, now).unwrap_or(true) {
            return;
        }
        match self.renew(line, &enrolment, now).await {
            Ok(()) => {
                self.renewal.done();
                tracing::info!("the certificate was renewed");
            }
            Err(fault) if fault.code == FaultCode::Busy => {
                self.renewal.put_off(again(enrolment.host_id, now));
            }
            Err(fault) => self.renewal.failed(fault, now),
        }
    }

    async fn trust(
        &self,
        enrolment: &Enrolment,
        trust_pem: &str,
        now: UnixMs,
    ) -> Result<Option<Enrolment>, Fault> {
        // What we have must go on being good: a vDC that does not know our own authority any more is not ours.
        let leaf = &enrolment.certificate_pem;
        let changed = self.identity.accept_renewed(enrolment, leaf, trust_pem, now)?;
        self.renewed(enrolment, changed).await?;
        tracing::info!("the vDC's certificate authorities were taken up");
        Ok(self.ledger.book().registration.clone())
    }

    async fn renew(&self, line: &VdcClient, enrolment: &Enrolment, now: UnixMs) -> Result<(), Fault> {
        let public_key_der = self.identity.spki_der().to_vec();
        let request = RenewCertificateRequest { public_key_der, ..Default::default() };
        let answer = line.renew_certificate(request).await?;
        let renewed =
            self.identity.accept_renewed(enrolment, &answer.certificate_pem, &answer.trust_pem, now)?;
        self.renewed(enrolment, renewed).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use quantix_client::tls::Fingerprint;
    use uuid::Uuid;

    fn facts_of(not_before: i64, days: i64) -> CertificateFacts {
        CertificateFacts {
            key_fingerprint: Fingerprint([0; 32]),
            spki_der: Vec::new(),
            dns_names: Vec::new(),
            not_before: UnixMs(not_before),
            not_after: UnixMs(not_before + days * DAY_MS),
        }
    }

    proptest! {
        #[test]
        fn always_within_a_day_after_two_thirds_and_at_the_same_moment(id: u128, from in 0i64..1 << 42) {
            let (facts, host) = (facts_of(from, 90), HostId(Uuid::from_u128(id)));
            let at = due(&facts, None, host);
            prop_assert!(at.0 >= from + 60 * DAY_MS && at.0 < from + 61 * DAY_MS);
            prop_assert_eq!(at.0.rem_euclid(DAY_MS), moment_of(DAY_MS, host));
            let sooner = due(&facts, Some(UnixMs(from + 5 * DAY_MS)), host);
            prop_assert!(sooner.0 >= from + 5 * DAY_MS && sooner.0 < from + 6 * DAY_MS);
            let short = due(&facts_of(from, 1), None, host);
            prop_assert!(short.0 < from + DAY_MS * 5 / 6 + 1);
        }
    }

    #[test]
    fn ten_thousand_hosts_renew_evenly_within_a_day() {
        let facts = facts_of(0, 90);
        let mut hours = [0u32; 24];
        for _ in 0..10_000 {
            let at = due(&facts, None, HostId(Uuid::now_v7()));
            hours[usize::try_from((at.0 - 60 * DAY_MS) / 3_600_000).unwrap()] += 1;
        }
        // 417 are expected in each; 6 standard deviations are 120.
        assert!(hours.iter().all(|n| (297..537).contains(n)), "{hours:?}");
    }

    #[test]
    fn who_is_told_to_come_again_does_so_evenly_within_ten_minutes() {
        let now = UnixMs(77 * DAY_MS + 12_345);
        let mut minutes = [0u32; 10];
        for _ in 0..10_000 {
            let at = again(HostId(Uuid::now_v7()), now);
            minutes[usize::try_from((at.0 - now.0) / 60_000).unwrap()] += 1;
        }
        // 1,000 are expected in each; 6 standard deviations are 180.
        assert!(minutes.iter().all(|n| (820..1_180).contains(n)), "{minutes:?}");
        let renewal = Renewal::default();
        renewal.put_off(now);
        assert!(!renewal.may_try(UnixMs(now.0 - 1)) && renewal.may_try(now));
        assert!(renewal.state().fault.is_none(), "nothing is wrong");
    }

    #[test]
    fn tries_become_rarer_and_are_told() {
        let (renewal, fault) = (Renewal::default(), Fault::internal("no"));
        let mut at = UnixMs(0);
        for seconds in [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600] {
            renewal.failed(fault.clone(), at);
            let next = at.plus(Duration::from_secs(seconds));
            assert!(!renewal.may_try(UnixMs(next.0 - 1)) && renewal.may_try(next), "{seconds}");
            at = next;
        }
        assert_eq!(renewal.state().fault, Some(fault));
        renewal.done();
        assert!(renewal.state().fault.is_none() && renewal.may_try(UnixMs(0)));
    }
}
