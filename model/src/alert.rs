//! What somebody should look at: rules over the present state of hosts, pools and VMs.
//!
//! ```text
//!   found ──▶ raised ──(acknowledged)──▶ … ──no longer found──▶ cleared
//! ```
//! A rule judges only what is known. Where nothing is known an alert stays as it is: silence is no good news.

use crate::event::Severity;
use crate::fault::{Fault, FaultCode};
use crate::host::HostPhase;
use crate::pool::{Capacity, PoolPhase};
use crate::time::UnixMs;
use crate::vm::VmPhase;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A pool this full is worth a warning.
pub const POOL_FULL_WARN_RATIO: f64 = 0.85;
/// A pool this full will refuse work soon.
pub const POOL_FULL_ERROR_RATIO: f64 = 0.95;
/// An alert about space ends only when so much of the pool is free again: no flapping at the edge.
pub const POOL_FULL_HYSTERESIS_RATIO: f64 = 0.02;
/// Clocks further apart than this make certificates and logs lie.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(5);
/// A certificate that ends sooner should have been renewed.
pub const CERTIFICATE_EXPIRES_WITHIN: Duration = Duration::from_secs(14 * 24 * 3600);
/// One that ends even sooner is a matter of days.
pub const CERTIFICATE_EXPIRES_NOW_WITHIN: Duration = Duration::from_secs(3 * 24 * 3600);

/// A rule. Words are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AlertRule {
    /// Three beats missed.
    #[serde(rename = "host.silent")]
    HostSilent,
    /// Something on it does not work.
    #[serde(rename = "host.degraded")]
    HostDegraded,
    /// Two machines speak under its identity.
    #[serde(rename = "host.cloned")]
    HostCloned,
    /// It has pools that nobody here knows of.
    #[serde(rename = "host.pools")]
    HostPools,
    /// Its VMs run with more rights than they need.
    #[serde(rename = "host.unconfined")]
    HostUnconfined,
    /// Its clock is not ours.
    #[serde(rename = "host.clock")]
    HostClock,
    /// Its certificate ends soon.
    #[serde(rename = "host.certificate")]
    HostCertificate,
    /// The vDC's own certificate ends soon.
    #[serde(rename = "vdc.certificate")]
    VdcCertificate,
    /// The certificate that was uploaded for the vDC ends soon.
    #[serde(rename = "vdc.uploaded")]
    UploadedCertificate,
    /// It does not work on some or all of its hosts.
    #[serde(rename = "pool.unhealthy")]
    PoolUnhealthy,
    /// Little space is left.
    #[serde(rename = "pool.full")]
    PoolFull,
    /// Its host no longer has it.
    #[serde(rename = "vm.lost")]
    VmLost,
}

impl AlertRule {
    /// The word, e.g. `pool.full`.
    pub fn as_str(self) -> &'static str {
        match self {
            AlertRule::HostSilent => "host.silent",
            AlertRule::HostDegraded => "host.degraded",
            AlertRule::HostCloned => "host.cloned",
            AlertRule::HostPools => "host.pools",
            AlertRule::HostUnconfined => "host.unconfined",
            AlertRule::HostClock => "host.clock",
            AlertRule::HostCertificate => "host.certificate",
            AlertRule::VdcCertificate => "vdc.certificate",
            AlertRule::UploadedCertificate => "vdc.uploaded",
            AlertRule::PoolUnhealthy => "pool.unhealthy",
            AlertRule::PoolFull => "pool.full",
            AlertRule::VmLost => "vm.lost",
        }
    }
}

/// What a rule found.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Which rule.
    pub rule: AlertRule,
    /// How bad.
    pub severity: Severity,
    /// A sentence.
    pub message: String,
    /// Why and what to do, when somebody said so.
    pub fault: Option<Fault>,
}

