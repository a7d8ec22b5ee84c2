//! RPC about what pools could be made of. A worker process looks, one at a time: what it does on the host (signing in,
//! asking a dead server) must neither hang the daemon nor meet another of its kind.

use crate::clock;
use crate::daemon::Daemon;
use quantix_contract::pool::chap_from_proto;
use quantix_contract::quantix::pool::v1 as wire;
use quantix_contract::time;
use quantix_model::{Fault, Secret};
use quantix_storage::explore::{Found, Lun, Question};
use std::time::Duration;

/// A portal is asked, and each answer of it takes seconds.
const LIST: Duration = Duration::from_secs(20);
/// Signing in, scanning, looking at each disk, signing out.
const SIGN_IN: Duration = Duration::from_secs(70);

fn other(found: &Found) -> Fault {
    Fault::internal(format!("another question was answered: {found:?}"))
}

pub async fn targets(
    daemon: &Daemon,
    request: wire::DiscoverTargetsRequest,
) -> Result<wire::DiscoverTargetsResponse, Fault> {
    let patience = if request.target.is_empty() { LIST } else { SIGN_IN };
    let question = Question::Targets {
        chap: request.chap.as_option().map(chap_from_proto),
        mutual_chap: request.mutual_chap.as_option().map(chap_from_proto),
        portal: request.portal,
        target: request.target,
    };
    let found = match daemon.pools.explore(&question, patience).await? {
        Found::Targets(found) => found,
        found => return Err(other(&found)),
    };
    let lun = |lun: Lun| wire::Lun {
        number: lun.number,
        size_bytes: lun.size_bytes,
        wwid: lun.wwid,
        product: lun.product,
        content: lun.content,
        ..Default::default()
    };
    let targets = found.into_iter().map(|target| wire::Target {
        name: target.name,
        portals: target.portals,
        luns: target.luns.into_iter().map(lun).collect(),
        ..Default::default()
    });
    Ok(wire::DiscoverTargetsResponse {
        targets: targets.collect(),
        host: daemon.name(),
        observed_at: time::to_proto(clock::now()).into(),
        ..Default::default()
    })
}

pub async fn exports(
    daemon: &Daemon,
    request: wire::ListExportsRequest,
) -> Result<wire::ListExportsResponse, Fault> {
    let found = match daemon.pools.explore(&Question::Exports { server: request.server }, LIST).await? {
        Found::Exports(found) => found,
        found => return Err(other(&found)),
    };
    let exports = found.exports.into_iter();
    Ok(wire::ListExportsResponse {
        exports: exports
            .map(|e| wire::Export { path: e.path, clients: e.clients, ..Default::default() })
            .collect(),
        note: found.note,
        host: daemon.name(),
        observed_at: time::to_proto(clock::now()).into(),
        ..Default::default()
    })
}

pub async fn ceph_pools(
    daemon: &Daemon,
    request: wire::ListCephPoolsRequest,
) -> Result<wire::ListCephPoolsResponse, Fault> {
    let question = Question::CephPools {
        monitors: request.monitors,
        user: request.user,
        key: Secret::new(&request.key),
    };
    let found = match daemon.pools.explore(&question, LIST).await? {
        Found::CephPools(found) => found,
        found => return Err(other(&found)),
    };
    let pools = found.into_iter().map(|pool| wire::CephPoolSeen {
        name: pool.name,
        stored_bytes: pool.stored_bytes,
        available_bytes: pool.available_bytes,
        ..Default::default()
    });
    Ok(wire::ListCephPoolsResponse {
        pools: pools.collect(),
        host: daemon.name(),
        observed_at: time::to_proto(clock::now()).into(),
        ..Default::default()
    })
}
