//! NodeService: what the vDC asks of this host. Each method converts, hands over, and converts back; the work is in
//! the modules named like the noun.

use crate::daemon::Daemon;
use crate::server::Caller;
use connectrpc::interceptor::{
    Next, NextStream, PayloadStream, StreamRequest, StreamResponse, UnaryRequest, UnaryResponse,
};
use connectrpc::{ConnectError, RequestContext, Response, ServiceRequest, ServiceResult, ServiceStream};
use futures::StreamExt as _;
use quantix_contract::fault::to_connect;
use quantix_contract::quantix::file::v1 as file_wire;
use quantix_contract::quantix::host::v1::ListDevicesResponse;
use quantix_contract::quantix::log::v1 as log_wire;
use quantix_contract::quantix::node::v1 as wire;
use quantix_contract::quantix::pool::v1 as pool_wire;
use quantix_contract::quantix::pool::v1::ListFilesResponse;
use quantix_model::Fault;
use std::sync::Arc;

/// Lets nobody but the vDC reach any method, whatever is added to the service later.
pub struct Gate {
    pub daemon: Arc<Daemon>,
}

#[connectrpc::async_trait]
impl connectrpc::Interceptor for Gate {
    async fn intercept_unary(
        &self,
        req: UnaryRequest,
        next: Next<'_>,
    ) -> Result<UnaryResponse, ConnectError> {
        self.check(&req.ctx)?;
        next.run(req).await
    }

    async fn intercept_streaming(
        &self,
        req: StreamRequest,
        inbound: PayloadStream,
        next: NextStream<'_>,
    ) -> Result<StreamResponse, ConnectError> {
        self.check(&req.ctx)?;
        next.run(req, inbound).await
    }
}

impl Gate {
    fn check(&self, ctx: &RequestContext) -> Result<(), ConnectError> {
        self.daemon.gate(ctx.extensions().get::<Caller>()).map_err(|fault| to_connect(&fault))
    }
}

/// The service.
pub struct Service {
    pub daemon: Arc<Daemon>,
}

impl Service {
    fn end<T>(&self, call: &str, result: Result<T, Fault>) -> ServiceResult<T> {
        match result {
            Ok(answer) => Response::ok(answer),
            Err(fault) => Err(refusal(&self.daemon, call, fault)),
        }
    }

    /// Ends a call that tells its progress.
    fn tell(
        &self,
        call: &'static str,
        told: Result<super::file::Told, Fault>,
    ) -> ServiceResult<ServiceStream<wire::Progress>> {
        let daemon = Arc::clone(&self.daemon);
        let told = told.map_err(|fault| refusal(&daemon, call, fault))?;
        Response::stream_ok(told.map(move |said| said.map_err(|fault| refusal(&daemon, call, fault))))
    }
}

/// The fault names this host and is logged once, here.
fn refusal(daemon: &Daemon, call: &str, fault: Fault) -> ConnectError {
    let fault = if fault.host.is_empty() { fault.on_host(daemon.name()) } else { fault };
    tracing::info!(call, %fault, "refused");
    to_connect(&fault)
}

macro_rules! calls {
    (
        one answer { $($name:ident($request:ty) -> $response:ty = $module:ident::$function:ident;)* }
        progress { $($long:ident($wish:ty) = $place:ident::$work:ident;)* }
    ) => {
        #[allow(refining_impl_trait)]
        impl wire::NodeService for Service {$(
            async fn $long(
                &self,
                _: RequestContext,
                request: ServiceRequest<'_, $wish>,
            ) -> ServiceResult<ServiceStream<wire::Progress>> {
                let told = super::$place::$work(&self.daemon, request.to_owned_message());
                self.tell(stringify!($long), told)
            }
        )*$(
            async fn $name(
                &self,
                _: RequestContext,
                request: ServiceRequest<'_, $request>,
            ) -> ServiceResult<$response> {
                let result = super::$module::$function(&self.daemon, request.to_owned_message()).await;
                self.end(stringify!($name), result)
            }
        )*}
    };
}

calls! {
    one answer {
        apply_pool(wire::PoolIntent) -> wire::PoolReport = pool::apply;
        release_pool(wire::ReleasePoolRequest) -> wire::ReleasePoolResponse = pool::release;
        retry_pool(wire::RetryPoolRequest) -> wire::PoolReport = pool::retry;
        discover_targets(pool_wire::DiscoverTargetsRequest) -> pool_wire::DiscoverTargetsResponse = explore::targets;
        list_exports(pool_wire::ListExportsRequest) -> pool_wire::ListExportsResponse = explore::exports;
        list_ceph_pools(pool_wire::ListCephPoolsRequest) -> pool_wire::ListCephPoolsResponse = explore::ceph_pools;
        list_files(wire::ListFilesRequest) -> ListFilesResponse = pool::list_files;
        get_file(file_wire::GetFileRequest) -> file_wire::FileDetails = file::get;
        make_folder(file_wire::MakeFolderRequest) -> file_wire::FileDetails = file::make_folder;
        move_file(file_wire::MoveFileRequest) -> file_wire::FileDetails = file::rename;
        finish_file(wire::FinishFileRequest) -> file_wire::FileDetails = file::finish;
        create_volume(wire::CreateVolumeRequest) -> wire::VolumeReport = volume::create;
        delete_volume(wire::DeleteVolumeRequest) -> wire::DeleteVolumeResponse = volume::delete;
        list_volumes(wire::ListVolumesRequest) -> wire::ListVolumesResponse = volume::list;
        grow_volume(wire::GrowVolumeRequest) -> wire::VolumeReport = volume::grow;
        list_snapshots(wire::SnapshotRequest) -> wire::ListSnapshotsResponse = snapshot::list;
        create_snapshot(wire::SnapshotRequest) -> wire::SnapshotReport = snapshot::create;
        revert_snapshot(wire::SnapshotRequest) -> wire::SnapshotReport = snapshot::revert;
        delete_snapshot(wire::SnapshotRequest) -> wire::DeleteSnapshotResponse = snapshot::delete;
        open_upload(wire::OpenUploadRequest) -> wire::UploadReport = upload::open;
        finish_upload(wire::FinishUploadRequest) -> wire::ImageReport = upload::finish;
        delete_image(wire::DeleteImageRequest) -> wire::DeleteImageResponse = upload::delete;
        apply_vm(wire::VmIntent) -> wire::VmReport = vm::apply;
        power_vm(wire::PowerVmRequest) -> wire::VmReport = vm::power;
        delete_vm(wire::DeleteVmRequest) -> wire::DeleteVmResponse = vm::delete;
        list_domains(wire::ListDomainsRequest) -> wire::ListDomainsResponse = vm::list;
        list_devices(wire::ListDevicesRequest) -> ListDevicesResponse = device::list;
        initialise_device(wire::InitialiseDeviceRequest) -> wire::InitialiseDeviceResponse = device::initialise;
        list_logs(log_wire::ListLogsRequest) -> log_wire::ListLogsResponse = log::list;
        leave(wire::LeaveRequest) -> wire::LeaveResponse = host::leave;
    }
    progress {
        copy_file(file_wire::CopyFileRequest) = file::copy;
        delete_file(file_wire::DeleteFileRequest) = file::delete;
        flatten_volume(wire::FlattenVolumeRequest) = volume::flatten;
    }
}