/// What is known of a host.
#[derive(Clone, Debug)]
pub struct HostFacts<'a> {
    /// For sentences.
    pub name: &'a str,
    /// As shown.
    pub phase: HostPhase,
    /// Why it is not Ready.
    pub fault: Option<Fault>,
    /// What to say of pools that are known to it alone.
    pub unknown_pools: Option<Fault>,
    /// What it said of how its VMs run.
    pub weakness: Option<Fault>,
    /// Host clock minus ours, while it beats.
    pub clock_skew_ms: i64,
    /// End of its certificate.
    pub certificate_expires_at: UnixMs,
    /// Why it could not renew it.
    pub certificate_fault: Option<Fault>,
}

/// What is wrong with a host; `None` while nothing is known.
pub fn of_host(host: &HostFacts<'_>, now: UnixMs) -> Option<Vec<Finding>> {
    let mut found = Vec::new();
    let mut add = |rule, severity, message, fault| found.push(Finding { rule, severity, message, fault });
    let name = host.name;
    match host.phase {
        HostPhase::Pending => return None,
        HostPhase::Ready => {}
        HostPhase::Degraded if host.fault.as_ref().is_some_and(|f| f.code == FaultCode::HostCloned) => {
            let message = host.fault.as_ref().map(|fault| fault.message.clone()).unwrap_or_default();
            add(AlertRule::HostCloned, Severity::Error, message, host.fault.clone());
        }
        HostPhase::Degraded => {
            add(
                AlertRule::HostDegraded,
                Severity::Warning,
                format!("Host {name} is degraded."),
                host.fault.clone(),
            );
        }
        HostPhase::Disconnected => {
            let message = format!("Host {name} is silent: its state is unknown.");
            add(AlertRule::HostSilent, Severity::Error, message, host.fault.clone());
        }
    }
    if host.phase != HostPhase::Disconnected
        && let Some(fault) = &host.unknown_pools
    {
        add(AlertRule::HostPools, Severity::Warning, fault.message.clone(), Some(fault.clone()));
    }
    if host.phase != HostPhase::Disconnected
        && let Some(fault) = &host.weakness
    {
        let message = format!("{name}: {}", fault.message);
        add(AlertRule::HostUnconfined, Severity::Warning, message, Some(fault.clone()));
    }
    let skew = Duration::from_millis(host.clock_skew_ms.unsigned_abs());
    if host.phase != HostPhase::Disconnected && skew > CLOCK_SKEW_MAX {
        let way = if host.clock_skew_ms > 0 { "ahead of" } else { "behind" };
        let message = format!("The clock of host {name} is {} s {way} the vDC's.", skew.as_secs());
        add(AlertRule::HostClock, Severity::Warning, message, None);
    }
    let what = format!("The certificate of host {name}");
    if let Some((severity, message)) = expiry(&what, host.certificate_expires_at, now) {
        let fault = host.certificate_fault.clone().unwrap_or_else(|| {
            Fault::new(
                FaultCode::CertificateExpired,
                message.clone(),
                "A host renews it by itself while it is connected. One whose certificate has expired is enrolled again: \
                 make a token on it with `quantix-node token`, and add it again here.",
            )
        });
        add(AlertRule::HostCertificate, severity, message, Some(fault));
    }
    Some(found)
}

/// How bad it is that a certificate ends then, and a sentence; `None` while that is far off.
fn expiry(what: &str, expires_at: UnixMs, now: UnixMs) -> Option<(Severity, String)> {
    let left = now.age(expires_at);
    let days = left.as_secs() / (24 * 3600);
    match left {
        left if left.is_zero() => Some((Severity::Error, format!("{what} has expired."))),
        left if left < CERTIFICATE_EXPIRES_NOW_WITHIN => {
            Some((Severity::Error, format!("{what} expires in {} hours.", left.as_secs() / 3600)))
        }
        left if left < CERTIFICATE_EXPIRES_WITHIN => {
            Some((Severity::Warning, format!("{what} expires in {days} days.")))
        }
        _ => None,
    }
}

