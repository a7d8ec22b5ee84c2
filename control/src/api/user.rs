//! People on the wire.

use crate::api::error::reply;
use crate::api::{Assembly, Person, auth, page, reach};
use crate::services::session::Sessions;
use crate::services::user;
use connectrpc::{RequestContext, ServiceRequest, ServiceResult};
use quantix_contract::quantix::session::v1::ListSessionsResponse;
use quantix_contract::quantix::user::v1 as wire;
use quantix_model::Fault;
use quantix_model::id::UserId;
use std::sync::Arc;

struct Api(Arc<Sessions>);

/// Serves people.
pub fn mount(assembly: &mut Assembly, sessions: Arc<Sessions>) {
    assembly.service(Arc::new(Api(sessions)));
}

impl Api {
    async fn list(
        &self,
        caller: &Person,
        asked: wire::ListUsersRequest,
    ) -> Result<wire::ListUsersResponse, Fault> {
        let order = asked.order.as_option();
        let request = page(&asked.filter, asked.page_size, &asked.page_token, order)?;
        let page = user::list(&self.0, caller, &request).await?;
        Ok(wire::ListUsersResponse {
            users: reach::limit_all(&caller.rights, page.rows),
            next_page_token: page.next_token,
            total: page.total,
            ..Default::default()
        })
    }

    async fn revoke(&self, user_id: &str, session_id: &str) -> Result<(), Fault> {
        let user: UserId = user_id.parse()?;
        match super::optional(session_id)? {
            Some(session) => self.0.revoke(user, session).await,
            None => {
                self.0.core.store.user_get(user).await?;
                self.0.revoke_all(user, None).await
            }
        }
    }
}

fn with_password(done: Result<(wire::User, String), Fault>) -> ServiceResult<wire::CreateUserResponse> {
    reply(done.map(|(user, one_time_password)| wire::CreateUserResponse {
        user: user.into(),
        one_time_password,
        ..Default::default()
    }))
}

impl wire::UserService for Api {
    async fn list_users(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::ListUsersRequest>,
    ) -> ServiceResult<wire::ListUsersResponse> {
        reply(self.list(auth::person(&context)?, request.to_owned_message()).await)
    }

    async fn get_user(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::GetUserRequest>,
    ) -> ServiceResult<wire::User> {
        let caller = auth::person(&context)?;
        let user = async { user::get(&self.0, caller, request.id.parse()?).await }.await;
        reply(user.map(|user| reach::limit(&caller.rights, user)))
    }

    async fn create_user(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::CreateUserRequest>,
    ) -> ServiceResult<wire::CreateUserResponse> {
        with_password(user::create(&self.0, auth::person(&context)?, request.name).await)
    }

    async fn rename_user(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::RenameUserRequest>,
    ) -> ServiceResult<wire::User> {
        let caller = auth::person(&context)?;
        reply(async { user::rename(&self.0, caller, request.id.parse()?, request.name).await }.await)
    }

    async fn set_user_disabled(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::SetUserDisabledRequest>,
    ) -> ServiceResult<wire::User> {
        let caller = auth::person(&context)?;
        let work = async { user::set_disabled(&self.0, caller, request.id.parse()?, request.disabled).await };
        reply(work.await)
    }

    async fn reset_user_password(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::ResetUserPasswordRequest>,
    ) -> ServiceResult<wire::CreateUserResponse> {
        let caller = auth::person(&context)?;
        with_password(async { user::reset_password(&self.0, caller, request.id.parse()?).await }.await)
    }

    async fn clear_user_factors(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::ClearUserFactorsRequest>,
    ) -> ServiceResult<wire::User> {
        let caller = auth::person(&context)?;
        reply(async { user::clear_factors(&self.0, caller, request.id.parse()?).await }.await)
    }

    async fn delete_user(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::DeleteUserRequest>,
    ) -> ServiceResult<wire::DeleteUserResponse> {
        let caller = auth::person(&context)?;
        let work = async { user::delete(&self.0, caller, request.id.parse()?).await };
        reply(work.await.map(|()| wire::DeleteUserResponse::default()))
    }

    async fn list_user_sessions(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::ListUserSessionsRequest>,
    ) -> ServiceResult<ListSessionsResponse> {
        let caller = auth::person(&context)?;
        let work = async {
            let user: UserId = request.user_id.parse()?;
            self.0.core.store.user_get(user).await?;
            super::session::list(&self.0, user, caller).await
        };
        reply(work.await)
    }

    async fn revoke_user_sessions(
        &self,
        _context: RequestContext,
        request: ServiceRequest<'_, wire::RevokeUserSessionsRequest>,
    ) -> ServiceResult<wire::RevokeUserSessionsResponse> {
        let work = self.revoke(request.user_id, request.session_id).await;
        reply(work.map(|()| wire::RevokeUserSessionsResponse::default()))
    }
}
