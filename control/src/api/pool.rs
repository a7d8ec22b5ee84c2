//! Pools on the wire.

use crate::api::Assembly;
use crate::api::error::{reply, rpc};
use crate::api::{auth, reach};
use crate::bus::Thing;
use crate::services::{App, audit, explore, pool, pool_change};
use connectrpc::{ConnectError, RequestContext, ServiceRequest, ServiceResult};
use quantix_contract::quantix::pool::v1 as wire;
use quantix_contract::quantix::watch::v1::watch_response::Event;
use quantix_model::Fault;
use quantix_model::id::{PoolId, TaskId};
use quantix_model::pool::PoolSpec;
use quantix_model::right::{Permission, Sight};
use std::sync::Arc;

struct Api(Arc<App>);

/// Serves pools.
pub fn mount(assembly: &mut Assembly, app: &Arc<App>) {
    assembly.service(Arc::new(Api(app.clone())));
    let app = app.clone();
    assembly.view("pool", move |thing| {
        let app = app.clone();
        async move {
            let Thing::Pool(id) = thing else { return Ok(None) };
            super::if_there(pool::get(&app, id).await.map(Event::from))
        }
    });
}

impl Api {
    async fn list(
        &self,
        asked: wire::ListPoolsRequest,
        sight: &Sight,
    ) -> Result<wire::ListPoolsResponse, Fault> {
        let order = asked.order.as_option();
        let request = super::page(&asked.filter, asked.page_size, &asked.page_token, order)?;
        let page = pool::list(&self.0, &request, super::optional(&asked.host_id)?, sight).await?;
        Ok(wire::ListPoolsResponse {
            pools: page.rows,
            next_page_token: page.next_token,
            total: page.total,
            ..Default::default()
        })
    }

    async fn create(&self, user: &str, request: wire::CreatePoolRequest) -> Answer {
        let spec = request.spec.as_option().ok_or_else(|| {
            Fault::invalid("spec", "It is not said what kind of pool it should be.", "Choose a backend.")
        })?;
        let spec = PoolSpec::try_from(spec)?;
        let hosts = request.host_ids.iter().map(|id| id.parse()).collect::<Result<Vec<_>, _>>()?;
        pool::create(&self.0, user, &request.name, spec, &hosts).await
    }
}

impl Api {
    async fn update(
        &self,
        user: &str,
        request: wire::UpdatePoolRequest,
    ) -> Result<wire::CreatePoolResponse, Fault> {
        let wish = pool_change::Wish {
            id: request.id.parse()?,
            generation: request.generation,
            name: Some(request.name).filter(|name| !name.is_empty()),
            spec: request.spec.as_option().map(PoolSpec::try_from).transpose()?,
        };
        let (pool, task) = pool_change::update(&self.0, user, wish).await?;
        Ok(wire::CreatePoolResponse {
            pool: pool.into(),
            task_id: task.map_or_else(String::new, |task| task.to_string()),
            ..Default::default()
        })
    }
}

type Answer = Result<(wire::Pool, TaskId), Fault>;

fn answer(done: Answer) -> ServiceResult<wire::CreatePoolResponse> {
    if let Ok((pool, _)) = &done {
        audit::about("pool", &pool.id, &pool.name);
    }
    reply(done.map(|(pool, task)| wire::CreatePoolResponse {
        pool: pool.into(),
        task_id: task.to_string(),
        ..Default::default()
    }))
}

impl Api {
    /// Refuses who may not do this to this pool.
    async fn check(
        &self,
        context: &RequestContext,
        permission: Permission,
        id: Result<PoolId, Fault>,
    ) -> Result<(), ConnectError> {
        let checked = async { auth::allow(&self.0, context, permission, Thing::Pool(id?)).await };
        checked.await.map_err(|fault| rpc(&fault))
    }
}

impl wire::PoolService for Api {
    async fn list_pools(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::ListPoolsRequest>,
    ) -> ServiceResult<wire::ListPoolsResponse> {
        let asked = async {
            let sight = auth::sight(&context, Permission::PoolView)?;
            let mut answer = self.list(request.to_owned_message(), &sight).await?;
            answer.pools = reach::limit_all(&auth::rights(&context), answer.pools);
            Ok(answer)
        };
        reply(asked.await)
    }

