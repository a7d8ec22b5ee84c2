//! API tokens on the wire.

use crate::api::Assembly;
use crate::api::auth;
use crate::api::error::reply;
use crate::api::role::scope;
use crate::services::{App, api_token, role};
use connectrpc::{RequestContext, ServiceRequest, ServiceResult};
use quantix_contract::quantix::token::v1 as wire;
use std::sync::Arc;

struct Api(Arc<App>);

/// Serves API tokens.
pub fn mount(assembly: &mut Assembly, app: &Arc<App>) {
    assembly.service(Arc::new(Api(app.clone())));
}

impl wire::ApiTokenService for Api {
    async fn list_api_tokens(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::ListApiTokensRequest>,
    ) -> ServiceResult<wire::ListApiTokensResponse> {
        let tokens = api_token::list(&self.0, auth::person(&context)?, request.everybody).await;
        reply(tokens.map(|tokens| wire::ListApiTokensResponse { tokens, ..Default::default() }))
    }

    async fn create_api_token(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::CreateApiTokenRequest>,
    ) -> ServiceResult<wire::CreateApiTokenResponse> {
        let (person, asked) = (auth::person(&context)?, request.to_owned_message());
        let work = async {
            let wish = api_token::Wish {
                permissions: role::read(&asked.permissions)?,
                scope: scope(asked.scope.as_option())?,
                name: asked.name,
                days: asked.days,
            };
            api_token::create(&self.0, person, &wish).await
        };
        reply(work.await.map(|(token, secret)| wire::CreateApiTokenResponse {
            api_token: token.into(),
            secret,
            ..Default::default()
        }))
    }

    async fn revoke_api_token(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::RevokeApiTokenRequest>,
    ) -> ServiceResult<wire::RevokeApiTokenResponse> {
        let person = auth::person(&context)?;
        let work = async { api_token::revoke(&self.0, person, request.id.parse()?).await };
        reply(work.await.map(|()| wire::RevokeApiTokenResponse::default()))
    }
}
