//! What pools could be made of, as a host finds it. Nothing is kept here, least of all what the host was given to sign
//! in with: a question goes through, and its answer comes back with the host's name and time.

use crate::services::{App, lines};
use quantix_client::HostClient;
use quantix_contract::quantix::pool::v1 as wire;
use quantix_model::Fault;

async fn line(app: &App, host_id: &str) -> Result<HostClient, Fault> {
    if host_id.is_empty() {
        return Err(Fault::invalid("host_id", "It is not said which host should look.", "Choose a host."));
    }
    lines::to_host(app, host_id.parse()?).await
}

/// What an iSCSI portal offers a host.
pub async fn targets(
    app: &App,
    request: wire::DiscoverTargetsRequest,
) -> Result<wire::DiscoverTargetsResponse, Fault> {
    line(app, &request.host_id).await?.discover_targets(request).await
}

/// What an NFS server offers a host.
pub async fn exports(
    app: &App,
    request: wire::ListExportsRequest,
) -> Result<wire::ListExportsResponse, Fault> {
    line(app, &request.host_id).await?.list_exports(request).await
}

/// The pools of a Ceph cluster, as a host sees them.
pub async fn ceph_pools(
    app: &App,
    request: wire::ListCephPoolsRequest,
) -> Result<wire::ListCephPoolsResponse, Fault> {
    line(app, &request.host_id).await?.list_ceph_pools(request).await
}
