//! The caller's second factors on the wire.

use crate::api::error::reply;
use crate::api::session::address;
use crate::api::{Assembly, Person, auth};
use crate::services::factor;
use crate::services::session::Sessions;
use connectrpc::{RequestContext, ServiceRequest, ServiceResult};
use quantix_contract::quantix::factor::v1 as wire;
use quantix_model::Fault;
use quantix_model::user::UserSource;
use std::net::IpAddr;
use std::sync::Arc;

struct Api(Arc<Sessions>);

/// Serves the caller's second factors.
pub fn mount(assembly: &mut Assembly, sessions: Arc<Sessions>) {
    assembly.service(Arc::new(Api(sessions)));
}

impl Api {
    async fn list(&self, caller: &Person) -> Result<wire::ListFactorsResponse, Fault> {
        let store = &self.0.core.store;
        let user = store.user_get(caller.user_id).await?;
        let factors = factor::confirmed(&self.0.core, user.id).await?;
        let left = store.recovery_code_count(user.id).await?;
        Ok(wire::ListFactorsResponse {
            factors: factors.iter().map(factor::view).collect(),
            recovery_codes_left: u32::try_from(left).unwrap_or(u32::MAX),
            needs_password: user.source != UserSource::Oidc,
            ..Default::default()
        })
    }

    async fn begin_totp(
        &self,
        caller: &Person,
        asked: wire::BeginTotpRequest,
        from: IpAddr,
    ) -> Result<wire::BeginTotpResponse, Fault> {
        let user = self.0.prove(caller, &asked.password, from).await?;
        let new = factor::begin_totp(&self.0.core, &user, &asked.name).await?;
        Ok(wire::BeginTotpResponse {
            factor_id: new.id.to_string(),
            url: new.url,
            secret: new.secret,
            qr_svg: new.qr_svg,
            ..Default::default()
        })
    }

    async fn remove(
        &self,
        caller: &Person,
        asked: wire::RemoveFactorRequest,
        from: IpAddr,
    ) -> Result<wire::ListFactorsResponse, Fault> {
        let id = asked.factor_id.parse()?;
        let user = self.0.prove(caller, &asked.password, from).await?;
        if !self.0.core.store.factor_delete(user.id, id).await? {
            return Err(Fault::not_found("second factor of yours", id));
        }
        self.list(caller).await
    }

    async fn recovery_codes(
        &self,
        caller: &Person,
        asked: wire::MakeRecoveryCodesRequest,
        from: IpAddr,
    ) -> Result<wire::MakeRecoveryCodesResponse, Fault> {
        let user = self.0.prove(caller, &asked.password, from).await?;
        if factor::confirmed(&self.0.core, user.id).await?.is_empty() {
            let text = "Recovery codes stand in for a second factor, and you have none.";
            return Err(Fault::invalid("factors", text, "Add an authenticator app first."));
        }
        let codes = factor::make_recovery_codes(&self.0.core, user.id).await?;
        Ok(wire::MakeRecoveryCodesResponse { codes, ..Default::default() })
    }
}

impl wire::FactorService for Api {
    async fn list_factors(
        &self,
        context: RequestContext,
        _request: ServiceRequest<'_, wire::ListFactorsRequest>,
    ) -> ServiceResult<wire::ListFactorsResponse> {
        reply(self.list(auth::person(&context)?).await)
    }

    async fn begin_totp(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::BeginTotpRequest>,
    ) -> ServiceResult<wire::BeginTotpResponse> {
        let caller = auth::person(&context)?;
        reply(self.begin_totp(caller, request.to_owned_message(), address(&context)).await)
    }

    async fn confirm_totp(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::ConfirmTotpRequest>,
    ) -> ServiceResult<wire::ConfirmFactorResponse> {
        let user = auth::person(&context)?.user_id;
        let work = async {
            let id = request.factor_id.parse()?;
            let (factor, recovery_codes) = factor::confirm_totp(&self.0.core, user, id, request.code).await?;
            Ok(wire::ConfirmFactorResponse {
                factor: factor::view(&factor).into(),
                recovery_codes,
                ..Default::default()
            })
        };
        reply(work.await)
    }

    async fn remove_factor(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::RemoveFactorRequest>,
    ) -> ServiceResult<wire::ListFactorsResponse> {
        let caller = auth::person(&context)?;
        reply(self.remove(caller, request.to_owned_message(), address(&context)).await)
    }

    async fn make_recovery_codes(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::MakeRecoveryCodesRequest>,
    ) -> ServiceResult<wire::MakeRecoveryCodesResponse> {
        let caller = auth::person(&context)?;
        reply(self.recovery_codes(caller, request.to_owned_message(), address(&context)).await)
    }
}
