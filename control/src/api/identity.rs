//! Identity sources and sign-in settings on the wire.

use crate::api::error::reply;
use crate::api::{Assembly, auth};
use crate::services::identity::{self, Wish};
use crate::services::session::Sessions;
use crate::services::sign_in::Settings;
use connectrpc::{RequestContext, ServiceRequest, ServiceResult};
use quantix_contract::quantix::identity::v1 as wire;
use quantix_model::identity::{RoleRule, SourceConfig};
use quantix_model::{Fault, Secret};
use std::sync::Arc;

struct Api(Arc<Sessions>);

/// Serves identity sources and sign-in settings.
pub fn mount(assembly: &mut Assembly, sessions: &Arc<Sessions>) {
    assembly.service(Arc::new(Api(sessions.clone())));
}

fn wish(asked: Option<&wire::IdentitySourceWish>) -> Result<Wish, Fault> {
    let asked =
        asked.ok_or_else(|| Fault::invalid("source", "The field source is missing.", "Fill it in."))?;
    Ok(Wish {
        title: asked.title.clone(),
        enabled: asked.enabled,
        config: SourceConfig::try_from(asked)?,
        secret: Secret::new(asked.secret.as_str()),
        rules: asked.rules.iter().map(RoleRule::from).collect(),
        default_role: asked.default_role.clone(),
        create_users: asked.create_users,
    })
}

fn settings(settings: &Settings) -> wire::SignInSettings {
    wire::SignInSettings {
        idle_minutes: settings.idle_minutes,
        life_minutes: settings.life_minutes,
        generation: settings.generation,
        ..Default::default()
    }
}

impl wire::IdentityService for Api {
    async fn list_sign_in_ways(
        &self,
        _context: RequestContext,
        _request: ServiceRequest<'_, wire::ListSignInWaysRequest>,
    ) -> ServiceResult<wire::ListSignInWaysResponse> {
        let ways = identity::ways(&self.0).await;
        reply(ways.map(|ways| wire::ListSignInWaysResponse { ways, ..Default::default() }))
    }

    async fn get_sign_in_fault(
        &self,
        _context: RequestContext,
        request: ServiceRequest<'_, wire::GetSignInFaultRequest>,
    ) -> ServiceResult<wire::GetSignInFaultResponse> {
        let found = self.0.faults.get(request.id);
        let answer = |fault: Fault| {
            let fault = quantix_contract::quantix::fault::v1::FaultDetail::from(fault);
            wire::GetSignInFaultResponse { fault: fault.into(), ..Default::default() }
        };
        reply(found.map(answer))
    }

    async fn list_identity_sources(
        &self,
        _context: RequestContext,
        _request: ServiceRequest<'_, wire::ListIdentitySourcesRequest>,
    ) -> ServiceResult<wire::ListIdentitySourcesResponse> {
        reply(identity::list(&self.0).await)
    }

    async fn create_identity_source(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::CreateIdentitySourceRequest>,
    ) -> ServiceResult<wire::IdentitySource> {
        let (caller, asked) = (auth::person(&context)?, request.to_owned_message());
        reply(async { identity::create(&self.0, caller, wish(asked.source.as_option())?).await }.await)
    }

    async fn update_identity_source(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::UpdateIdentitySourceRequest>,
    ) -> ServiceResult<wire::IdentitySource> {
        let (caller, asked) = (auth::person(&context)?, request.to_owned_message());
        let work = async {
            let wish = wish(asked.source.as_option())?;
            identity::update(&self.0, caller, asked.id.parse()?, asked.generation, wish).await
        };
        reply(work.await)
    }

    async fn delete_identity_source(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::DeleteIdentitySourceRequest>,
    ) -> ServiceResult<wire::DeleteIdentitySourceResponse> {
        let caller = auth::person(&context)?;
        let work =
            async { identity::delete(&self.0, caller, request.id.parse()?, request.delete_people).await };
        reply(work.await.map(|()| wire::DeleteIdentitySourceResponse::default()))
    }

    async fn test_identity_source(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::TestIdentitySourceRequest>,
    ) -> ServiceResult<wire::TestIdentitySourceResponse> {
        let (caller, asked) = (auth::person(&context)?, request.to_owned_message());
        let work = async {
            let typed = match asked.source.as_option() {
                Some(typed) => Some((SourceConfig::try_from(typed)?, Secret::new(typed.secret.as_str()))),
                None => None,
            };
            identity::test(&self.0, caller, super::optional(&asked.id)?, typed).await
        };
        reply(work.await)
    }

    async fn get_sign_in_settings(
        &self,
        _context: RequestContext,
        _request: ServiceRequest<'_, wire::GetSignInSettingsRequest>,
    ) -> ServiceResult<wire::SignInSettings> {
        reply(self.0.settings().await.map(|found| settings(&found)))
    }

    async fn update_sign_in_settings(
        &self,
        _context: RequestContext,
        request: ServiceRequest<'_, wire::UpdateSignInSettingsRequest>,
    ) -> ServiceResult<wire::SignInSettings> {
        let wish = Settings {
            generation: request.generation,
            idle_minutes: request.idle_minutes,
            life_minutes: request.life_minutes,
        };
        let set = self.0.settings_in_force.set(&self.0.core.store, wish).await;
        reply(set.map(|found| settings(&found)))
    }
}
