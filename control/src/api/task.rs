//! Long work on the wire.

use crate::api::Assembly;
use crate::api::error::reply;
use crate::bus::Thing;
use crate::core::Core;
use connectrpc::{RequestContext, ServiceRequest, ServiceResult};
use quantix_contract::quantix::task::v1 as wire;
use quantix_contract::quantix::watch::v1::watch_response::Event;
use quantix_contract::time::to_proto;
use quantix_contract::twin;
use quantix_model::fault::{Fault, FaultCode};
use quantix_model::id::TaskId;
use quantix_store::TaskRecord;
use std::sync::Arc;

struct Api(Arc<Core>);

/// Serves tasks.
pub fn mount(assembly: &mut Assembly, core: &Arc<Core>) {
    assembly.service(Arc::new(Api(core.clone())));
    let core = core.clone();
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

impl Api {
    async fn list(&self, asked: wire::ListTasksRequest) -> Result<wire::ListTasksResponse, Fault> {
        let order = asked.order.as_option();
        let request = super::page(&asked.filter, asked.page_size, &asked.page_token, order)?;
        let page = self.0.store.task_page(&request, &asked.object_id).await?;
        // What lives is newer in memory than in the store.
        let newest = |task: TaskRecord| self.0.tasks.live(task.id).unwrap_or(task);
        Ok(wire::ListTasksResponse {
            tasks: page.rows.into_iter().map(|task| view(&newest(task))).collect(),
            next_page_token: page.next_token,
            total: page.total,
            ..Default::default()
        })
    }

    async fn get(&self, id: &str) -> Result<wire::Task, Fault> {
        Ok(view(&self.0.tasks.get(id.parse::<TaskId>()?).await?))
    }

    async fn cancel(&self, id: &str) -> Result<wire::Task, Fault> {
        Ok(view(&self.0.tasks.cancel(id.parse::<TaskId>()?).await?))
    }
}

impl wire::TaskService for Api {
    async fn list_tasks(
        &self,
        _context: RequestContext,
        request: ServiceRequest<'_, wire::ListTasksRequest>,
    ) -> ServiceResult<wire::ListTasksResponse> {
        reply(self.list(request.to_owned_message()).await)
    }

    async fn get_task(
        &self,
        _context: RequestContext,
        request: ServiceRequest<'_, wire::GetTaskRequest>,
    ) -> ServiceResult<wire::Task> {
        reply(self.get(request.id).await)
    }

    async fn cancel_task(
        &self,
        _context: RequestContext,
        request: ServiceRequest<'_, wire::CancelTaskRequest>,
    ) -> ServiceResult<wire::Task> {
        reply(self.cancel(request.id).await)
    }
}
