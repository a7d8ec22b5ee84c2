//! NodeService: what the vDC asks of this host. Each method converts, hands over, and converts back; the work is in
//! the modules named like the noun.

use crate::daemon::Daemon;
use crate::server::Caller;
use connectrpc::interceptor::{
    Next, NextStream, PayloadStream, StreamRequest, StreamResponse, UnaryRequest, UnaryResponse,
};
use connectrpc::{ConnectError, RequestContext, Response, ServiceRequest, ServiceResult};
use quantix_contract::fault::to_connect;
use quantix_contract::quantix::node::v1 as wire;
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
    /// Ends a call: the fault names this host and is logged once, here.
    fn end<T>(&self, call: &str, result: Result<T, Fault>) -> ServiceResult<T> {
        match result {
            Ok(answer) => Response::ok(answer),
            Err(fault) => {
                let fault = if fault.host.is_empty() { fault.on_host(self.daemon.name()) } else { fault };
                tracing::info!(call, %fault, "refused");
                Err(to_connect(&fault))
            }
        }
    }
}

macro_rules! calls {
    ($($name:ident($request:ty) -> $response:ty = $module:ident::$function:ident;)*) => {
        #[allow(refining_impl_trait)]
        impl wire::NodeService for Service {$(
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
    apply_pool(wire::PoolIntent) -> wire::PoolReport = pool::apply;
    release_pool(wire::ReleasePoolRequest) -> wire::ReleasePoolResponse = pool::release;
    list_files(wire::ListFilesRequest) -> ListFilesResponse = pool::list_files;
    create_volume(wire::CreateVolumeRequest) -> wire::VolumeReport = volume::create;
    delete_volume(wire::DeleteVolumeRequest) -> wire::DeleteVolumeResponse = volume::delete;
    list_volumes(wire::ListVolumesRequest) -> wire::ListVolumesResponse = volume::list;
    open_upload(wire::OpenUploadRequest) -> wire::UploadReport = upload::open;
    finish_upload(wire::FinishUploadRequest) -> wire::ImageReport = upload::finish;
    delete_image(wire::DeleteImageRequest) -> wire::DeleteImageResponse = upload::delete;
    apply_vm(wire::VmIntent) -> wire::VmReport = vm::apply;
    power_vm(wire::PowerVmRequest) -> wire::VmReport = vm::power;
    delete_vm(wire::DeleteVmRequest) -> wire::DeleteVmResponse = vm::delete;
    leave(wire::LeaveRequest) -> wire::LeaveResponse = host::leave;
}
