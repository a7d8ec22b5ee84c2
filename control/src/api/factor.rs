//! The caller's second factors on the wire.

use crate::api::error::reply;
use crate::api::session::{address, site};
use crate::api::{Assembly, Person, auth};
use crate::services::session::Sessions;
use crate::services::site::Site;
use crate::services::{factor, passkey};
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
    async fn list(&self, caller: &Person, here: Option<&Site>) -> Result<wire::ListFactorsResponse, Fault> {
        let store = &self.0.core.store;
        let user = store.user_get(caller.user_id).await?;
        let factors = factor::confirmed(&self.0.core, user.id).await?;
        let left = store.recovery_code_count(user.id).await?;
        let refusal = passkey::check_may_add(&self.0.core, &user, here).err();
        Ok(wire::ListFactorsResponse {
            factors: factors.iter().map(|factor| factor::view(factor, here)).collect(),
            passkey_reason_if_not: refusal.map(|f| format!("{} {}", f.message, f.remedy)).unwrap_or_default(),
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
        here: Option<&Site>,
    ) -> Result<wire::ListFactorsResponse, Fault> {
        let id = asked.factor_id.parse()?;
        let user = self.0.prove(caller, &asked.password, from).await?;
        if !self.0.core.store.factor_delete(user.id, id).await? {
            return Err(Fault::not_found("second factor of yours", id));
        }
        self.list(caller, here).await
    }

    async fn begin_passkey(
        &self,
        caller: &Person,
        asked: wire::BeginPasskeyRequest,
        from: IpAddr,
        here: Option<&Site>,
    ) -> Result<wire::BeginPasskeyResponse, Fault> {
        let user = self.0.prove(caller, &asked.password, from).await?;
        let begun = passkey::begin(&self.0, caller, &user, &asked.name, here).await?;
        Ok(wire::BeginPasskeyResponse {
            ceremony: begun.ceremony,
            options_json: begun.options_json,
            ..Default::default()
        })
    }

    async fn confirm_passkey(
        &self,
        caller: &Person,
        asked: wire::ConfirmPasskeyRequest,
        here: Option<&Site>,
    ) -> Result<wire::ConfirmFactorResponse, Fault> {
        let answer = passkey::Answer { ceremony: &asked.ceremony, credential_json: &asked.credential_json };
        let (factor, recovery_codes) = passkey::confirm(&self.0, caller, answer).await?;
        Ok(wire::ConfirmFactorResponse {
            factor: factor::view(&factor, here).into(),
            recovery_codes,
            ..Default::default()
        })
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
        reply(self.list(auth::person(&context)?, site(&context)).await)
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
                factor: factor::view(&factor, None).into(),
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
        let asked = request.to_owned_message();
        reply(self.remove(caller, asked, address(&context), site(&context)).await)
    }

    async fn begin_passkey(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::BeginPasskeyRequest>,
    ) -> ServiceResult<wire::BeginPasskeyResponse> {
        let (caller, asked) = (auth::person(&context)?, request.to_owned_message());
        reply(self.begin_passkey(caller, asked, address(&context), site(&context)).await)
    }

    async fn confirm_passkey(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::ConfirmPasskeyRequest>,
    ) -> ServiceResult<wire::ConfirmFactorResponse> {
        let (caller, asked) = (auth::person(&context)?, request.to_owned_message());
        reply(self.confirm_passkey(caller, asked, site(&context)).await)
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
