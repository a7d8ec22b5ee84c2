//! The two parts of what a beat tells: what stays until something happens, and what moves all the time.
//!
//! The first is what the digest stands for. The second (ages, free space, load) travels with every beat, so that a
//! beat that leaves the lists out is as fresh as one that does not.

use aws_lc_rs::digest::{SHA256, digest as sha256};
use buffa::Message as _;
use quantix_contract::quantix::node::v1::{BeatRequest, Figures, PoolReport, VmReport};
use quantix_contract::quantix::pool::v1::Capacity;
use quantix_contract::time;
use quantix_model::UnixMs;

/// The first half of a SHA-256: it tells states apart and guards nothing.
pub(super) type Digest = [u8; 16];

/// Stands for all that a whole beat says and that does not move by itself.
pub(super) fn digest(beat: &BeatRequest) -> Digest {
    let still = BeatRequest {
        pools: beat.pools.iter().map(still_pool).collect(),
        vms: beat.vms.iter().map(still_vm).collect(),
        vms_known: beat.vms_known,
        engine: beat.engine.clone(),
        ..Default::default()
    };
    let hash = sha256(&SHA256, &still.encode_to_vec());
    let mut digest = Digest::default();
    digest.copy_from_slice(&hash.as_ref()[..16]);
    digest
}

fn still_pool(report: &PoolReport) -> PoolReport {
    let total = |c: &Capacity| Capacity { total_bytes: c.total_bytes, ..Default::default() };
    PoolReport {
        observed_at: None.into(),
        capacity: report.capacity.as_option().map(total).into(),
        ..report.clone()
    }
}

fn still_vm(report: &VmReport) -> VmReport {
    VmReport { observed_at: None.into(), cpu_used_ratio: None, memory_used_bytes: None, ..report.clone() }
}

/// Leaves out of a whole beat what its digest stands for.
pub(super) fn leave_out(beat: &mut BeatRequest) {
    let now = beat.observed_at.as_option().map_or(UnixMs(0), time::from_proto);
    beat.figures = figures(beat, now).into();
    beat.pools.clear();
    beat.vms.clear();
    beat.engine = None.into();
}

fn figures(beat: &BeatRequest, now: UnixMs) -> Figures {
    let capacity = |pool: &PoolReport| pool.capacity.as_option().cloned().unwrap_or_default();
    // What was never looked at is as old as can be.
    let age = |at: Option<UnixMs>| now.0.saturating_sub(at.map_or(0, |at| at.0));
    // From 0 to 1, so that the cast loses nothing; 10,000 parts are finer than anybody looks.
    let share = |ratio: f64| (ratio.clamp(0.0, 1.0) * 10_000.0).round() as u32 + 1;
    let (pools, vms) = (&beat.pools, &beat.vms);
    Figures {
        pool_age_ms: pools.iter().map(|p| age(p.observed_at.as_option().map(time::from_proto))).collect(),
        pool_used_bytes: pools.iter().map(|p| capacity(p).used_bytes).collect(),
        pool_available_bytes: pools.iter().map(|p| capacity(p).available_bytes).collect(),
        vm_age_ms: vms.iter().map(|v| age(v.observed_at.as_option().map(time::from_proto))).collect(),
        vm_cpu_used: vms.iter().map(|v| v.cpu_used_ratio.map_or(0, share)).collect(),
        vm_memory_used_bytes: vms
            .iter()
            .map(|v| v.memory_used_bytes.map_or(0, |bytes| bytes.saturating_add(1)))
            .collect(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quantix_contract::quantix::pool::v1::PoolHealth;

    fn beat() -> BeatRequest {
        let capacity = Capacity { total_bytes: 9, used_bytes: 4, available_bytes: 5, ..Default::default() };
        let pool = PoolReport {
            pool_id: "p".into(),
            health: PoolHealth::POOL_HEALTH_HEALTHY.into(),
            observed_at: time::to_proto(UnixMs(900)).into(),
            capacity: capacity.into(),
            ..Default::default()
        };
        let vm = VmReport {
            vm_id: "v".into(),
            observed_at: time::to_proto(UnixMs(990)).into(),
            cpu_used_ratio: Some(0.25),
            ..Default::default()
        };
        BeatRequest {
            observed_at: time::to_proto(UnixMs(1000)).into(),
            pools: vec![pool],
            vms: vec![vm],
            vms_known: true,
            ..Default::default()
        }
    }

    #[test]
    fn what_moves_is_not_in_the_digest() {
        let (one, mut two) = (beat(), beat());
        two.sequence = 7;
        two.observed_at = time::to_proto(UnixMs(2000)).into();
        two.pools[0].observed_at = time::to_proto(UnixMs(1999)).into();
        two.pools[0].capacity.get_or_insert_default().used_bytes = 5;
        two.vms[0].cpu_used_ratio = None;
        two.vms[0].memory_used_bytes = Some(3);
        assert_eq!(digest(&one), digest(&two));
    }

    #[test]
    fn what_happens_is() {
        let one = digest(&beat());
        let changes: [fn(&mut BeatRequest); 5] = [
            |b| b.pools[0].health = PoolHealth::POOL_HEALTH_ERROR.into(),
            |b| b.pools[0].capacity.get_or_insert_default().total_bytes = 10,
            |b| b.vms[0].power_reason = "destroyed".into(),
            |b| b.vms.clear(),
            |b| b.vms_known = false,
        ];
        for (at, change) in changes.into_iter().enumerate() {
            let mut other = beat();
            change(&mut other);
            assert_ne!(digest(&other), one, "change {at}");
        }
    }

    #[test]
    fn figures_carry_ages_and_what_is_not_known() {
        let mut slim = beat();
        slim.vms.push(VmReport { vm_id: "w".into(), ..Default::default() });
        leave_out(&mut slim);
        assert!(slim.pools.is_empty() && slim.vms.is_empty());
        let figures = slim.figures.as_option().expect("they are there");
        assert_eq!((figures.pool_age_ms[0], figures.pool_used_bytes[0]), (100, 4));
        assert_eq!((figures.vm_age_ms[0], figures.vm_age_ms[1]), (10, 1000));
        assert_eq!((figures.vm_cpu_used[0], figures.vm_cpu_used[1]), (2501, 0));
        assert_eq!(figures.vm_memory_used_bytes, [0, 0]);
    }
}