    async fn get_pool(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::GetPoolRequest>,
    ) -> ServiceResult<wire::Pool> {
        self.check(&context, Permission::PoolView, request.id.parse()).await?;
        let pool = async { pool::get(&self.0, request.id.parse()?).await }.await;
        reply(pool.map(|pool| reach::limit(&auth::rights(&context), pool)))
    }

    async fn create_pool(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::CreatePoolRequest>,
    ) -> ServiceResult<wire::CreatePoolResponse> {
        let person = auth::person(&context)?;
        answer(self.create(&person.name, request.to_owned_message()).await)
    }

    async fn assign_pool(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::AssignPoolRequest>,
    ) -> ServiceResult<wire::CreatePoolResponse> {
        self.check(&context, Permission::PoolManage, request.pool_id.parse()).await?;
        let user = &auth::person(&context)?.name;
        let asked =
            async { pool::assign(&self.0, user, request.pool_id.parse()?, request.host_id.parse()?).await };
        answer(asked.await)
    }

    async fn unassign_pool(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::UnassignPoolRequest>,
    ) -> ServiceResult<wire::CreatePoolResponse> {
        self.check(&context, Permission::PoolManage, request.pool_id.parse()).await?;
        let user = &auth::person(&context)?.name;
        let asked = async {
            let (pool, host) = (request.pool_id.parse()?, request.host_id.parse()?);
            pool::unassign(&self.0, user, pool, host, request.force).await
        };
        answer(asked.await)
    }

    async fn update_pool(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::UpdatePoolRequest>,
    ) -> ServiceResult<wire::CreatePoolResponse> {
        self.check(&context, Permission::PoolManage, request.id.parse()).await?;
        let person = auth::person(&context)?;
        reply(self.update(&person.name, request.to_owned_message()).await)
    }

    async fn delete_pool(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::DeletePoolRequest>,
    ) -> ServiceResult<wire::CreatePoolResponse> {
        self.check(&context, Permission::PoolManage, request.id.parse()).await?;
        let user = &auth::person(&context)?.name;
        let asked = async { pool::delete(&self.0, user, request.id.parse()?, request.force).await };
        answer(asked.await)
    }

    async fn retry_pool(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::RetryPoolRequest>,
    ) -> ServiceResult<wire::RetryPoolResponse> {
        self.check(&context, Permission::PoolManage, request.pool_id.parse()).await?;
        let asked =
            async { pool::retry(&self.0, request.pool_id.parse()?, super::optional(request.host_id)?).await };
        reply(asked.await.map(|()| wire::RetryPoolResponse::default()))
    }

    async fn discover_targets(
        &self,
        _context: RequestContext,
        request: ServiceRequest<'_, wire::DiscoverTargetsRequest>,
    ) -> ServiceResult<wire::DiscoverTargetsResponse> {
        reply(explore::targets(&self.0, request.to_owned_message()).await)
    }

    async fn list_exports(
        &self,
        _context: RequestContext,
        request: ServiceRequest<'_, wire::ListExportsRequest>,
    ) -> ServiceResult<wire::ListExportsResponse> {
        reply(explore::exports(&self.0, request.to_owned_message()).await)
    }

    async fn list_ceph_pools(
        &self,
        _context: RequestContext,
        request: ServiceRequest<'_, wire::ListCephPoolsRequest>,
    ) -> ServiceResult<wire::ListCephPoolsResponse> {
        reply(explore::ceph_pools(&self.0, request.to_owned_message()).await)
    }

    async fn list_files(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::ListFilesRequest>,
    ) -> ServiceResult<wire::ListFilesResponse> {
        self.check(&context, Permission::FileRead, request.pool_id.parse()).await?;
        let mut answer = pool::list_files(&self.0, request.to_owned_message()).await;
        if let Ok(answer) = &mut answer {
            let rights = auth::rights(&context);
            answer.files.iter_mut().for_each(|file| reach::limit_file(&rights, request.pool_id, file));
        }
        reply(answer)
    }
}
