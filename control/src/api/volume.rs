//! Volumes on the wire.

use crate::api::Assembly;
use crate::api::auth;
use crate::api::error::reply;
use crate::bus::Thing;
use crate::services::{App, volume};
use connectrpc::{RequestContext, ServiceRequest, ServiceResult};
use quantix_contract::quantix::volume::v1 as wire;
use quantix_contract::quantix::watch::v1::watch_response::Event;
use quantix_contract::twin;
use quantix_model::Fault;
use quantix_model::id::TaskId;
use quantix_model::volume::VolumeFormat;
use quantix_store::PageRequest;
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
    reply(done.map(|(volume, task)| wire::VolumeTask {
        volume: volume.into(),
        task_id: task.to_string(),
        ..Default::default()
    }))
}

impl Api {
    async fn list(&self, request: PageRequest, pool: &str) -> Result<wire::ListVolumesResponse, Fault> {
        let page = volume::list(&self.0, &request, super::optional(pool)?).await?;
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
            format: twin::read_or("format", request.format, VolumeFormat::Qcow2)?,
            image_id: super::optional(&request.image_id)?,
        };
        volume::create(&self.0, user, &request.name, &wish).await
    }
}

impl wire::VolumeService for Api {
    async fn list_volumes(
        &self,
        _context: RequestContext,
        request: ServiceRequest<'_, wire::ListVolumesRequest>,
    ) -> ServiceResult<wire::ListVolumesResponse> {
        let page = super::page(request.filter, request.page_size, request.page_token);
        reply(self.list(page, request.pool_id).await)
    }

    async fn get_volume(
        &self,
        _context: RequestContext,
        request: ServiceRequest<'_, wire::GetVolumeRequest>,
    ) -> ServiceResult<wire::Volume> {
        reply(async { volume::get(&self.0, request.id.parse()?).await }.await)
    }

    async fn create_volume(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::CreateVolumeRequest>,
    ) -> ServiceResult<wire::VolumeTask> {
        let person = auth::person(&context)?;
        answer(self.create(&person.name, request.to_owned_message()).await)
    }

    async fn delete_volume(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::DeleteVolumeRequest>,
    ) -> ServiceResult<wire::VolumeTask> {
        let person = auth::person(&context)?;
        let asked = async { volume::delete(&self.0, &person.name, request.id.parse()?).await };
        answer(asked.await)
    }
}
