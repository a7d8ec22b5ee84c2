//! RPC about the host itself.

use crate::daemon::Daemon;
use quantix_contract::quantix::node::v1 as wire;
use quantix_model::Fault;

pub async fn leave(daemon: &Daemon, _: wire::LeaveRequest) -> Result<wire::LeaveResponse, Fault> {
    daemon.leave().await?;
    Ok(wire::LeaveResponse::default())
}
