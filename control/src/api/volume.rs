//! Volumes on the wire.

use crate::api::Assembly;
use crate::api::error::{reply, rpc};
use crate::api::{auth, reach};
use crate::bus::Thing;
use crate::services::snapshot::What;
use crate::services::{App, audit, orphan, snapshot, volume, volume_change, volume_flatten};
use connectrpc::{ConnectError, RequestContext, ServiceRequest, ServiceResult};
use quantix_contract::quantix::volume::v1 as wire;
use quantix_contract::quantix::watch::v1::watch_response::Event;
use quantix_contract::twin;
use quantix_model::Fault;
use quantix_model::id::{PoolId, TaskId, VmId, VolumeId};
use quantix_model::right::{Permission, Sight};
use quantix_model::volume::Allocation;
use std::sync::Arc;

struct Api(Arc<App>);

/// Serves volumes.
pub fn mount(assembly: &mut Assembly, app: &Arc<App>) {
    assembly.service(Arc::new(Api(app.clone())));
    let app = app.clone();
    assembly.view("volume", move |thing| {
        let app = app.clone();
        async move {
            let Thing::Volume(id) = thing else { return Ok(None) };
            super::if_there(volume::get(&app, id).await.map(Event::from))
        }
    });
}

type Answer = Result<(wire::Volume, TaskId), Fault>;

fn answer(done: Answer) -> ServiceResult<wire::VolumeTask> {
    if let Ok((volume, _)) = &done {
        audit::about("volume", &volume.id, &volume.name);
    }
    reply(done.map(|(volume, task)| wire::VolumeTask {
        volume: volume.into(),
        task_id: task.to_string(),
        ..Default::default()
    }))
}

impl Api {
    async fn list(
        &self,
        asked: wire::ListVolumesRequest,
        sight: &Sight,
    ) -> Result<wire::ListVolumesResponse, Fault> {
        let order = asked.order.as_option();
        let request = super::page(&asked.filter, asked.page_size, &asked.page_token, order)?;
        let pool = super::optional(&asked.pool_id)?;
        let page = volume::list(&self.0, &request, pool, asked.free, sight).await?;
        Ok(wire::ListVolumesResponse {
            volumes: page.rows,
            next_page_token: page.next_token,
            total: page.total,
            ..Default::default()
        })
    }

    async fn create(&self, user: &str, request: wire::CreateVolumeRequest) -> Answer {
        let wish = volume::Wish {
            pool_id: request.pool_id.parse()?,
            size_bytes: request.size_bytes,
            format: match request.format.to_i32() {
                0 => None,
                _ => Some(twin::read("format", request.format)?),
            },
            image_id: super::optional(&request.image_id)?,
            allocation: twin::read_or("allocation", request.allocation, Allocation::Thin)?,
            linked: request.linked,
        };
        volume::create(&self.0, user, &request.name, &wish).await
    }
}

impl Api {
    async fn snapshot(
        &self,
        context: &RequestContext,
        what: What,
        id: &str,
        name: &str,
    ) -> ServiceResult<wire::VolumeTask> {
        let user = &auth::person(context)?.name;
        answer(async { snapshot::begin(&self.0, user, what, id.parse()?, name).await }.await)
    }
}

impl Api {
    /// The same for all that stands on a pool.
    async fn check_pool(
        &self,
        context: &RequestContext,
        id: Result<PoolId, Fault>,
    ) -> Result<(), ConnectError> {
        let checked =
            async { auth::allow(&self.0, context, Permission::VolumeManage, Thing::Pool(id?)).await };
        checked.await.map_err(|fault| rpc(&fault))
    }

    /// A disk is given to a VM by who may change that VM's disks.
    async fn check_vm(&self, context: &RequestContext, id: Result<VmId, Fault>) -> Result<(), ConnectError> {
        let checked = async { auth::allow(&self.0, context, Permission::VolumeManage, Thing::Vm(id?)).await };
        checked.await.map_err(|fault| rpc(&fault))
    }

    /// Refuses who may not do this to this volume.
    async fn check(
        &self,
        context: &RequestContext,
        permission: Permission,
        id: Result<VolumeId, Fault>,
    ) -> Result<(), ConnectError> {
        let checked = async { auth::allow(&self.0, context, permission, Thing::Volume(id?)).await };
        checked.await.map_err(|fault| rpc(&fault))
    }
}

impl wire::VolumeService for Api {
    async fn list_volumes(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::ListVolumesRequest>,
    ) -> ServiceResult<wire::ListVolumesResponse> {
        let asked = async {
            let sight = auth::sight(&context, Permission::VolumeView)?;
            let mut answer = self.list(request.to_owned_message(), &sight).await?;
            answer.volumes = reach::limit_all(&auth::rights(&context), answer.volumes);
            Ok(answer)
        };
        reply(asked.await)
    }

    async fn get_volume(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::GetVolumeRequest>,
    ) -> ServiceResult<wire::Volume> {
        self.check(&context, Permission::VolumeView, request.id.parse()).await?;
        let volume = async { volume::get(&self.0, request.id.parse()?).await }.await;
        reply(volume.map(|volume| reach::limit(&auth::rights(&context), volume)))
    }