/// What is wrong with a certificate of the vDC itself. `uploaded`: people brought it, and must replace it.
pub fn of_vdc_certificate(uploaded: bool, expires_at: UnixMs, now: UnixMs) -> Vec<Finding> {
    let (rule, what, remedy) = match uploaded {
        true => (
            AlertRule::UploadedCertificate,
            "The certificate that was uploaded for the vDC",
            "Upload a new one on the certificates page, or remove it: browsers then see the vDC's own.",
        ),
        false => (
            AlertRule::VdcCertificate,
            "The vDC's own certificate",
            "The vDC renews it by itself. See its log for why it could not: it must be able to write its data folder.",
        ),
    };
    let found = expiry(what, expires_at, now).map(|(severity, message)| {
        let fault = Some(Fault::new(FaultCode::CertificateExpired, message.clone(), remedy));
        Finding { rule, severity, message, fault }
    });
    found.into_iter().collect()
}

/// What is wrong with a pool; `None` while its hosts are waited for. `raised`: how bad its space was judged so far.
pub fn of_pool(
    name: &str,
    phase: PoolPhase,
    fault: Option<Fault>,
    capacity: Option<Capacity>,
    raised: Option<Severity>,
) -> Option<Vec<Finding>> {
    let mut found = Vec::new();
    let (severity, message) = match phase {
        PoolPhase::Pending => return None,
        PoolPhase::Ready | PoolPhase::Deleting => (None, String::new()),
        PoolPhase::Degraded => {
            (Some(Severity::Warning), format!("Pool {name} does not work on all its hosts."))
        }
        PoolPhase::Error => (Some(Severity::Error), format!("Pool {name} works on none of its hosts.")),
    };
    if let Some(severity) = severity {
        found.push(Finding { rule: AlertRule::PoolUnhealthy, severity, message, fault });
    }
    if let Some((severity, ratio)) = capacity.and_then(|c| fullness(c, raised)) {
        let message = format!("Pool {name} is {:.0} % full.", ratio * 100.0);
        found.push(Finding { rule: AlertRule::PoolFull, severity, message, fault: None });
    }
    Some(found)
}

/// How bad the space of a pool is, and the share that cannot be used.
fn fullness(capacity: Capacity, raised: Option<Severity>) -> Option<(Severity, f64)> {
    if capacity.total_bytes == 0 {
        return None;
    }
    // What root keeps for itself is not free for us.
    let taken = capacity.total_bytes.saturating_sub(capacity.available_bytes);
    let ratio = taken as f64 / capacity.total_bytes as f64;
    let limit = |at: f64, severity| {
        if raised >= Some(severity) { at - POOL_FULL_HYSTERESIS_RATIO } else { at }
    };
    if ratio >= limit(POOL_FULL_ERROR_RATIO, Severity::Error) {
        Some((Severity::Error, ratio))
    } else if ratio >= limit(POOL_FULL_WARN_RATIO, Severity::Warning) {
        Some((Severity::Warning, ratio))
    } else {
        None
    }
}

