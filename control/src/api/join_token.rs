//! Join tokens on the wire, and the one call that a host makes before it is one.

use crate::api::Assembly;
use crate::api::auth;
use crate::api::error::reply;
use crate::services::{App, audit, join_token};
use connectrpc::{PeerAddr, RequestContext, ServiceRequest, ServiceResult};
use quantix_contract::quantix::join_token::v1 as wire;
use quantix_model::Fault;
use std::sync::Arc;

struct Api(Arc<App>);

/// Serves join tokens.
pub fn mount(assembly: &mut Assembly, app: &Arc<App>) {
    assembly.service(Arc::new(Api(app.clone())));
}

impl Api {
    async fn list(&self, size: u32, token: &str) -> Result<wire::ListJoinTokensResponse, Fault> {
        let page = join_token::list(&self.0, &super::page("", size, token, None)?).await?;
        Ok(wire::ListJoinTokensResponse {
            join_tokens: page.rows,
            next_page_token: page.next_token,
            total: page.total,
            ..Default::default()
        })
    }
}

impl wire::JoinTokenService for Api {
    async fn create_join_token(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::CreateJoinTokenRequest>,
    ) -> ServiceResult<wire::CreateJoinTokenResponse> {
        let user = &auth::person(&context)?.name;
        let made = join_token::create(&self.0, user, &request.to_owned_message()).await;
        if let Ok(made) = &made
            && let Some(token) = made.join_token.as_option()
        {
            audit::about("join token", &token.id, &token.note);
        }
        reply(made)
    }

    async fn list_join_tokens(
        &self,
        _context: RequestContext,
        request: ServiceRequest<'_, wire::ListJoinTokensRequest>,
    ) -> ServiceResult<wire::ListJoinTokensResponse> {
        reply(self.list(request.page_size, request.page_token).await)
    }

    async fn revoke_join_token(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::RevokeJoinTokenRequest>,
    ) -> ServiceResult<wire::JoinToken> {
        let user = &auth::person(&context)?.name;
        audit::about("join token", request.id, "");
        reply(async { join_token::revoke(&self.0, user, request.id.parse()?).await }.await)
    }

    async fn join(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::JoinRequest>,
    ) -> ServiceResult<wire::JoinResponse> {
        let peer = context.extensions().get::<PeerAddr>().map(|peer| peer.0);
        let joined = async {
            let peer = peer.ok_or_else(|| Fault::internal("the call has no address"))?;
            join_token::join(&self.0, peer, request.to_owned_message()).await
        };
        let joined = joined.await;
        match &joined {
            Ok(host) => audit::about("host", &host.host_id, &host.host_name),
            Err(_) => audit::about("host", "", request.name),
        }
        reply(joined)
    }
}
