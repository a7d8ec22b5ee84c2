//! Which host a new VM goes to: fit first, then balance, and why not the others.

use crate::fault::HostReason;
use crate::host::HostPhase;
use crate::id::{HostId, PoolId};
use crate::pool::PoolHealth;

/// What is known of a host when a VM looks for a place.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Which.
    pub host_id: HostId,
    /// Name, for sentences.
    pub host: String,
    /// Freshness.
    pub phase: HostPhase,
    /// libvirt's fault, if any, as a sentence.
    pub engine_fault: Option<String>,
    /// Why nothing may be asked of it now, if so.
    pub refusal: Option<String>,
    /// Logical processors.
    pub threads: u32,
    /// Memory in all.
    pub memory_total_bytes: u64,
    /// Memory promised to VMs that are placed there.
    pub memory_promised_bytes: u64,
    /// Pools on it and how they are.
    pub pools: Vec<(PoolId, PoolHealth)>,
}

/// What a VM needs.
#[derive(Clone, Debug, Default)]
pub struct Need {
    /// Virtual processors.
    pub vcpus: u32,
    /// Guest memory.
    pub memory_bytes: u64,
    /// Pools its disks and ISO are on, with names for sentences.
    pub pools: Vec<(PoolId, String)>,
}

/// Kept free for the host's own work.
pub const HOST_RESERVE_BYTES: u64 = 512 << 20;

/// Whether the host fits; the reason if not.
pub fn fits(need: &Need, host: &Candidate) -> Result<(), String> {
    match host.phase {
        HostPhase::Ready | HostPhase::Degraded => {}
        HostPhase::Pending => return Err("It has not reported yet.".into()),
        HostPhase::Disconnected => return Err("It is silent: its state is unknown.".into()),
    }
    if let Some(refusal) = &host.refusal {
        return Err(refusal.clone());
    }
    if let Some(fault) = &host.engine_fault {
        return Err(format!("Its hypervisor does not answer: {fault}"));
    }
    for (id, name) in &need.pools {
        match host.pools.iter().find(|(p, _)| p == id).map(|(_, health)| *health) {
            None => return Err(format!("Pool {name} is not assigned to it.")),
            Some(PoolHealth::Healthy | PoolHealth::Degraded) => {}
            Some(PoolHealth::Unknown) => return Err(format!("Pool {name} has not been reported there.")),
            Some(PoolHealth::Error | PoolHealth::Unmounted) => {
                return Err(format!("Pool {name} does not work there."));
            }
        }
    }
    if need.vcpus > host.threads {
        return Err(format!("It has {} CPU threads, {} vCPUs are wanted.", host.threads, need.vcpus));
    }
    let free = free_bytes(host);
    if need.memory_bytes > free {
        return Err(format!(
            "It has {} of memory not promised to VMs, {} are wanted.",
            amount(free),
            amount(need.memory_bytes)
        ));
    }
    Ok(())
}

fn free_bytes(host: &Candidate) -> u64 {
    host.memory_total_bytes.saturating_sub(HOST_RESERVE_BYTES).saturating_sub(host.memory_promised_bytes)
}

/// Bytes as people say them.
fn amount(bytes: u64) -> String {
    if bytes < 1 << 30 {
        format!("{} MiB", bytes >> 20)
    } else {
        format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
    }
}

/// The choice among all hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Where to, if anywhere.
    pub chosen: Option<HostId>,
    /// Why there.
    pub because: String,
    /// Every host that does not fit, with the reason.
    pub refused: Vec<HostReason>,
}

/// Chooses the fitting host with most free memory; ties go to the smaller id, so that the answer never flickers.
pub fn choose(need: &Need, hosts: &[Candidate]) -> Choice {
    let mut refused = Vec::new();
    let mut best: Option<&Candidate> = None;
    for host in hosts {
        match fits(need, host) {
            Err(reason) => {
                refused.push(HostReason {
                    host_id: host.host_id.to_string(),
                    host: host.host.clone(),
                    reason,
                });
            }
            Ok(()) => {
                let key = |h: &Candidate| (free_bytes(h), std::cmp::Reverse(h.host_id));
                if best.is_none_or(|b| key(host) > key(b)) {
                    best = Some(host);
                }
            }
        }
    }
    let because = best.map_or_else(String::new, |b| {
        format!(
            "{} has {} of memory not promised to VMs, the most of those that fit.",
            b.host,
            amount(free_bytes(b))
        )
    });
    Choice { chosen: best.map(|b| b.host_id), because, refused }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn host(n: u128) -> Candidate {
        Candidate {
            host_id: HostId(Uuid::from_u128(n)),
            host: format!("host-{n}"),
            phase: HostPhase::Ready,
            refusal: None,
            engine_fault: None,
            threads: 4,
            memory_total_bytes: 8 << 30,
            memory_promised_bytes: 0,
            pools: vec![(PoolId(Uuid::from_u128(1)), PoolHealth::Healthy)],
        }
    }

    fn need() -> Need {
        Need { vcpus: 2, memory_bytes: 1 << 30, pools: vec![(PoolId(Uuid::from_u128(1)), "main".into())] }
    }

    #[test]
    fn most_free_memory_wins_and_ties_are_stable() {
        let mut full = host(1);
        full.memory_promised_bytes = 4 << 30;
        let choice = choose(&need(), &[full, host(3), host(2)]);
        assert_eq!(choice.chosen, Some(HostId(Uuid::from_u128(2))));
        assert!(choice.because.contains("host-2"));
    }

    #[test]
    fn every_refusal_has_a_reason() {
        let silent = Candidate { phase: HostPhase::Disconnected, ..host(1) };
        let other_pool = Candidate { pools: vec![], ..host(2) };
        let small = Candidate { memory_total_bytes: 1 << 30, ..host(3) };
        let few = Candidate { threads: 1, ..host(4) };
        let broken = Candidate { engine_fault: Some("libvirt is not running".into()), ..host(5) };
        let choice = choose(&need(), &[silent, other_pool, small, few, broken]);
        assert_eq!(choice.chosen, None);
        let text: Vec<&str> = choice.refused.iter().map(|r| r.reason.as_str()).collect();
        insta::assert_debug_snapshot!(text, @r#"
        [
            "It is silent: its state is unknown.",
            "Pool main is not assigned to it.",
            "It has 512 MiB of memory not promised to VMs, 1.0 GiB are wanted.",
            "It has 1 CPU threads, 2 vCPUs are wanted.",
            "Its hypervisor does not answer: libvirt is not running",
        ]
        "#);
    }
}
