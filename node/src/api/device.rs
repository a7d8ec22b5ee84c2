//! RPC about this host's disks.

use crate::daemon::Daemon;
use quantix_contract::quantix::host::v1 as host;
use quantix_contract::quantix::node::v1 as wire;
use quantix_contract::time;
use quantix_model::Fault;
use quantix_model::id::PoolId;
use quantix_model::pool::PoolSpec;
use quantix_storage::device::Wish;

/// Longest name of a device that we are asked for.
const NAME_BYTES_MAX: usize = 256;

pub async fn list(daemon: &Daemon, _: wire::ListDevicesRequest) -> Result<host::ListDevicesResponse, Fault> {
    let (devices, at) = daemon.devices.list().await?;
    Ok(host::ListDevicesResponse {
        devices: devices.iter().map(Into::into).collect(),
        observed_at: time::to_proto(at).into(),
        host: daemon.name(),
        ..Default::default()
    })
}

pub async fn initialise(
    daemon: &Daemon,
    request: wire::InitialiseDeviceRequest,
) -> Result<wire::InitialiseDeviceResponse, Fault> {
    let pool: PoolId = request.pool_id.parse()?;
    if !request.device.starts_with("/dev/") || request.device.len() > NAME_BYTES_MAX {
        let message = format!("{:?} is not a disk.", request.device);
        return Err(Fault::invalid("device", message, "Give its path as listed, for example /dev/sdb."));
    }
    let wish = Wish {
        pool,
        device: request.device,
        fingerprint: request.fingerprint,
        erase: request.erase,
        begun: false,
    };
    daemon.devices.initialise(wish).await?;
    let PoolSpec::Local { path, file_system_uuid } = PoolSpec::disk(pool) else {
        return Err(Fault::internal("a disk's pool is a local pool"));
    };
    Ok(wire::InitialiseDeviceResponse { file_system_uuid, mount_path: path, ..Default::default() })
}