    async fn create_volume(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::CreateVolumeRequest>,
    ) -> ServiceResult<wire::VolumeTask> {
        self.check_pool(&context, request.pool_id.parse()).await?;
        let person = auth::person(&context)?;
        answer(self.create(&person.name, request.to_owned_message()).await)
    }

    async fn delete_volume(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::DeleteVolumeRequest>,
    ) -> ServiceResult<wire::VolumeTask> {
        self.check(&context, Permission::VolumeManage, request.id.parse()).await?;
        let person = auth::person(&context)?;
        let asked = async { volume::delete(&self.0, &person.name, request.id.parse()?).await };
        answer(asked.await)
    }

    async fn clone_volume(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::CloneVolumeRequest>,
    ) -> ServiceResult<wire::VolumeTask> {
        self.check(&context, Permission::VolumeManage, request.id.parse()).await?;
        let user = &auth::person(&context)?.name;
        let asked = async {
            let source = request.id.parse()?;
            volume_change::clone(&self.0, user, source, request.name, request.snapshot, request.linked).await
        };
        answer(asked.await)
    }

    async fn attach_volume(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::AttachVolumeRequest>,
    ) -> ServiceResult<wire::VolumeTask> {
        self.check(&context, Permission::VolumeManage, request.id.parse()).await?;
        self.check_vm(&context, request.vm_id.parse()).await?;
        let user = &auth::person(&context)?.name;
        let asked =
            async { volume_change::attach(&self.0, user, request.id.parse()?, request.vm_id.parse()?).await };
        answer(asked.await)
    }

    async fn detach_volume(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::DetachVolumeRequest>,
    ) -> ServiceResult<wire::VolumeTask> {
        self.check(&context, Permission::VolumeManage, request.id.parse()).await?;
        let user = &auth::person(&context)?.name;
        answer(async { volume_change::detach(&self.0, user, request.id.parse()?).await }.await)
    }

    async fn list_orphans(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::ListOrphansRequest>,
    ) -> ServiceResult<wire::ListOrphansResponse> {
        self.check_pool(&context, request.pool_id.parse()).await?;
        reply(async { orphan::list(&self.0, request.pool_id.parse()?).await }.await)
    }

    async fn adopt_orphan(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::AdoptOrphanRequest>,
    ) -> ServiceResult<wire::Volume> {
        self.check_pool(&context, request.pool_id.parse()).await?;
        let asked = async {
            orphan::adopt(&self.0, request.pool_id.parse()?, request.volume_id.parse()?, request.name).await
        };
        reply(asked.await)
    }

    async fn delete_orphan(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::DeleteOrphanRequest>,
    ) -> ServiceResult<wire::DeleteOrphanResponse> {
        self.check_pool(&context, request.pool_id.parse()).await?;
        let user = &auth::person(&context)?.name;
        let asked = async {
            orphan::delete(&self.0, user, request.pool_id.parse()?, request.volume_id.parse()?).await
        };
        reply(asked.await.map(|()| wire::DeleteOrphanResponse::default()))
    }

    async fn grow_volume(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::GrowVolumeRequest>,
    ) -> ServiceResult<wire::VolumeTask> {
        self.check(&context, Permission::VolumeManage, request.id.parse()).await?;
        let user = &auth::person(&context)?.name;
        let asked =
            async { volume_change::grow(&self.0, user, request.id.parse()?, request.size_bytes).await };
        answer(asked.await)
    }

    async fn flatten_volume(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::FlattenVolumeRequest>,
    ) -> ServiceResult<wire::VolumeTask> {
        self.check(&context, Permission::VolumeManage, request.id.parse()).await?;
        let user = &auth::person(&context)?.name;
        answer(async { volume_flatten::begin(&self.0, user, request.id.parse()?).await }.await)
    }

    async fn list_snapshots(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::ListSnapshotsRequest>,
    ) -> ServiceResult<wire::ListSnapshotsResponse> {
        self.check(&context, Permission::VolumeView, request.volume_id.parse()).await?;
        reply(async { snapshot::list(&self.0, request.volume_id.parse()?).await }.await)
    }

    async fn create_snapshot(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::SnapshotRequest>,
    ) -> ServiceResult<wire::VolumeTask> {
        self.check(&context, Permission::VolumeManage, request.volume_id.parse()).await?;
        self.snapshot(&context, What::Create, request.volume_id, request.name).await
    }

    async fn revert_snapshot(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::SnapshotRequest>,
    ) -> ServiceResult<wire::VolumeTask> {
        self.check(&context, Permission::VolumeManage, request.volume_id.parse()).await?;
        self.snapshot(&context, What::Revert, request.volume_id, request.name).await
    }

    async fn delete_snapshot(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::SnapshotRequest>,
    ) -> ServiceResult<wire::VolumeTask> {
        self.check(&context, Permission::VolumeManage, request.volume_id.parse()).await?;
        self.snapshot(&context, What::Delete, request.volume_id, request.name).await
    }
}
