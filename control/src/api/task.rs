//! Long work on the wire.

use crate::api::auth;
use crate::api::error::reply;
use crate::api::{Assembly, Person};
use crate::bus::Thing;
use crate::services::{App, audit};
use connectrpc::{RequestContext, ServiceRequest, ServiceResult};
use quantix_contract::quantix::task::v1 as wire;
use quantix_contract::quantix::watch::v1::watch_response::Event;
use quantix_contract::time::to_proto;
use quantix_contract::twin;
use quantix_model::fault::{Fault, FaultCode};
use quantix_model::id::TaskId;
use quantix_model::right::{Permission, refused};
use quantix_store::TaskRecord;
use std::sync::Arc;

struct Api(Arc<App>);

/// Serves tasks.
pub fn mount(assembly: &mut Assembly, app: &Arc<App>) {
    assembly.service(Arc::new(Api(app.clone())));
    let core = app.core.clone();
    assembly.view("task", move |thing| {
        let core = core.clone();
        async move {
            let Thing::Task(id) = thing else { return Ok(None) };
            match core.tasks.get(id).await {
                Ok(task) => Ok(Some(Event::from(view(&task)))),
                Err(fault) if fault.code == FaultCode::NotFound => Ok(None),
                Err(fault) => Err(fault),
            }
        }
    });
}

/// A task as people see it.
pub fn view(task: &TaskRecord) -> wire::Task {
    wire::Task {
        id: task.id.to_string(),
        kind: task.kind.clone(),
        title: task.title.clone(),
        state: twin::write(task.state),
        fault: task.fault.as_ref().map(Into::into).into(),
        object_kind: task.object_kind.clone(),
        object_id: task.object_id.clone(),
        object_name: task.object_name.clone(),
        host: task.host.clone(),
        user_name: task.user_name.clone(),
        step: task.step.clone(),
        progress_done: task.progress_done,
        progress_total: task.progress_total,
        progress_unit: task.progress_unit.clone(),
        created_at: to_proto(task.created_at).into(),
        started_at: task.started_at.map(to_proto).into(),
        ended_at: task.ended_at.map(to_proto).into(),
        deadline_at: to_proto(task.deadline_at).into(),
        cancellable: task.cancellable && !task.cancel_requested && !task.state.is_final(),
        ..Default::default()
    }
}

/// What one may see of a thing is what one may see of the work on it.
pub(super) fn seen_with(thing: Option<Thing>) -> Permission {
    match thing {
        Some(Thing::Host(_)) => Permission::HostView,
        Some(Thing::Pool(_)) => Permission::PoolView,
        Some(Thing::Image(_)) => Permission::ImageView,
        Some(Thing::Volume(_)) => Permission::VolumeView,
        Some(Thing::Vm(_)) => Permission::VmView,
        Some(Thing::Certificate(_)) => Permission::CertificateView,
        Some(Thing::Task(_) | Thing::Event(_) | Thing::Alert(_)) | None => Permission::SystemView,
    }
}

/// Whether a caller may see a task: their own, those of what they see, or all.
pub async fn may_see(app: &App, person: &Person, task: &TaskRecord) -> Result<bool, Fault> {
    if person.rights.everywhere().has(Permission::SystemView) || task.user_name == person.name {
        return Ok(true);
    }
    let thing = Thing::parse(&task.object_kind, &task.object_id);
    let Some(thing) = thing else { return Ok(false) };
    auth::may(app, &person.rights, seen_with(Some(thing)), thing).await
}

/// Whether a caller may see an object that is named by its id alone: whichever it is.
pub(super) async fn sees_object(app: &App, person: &Person, id: &str) -> Result<bool, Fault> {
    for kind in ["vm", "volume", "pool", "image", "host"] {
        if let Some(thing) = Thing::parse(kind, id)
            && auth::may(app, &person.rights, seen_with(Some(thing)), thing).await?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Api {
    async fn list(
        &self,
        person: &Person,
        asked: wire::ListTasksRequest,
    ) -> Result<wire::ListTasksResponse, Fault> {
        let (core, order) = (&self.0.core, asked.order.as_option());
        let request = super::page(&asked.filter, asked.page_size, &asked.page_token, order)?;
        let sees_all = person.rights.everywhere().has(Permission::SystemView);
        let page = if sees_all || sees_object(&self.0, person, &asked.object_id).await? {
            core.store.task_page(&request, &asked.object_id).await?
        } else {
            core.store.task_page_of_user(&request, &person.name).await?
        };
        // What lives is newer in memory than in the store.
        let newest = |task: TaskRecord| core.tasks.live(task.id).unwrap_or(task);
        Ok(wire::ListTasksResponse {
            tasks: page.rows.into_iter().map(|task| view(&newest(task))).collect(),
            next_page_token: page.next_token,
            total: page.total,
            ..Default::default()
        })
    }

    async fn get(&self, person: &Person, id: &str) -> Result<wire::Task, Fault> {
        let task = self.0.core.tasks.get(id.parse::<TaskId>()?).await?;
        match may_see(&self.0, person, &task).await? {
            true => Ok(view(&task)),
            false => Err(refused(Permission::SystemView)),
        }
    }

    async fn cancel(&self, person: &Person, id: &str) -> Result<wire::Task, Fault> {
        let id = id.parse::<TaskId>()?;
        let task = self.0.core.tasks.get(id).await?;
        audit::about("task", id, &task.title);
        if task.user_name != person.name && !person.rights.everywhere().has(Permission::TaskCancel) {
            return Err(refused(Permission::TaskCancel));
        }
        Ok(view(&self.0.core.tasks.cancel(id).await?))
    }
}

impl wire::TaskService for Api {
    async fn list_tasks(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::ListTasksRequest>,
    ) -> ServiceResult<wire::ListTasksResponse> {
        reply(self.list(auth::person(&context)?, request.to_owned_message()).await)
    }

    async fn get_task(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::GetTaskRequest>,
    ) -> ServiceResult<wire::Task> {
        reply(self.get(auth::person(&context)?, request.id).await)
    }

    async fn cancel_task(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::CancelTaskRequest>,
    ) -> ServiceResult<wire::Task> {
        reply(self.cancel(auth::person(&context)?, request.id).await)
    }
}