/// What is wrong with a VM.
pub fn of_vm(name: &str, phase: VmPhase, fault: Option<Fault>) -> Vec<Finding> {
    if phase != VmPhase::Lost {
        return Vec::new();
    }
    let message = format!("VM {name} is lost: its host no longer has it.");
    vec![Finding { rule: AlertRule::VmLost, severity: Severity::Error, message, fault }]
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 24 * 3600 * 1000;

    fn host(phase: HostPhase) -> HostFacts<'static> {
        HostFacts {
            name: "h",
            phase,
            fault: None,
            unknown_pools: None,
            weakness: None,
            clock_skew_ms: 0,
            certificate_expires_at: UnixMs(90 * DAY_MS),
            certificate_fault: None,
        }
    }

    fn rules(found: Option<Vec<Finding>>) -> Vec<&'static str> {
        found.unwrap().iter().map(|f| f.rule.as_str()).collect()
    }

    #[test]
    fn a_host_that_was_not_heard_is_not_judged() {
        assert_eq!(of_host(&host(HostPhase::Pending), UnixMs(0)), None);
        assert_eq!(rules(of_host(&host(HostPhase::Ready), UnixMs(0))), [""; 0]);
        assert_eq!(rules(of_host(&host(HostPhase::Disconnected), UnixMs(0))), ["host.silent"]);
    }

    #[test]
    fn guests_with_too_many_rights_are_told_of_while_the_host_speaks() {
        let weakness = Some(Fault::new(FaultCode::GuestsUnconfined, "libvirt runs VMs as root.", "Do not."));
        let facts = HostFacts { weakness, ..host(HostPhase::Ready) };
        let found = of_host(&facts, UnixMs(0)).unwrap();
        assert_eq!(found[0].message, "h: libvirt runs VMs as root.");
        assert_eq!(rules(Some(found)), ["host.unconfined"]);
        let silent = HostFacts { phase: HostPhase::Disconnected, ..facts };
        assert_eq!(rules(of_host(&silent, UnixMs(0))), ["host.silent"]);
    }

    #[test]
    fn clock_and_certificate() {
        let late = HostFacts { clock_skew_ms: -6_000, ..host(HostPhase::Ready) };
        let found = of_host(&late, UnixMs(0)).unwrap();
        assert_eq!(found[0].message, "The clock of host h is 6 s behind the vDC's.");
        assert_eq!(rules(of_host(&host(HostPhase::Ready), UnixMs(80 * DAY_MS))), ["host.certificate"]);
        for (day, severity, words) in [
            (77, Severity::Warning, "expires in 13 days"),
            (88, Severity::Error, "expires in 48 hours"),
            (91, Severity::Error, "has expired"),
        ] {
            let found = of_host(&host(HostPhase::Ready), UnixMs(day * DAY_MS)).unwrap();
            assert_eq!(found[0].severity, severity, "{day}");
            assert!(found[0].message.contains(words), "{}", found[0].message);
            assert!(found[0].fault.as_ref().unwrap().remedy.contains("quantix-node token"));
        }
        let why = Fault::internal("no");
        let refused = HostFacts { certificate_fault: Some(why.clone()), ..host(HostPhase::Ready) };
        assert_eq!(of_host(&refused, UnixMs(80 * DAY_MS)).unwrap()[0].fault, Some(why));
        let own = |day: i64| of_vdc_certificate(true, UnixMs(90 * DAY_MS), UnixMs(day * DAY_MS));
        assert!(own(75).is_empty());
        assert_eq!(
            (own(80)[0].rule, own(80)[0].severity),
            (AlertRule::UploadedCertificate, Severity::Warning)
        );
    }

    fn full(percent: u64, raised: Option<Severity>) -> Option<Severity> {
        let capacity =
            Capacity { total_bytes: 1000, used_bytes: percent * 10, available_bytes: 1000 - percent * 10 };
        let found = of_pool("p", PoolPhase::Ready, None, Some(capacity), raised).unwrap();
        found.first().map(|f| f.severity)
    }

    #[test]
    fn space_warns_before_it_is_gone_and_does_not_flap() {
        assert_eq!(full(84, None), None);
        assert_eq!(full(85, None), Some(Severity::Warning));
        assert_eq!(full(95, None), Some(Severity::Error));
        assert_eq!(full(84, Some(Severity::Warning)), Some(Severity::Warning));
        assert_eq!(full(82, Some(Severity::Warning)), None);
        assert_eq!(full(94, Some(Severity::Error)), Some(Severity::Error));
        assert_eq!(full(94, Some(Severity::Warning)), Some(Severity::Warning));
    }

    #[test]
    fn words_are_the_stored_ones() {
        for rule in
            [AlertRule::HostSilent, AlertRule::HostCertificate, AlertRule::PoolFull, AlertRule::VmLost]
        {
            assert_eq!(serde_json::to_string(&rule).unwrap(), format!("{:?}", rule.as_str()));
        }
    }
}
