//! Roles and grants on the wire.

use crate::api::Assembly;
use crate::api::auth;
use crate::api::error::reply;
use crate::services::{App, role};
use connectrpc::{RequestContext, ServiceRequest, ServiceResult};
use quantix_contract::quantix::role::v1 as wire;
use quantix_model::Fault;
use quantix_model::right::{Permission, Scope};
use std::sync::Arc;

struct Api(Arc<App>);

/// Serves roles and grants.
pub fn mount(assembly: &mut Assembly, app: &Arc<App>) {
    assembly.service(Arc::new(Api(app.clone())));
}

/// A scope as asked for; everything when none is named.
pub(super) fn scope(asked: Option<&wire::Scope>) -> Result<Scope, Fault> {
    asked.map_or(Ok(Scope::Everything), |scope| Scope::parse(&scope.kind, &scope.id))
}

fn grants(done: Result<Vec<wire::GrantView>, Fault>) -> ServiceResult<wire::ListGrantsResponse> {
    reply(done.map(|grants| wire::ListGrantsResponse { grants, ..Default::default() }))
}

impl wire::RoleService for Api {
    async fn list_roles(
        &self,
        _context: RequestContext,
        _request: ServiceRequest<'_, wire::ListRolesRequest>,
    ) -> ServiceResult<wire::ListRolesResponse> {
        let permission = |p: &Permission| wire::Permission {
            word: p.as_str().to_owned(),
            text: p.text().to_owned(),
            ..Default::default()
        };
        let permissions = Permission::ALL.iter().map(permission).collect();
        let roles = role::list(&self.0).await;
        reply(roles.map(|roles| wire::ListRolesResponse { roles, permissions, ..Default::default() }))
    }

    async fn create_role(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::CreateRoleRequest>,
    ) -> ServiceResult<wire::Role> {
        let (person, asked) = (auth::person(&context)?, request.to_owned_message());
        let work = async {
            let permissions = role::read(&asked.permissions)?;
            let wish = role::Wish { name: asked.name, description: asked.description, permissions };
            role::create(&self.0, person, wish).await
        };
        reply(work.await)
    }

    async fn update_role(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::UpdateRoleRequest>,
    ) -> ServiceResult<wire::Role> {
        let (person, asked) = (auth::person(&context)?, request.to_owned_message());
        let work = async {
            let permissions = role::read(&asked.permissions)?;
            let wish = role::Wish { name: asked.name, description: asked.description, permissions };
            role::update(&self.0, person, &asked.id, wish).await
        };
        reply(work.await)
    }

    async fn delete_role(
        &self,
        _context: RequestContext,
        request: ServiceRequest<'_, wire::DeleteRoleRequest>,
    ) -> ServiceResult<wire::DeleteRoleResponse> {
        reply(role::delete(&self.0, request.id).await.map(|()| wire::DeleteRoleResponse::default()))
    }

    async fn list_grants(
        &self,
        _context: RequestContext,
        request: ServiceRequest<'_, wire::ListGrantsRequest>,
    ) -> ServiceResult<wire::ListGrantsResponse> {
        grants(async { role::grants(&self.0, super::optional(request.user_id)?).await }.await)
    }

    async fn grant(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::GrantRequest>,
    ) -> ServiceResult<wire::ListGrantsResponse> {
        let (person, asked) = (auth::person(&context)?, request.to_owned_message());
        let work = async {
            let scope = scope(asked.scope.as_option())?;
            role::grant(&self.0, person, asked.user_id.parse()?, &asked.role, scope).await
        };
        grants(work.await)
    }

    async fn revoke(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::RevokeRequest>,
    ) -> ServiceResult<wire::ListGrantsResponse> {
        let (person, asked) = (auth::person(&context)?, request.to_owned_message());
        let work = async {
            let scope = scope(asked.scope.as_option())?;
            role::revoke(&self.0, person, asked.user_id.parse()?, &asked.role, scope).await
        };
        grants(work.await)
    }
}
