//! Signing in and out on the wire.

use crate::api::auth::{self, COOKIE, Line};
use crate::api::error::{reply, rpc};
use crate::api::{Assembly, Person};
use crate::services::session::{Proof, Sessions, SignedIn, Step, Visitor};
use crate::services::site::Site;
use crate::services::{audit, browser, passkey, role};
use connectrpc::{RequestContext, Response, ServiceRequest, ServiceResult};
use quantix_contract::quantix::session::v1 as wire;
use quantix_contract::time::to_proto;
use quantix_contract::twin;
use quantix_model::Fault;
use quantix_model::id::UserId;
use quantix_model::right::{Permission, Rights};
use quantix_model::user::UserSource;
use quantix_store::{SessionRecord, UserRecord};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

struct Api(Arc<Sessions>);

/// Serves signing in and out.
pub fn mount(assembly: &mut Assembly, sessions: Arc<Sessions>) {
    assembly.service(Arc::new(Api(sessions)));
}

fn view(user: &UserRecord, session: &SessionRecord, rights: &Rights) -> wire::Session {
    let somewhere = Permission::ALL.iter().filter(|p| rights.somewhere(**p));
    wire::Session {
        user_id: user.id.to_string(),
        user_name: user.name.clone(),
        must_change_password: user.must_change_password,
        created_at: to_proto(session.created_at).into(),
        expires_at: to_proto(session.expires_at).into(),
        vdc_version: crate::VERSION.to_owned(),
        has_password: user.source == UserSource::Local,
        permissions: role::words(rights.everywhere()),
        permissions_somewhere: somewhere.map(|p| p.as_str().to_owned()).collect(),
        ..Default::default()
    }
}

/// The sessions of a user, as the caller sees them.
pub(crate) async fn list(
    sessions: &Sessions,
    user: UserId,
    caller: &Person,
) -> Result<wire::ListSessionsResponse, Fault> {
    let all = sessions.list(user).await?;
    let facts = |session: &SessionRecord| wire::SessionFacts {
        id: session.id.to_string(),
        address: session.address.clone(),
        browser: session.browser.clone(),
        proof: twin::write(session.proof),
        created_at: to_proto(session.created_at).into(),
        used_at: to_proto(session.used_at).into(),
        expires_at: to_proto(session.expires_at).into(),
        current: session.id.0 == caller.by.id(),
        ..Default::default()
    };
    Ok(wire::ListSessionsResponse { sessions: all.iter().map(facts).collect(), ..Default::default() })
}

/// Where the call came from; a listener that does not tell is this machine's own.
pub(crate) fn address(context: &RequestContext) -> IpAddr {
    context.peer_addr().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |a| a.ip())
}

/// By which address the vDC was reached.
pub(crate) fn site(context: &RequestContext) -> Option<&Site> {
    context.extensions().get::<Site>()
}

fn visitor(context: &RequestContext) -> Visitor {
    let agent = context.header("user-agent").and_then(|value| value.to_str().ok());
    let browser = browser::in_words(agent.unwrap_or_default());
    Visitor { address: address(context), browser, site: site(context).cloned() }
}

/// Browsers say so themselves, in headers that scripts cannot set.
fn is_browser(context: &RequestContext) -> bool {
    context.header("origin").is_some() || context.header("sec-fetch-site").is_some()
}

/// The session cookie, as it is set over this line.
pub(crate) fn cookie(line: Option<Line>, value: &str, seconds: u64) -> String {
    let secure = match line {
        Some(Line::Plain) => "",
        _ => "; Secure",
    };
    format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}")
}

impl Api {
    /// The answer that lets somebody in: a browser by cookie, anything else by bearer.
    async fn welcome(
        &self,
        context: &RequestContext,
        signed_in: &SignedIn,
    ) -> ServiceResult<wire::LoginResponse> {
        audit::actor("person", signed_in.user.id, &signed_in.user.name);
        let browser = is_browser(context);
        let response = Response::new(wire::LoginResponse {
            session: view(&signed_in.user, &signed_in.session, &signed_in.rights).into(),
            token: if browser { String::new() } else { signed_in.token.clone() },
            ..Default::default()
        });
        if !browser {
            return Ok(response);
        }
        let life = self.0.settings().await.map_err(|f| rpc(&f))?.life();
        let line = context.extensions().get::<Line>().copied();
        Ok(response.with_header("set-cookie", cookie(line, &signed_in.token, life.as_secs())))
    }

    async fn session_of(&self, person: &Person) -> Result<wire::Session, connectrpc::ConnectError> {
        let (user, session) = self.0.get(person).await.map_err(|f| rpc(&f))?;
        Ok(view(&user, &session, &person.rights))
    }
}

impl wire::SessionService for Api {
    async fn login(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::LoginRequest>,
    ) -> ServiceResult<wire::LoginResponse> {
        audit::actor("nobody", "", request.user_name);
        let step = self.0.login(request.user_name, request.password, &visitor(&context)).await;
        match step.map_err(|f| rpc(&f))? {
            Step::Session(signed_in) => self.welcome(&context, &signed_in).await,
            Step::SecondFactor(needed) => {
                let second_factor = wire::SecondFactorNeeded {
                    challenge: needed.challenge,
                    totp: needed.totp,
                    passkey: needed.passkey,
                    recovery_code: needed.recovery_code,
                    passkey_reason_if_not: needed.passkey_reason_if_not,
                    ..Default::default()
                };
                Response::ok(wire::LoginResponse {
                    second_factor: second_factor.into(),
                    ..Default::default()
                })
            }
        }
    }

    async fn begin_passkey_login(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::BeginPasskeyLoginRequest>,
    ) -> ServiceResult<wire::BeginPasskeyLoginResponse> {
        let begun = passkey::begin_sign_in(&self.0, request.challenge, &visitor(&context)).await;
        reply(begun.map(|begun| wire::BeginPasskeyLoginResponse {
            ceremony: begun.ceremony,
            options_json: begun.options_json,
            ..Default::default()
        }))
    }

    async fn confirm_login(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::ConfirmLoginRequest>,
    ) -> ServiceResult<wire::LoginResponse> {
        use wire::confirm_login_request::Proof as Wire;
        let asked = request.to_owned_message();
        let proof = match &asked.proof {
            Some(Wire::TotpCode(code)) => Proof::Totp(code),
            Some(Wire::RecoveryCode(code)) => Proof::RecoveryCode(code),
            Some(Wire::Passkey(shown)) => Proof::Passkey(passkey::Answer {
                ceremony: &shown.ceremony,
                credential_json: &shown.credential_json,
            }),
            None => {
                let fault = Fault::invalid("proof", "No proof was given.", "Give a code or a passkey.");
                return Err(rpc(&fault));
            }
        };
        let visitor = visitor(&context);
        let done = match proof {
            Proof::Passkey(answer) if asked.challenge.is_empty() => {
                passkey::sign_in(&self.0, answer, &visitor).await
            }
            proof => self.0.confirm(&asked.challenge, proof, &visitor).await,
        };
        self.welcome(&context, &done.map_err(|f| rpc(&f))?).await
    }

    async fn logout(
        &self,
        context: RequestContext,
        _request: ServiceRequest<'_, wire::LogoutRequest>,
    ) -> ServiceResult<wire::LogoutResponse> {
        let line = context.extensions().get::<Line>().copied();
        self.0.logout(auth::person(&context)?).await.map_err(|f| rpc(&f))?;
        Ok(Response::new(wire::LogoutResponse::default()).with_header("set-cookie", cookie(line, "", 0)))
    }

    async fn get_session(
        &self,
        context: RequestContext,
        _request: ServiceRequest<'_, wire::GetSessionRequest>,
    ) -> ServiceResult<wire::Session> {
        Response::ok(self.session_of(auth::person(&context)?).await?)
    }

    async fn change_password(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::ChangePasswordRequest>,
    ) -> ServiceResult<wire::Session> {
        let person = auth::person(&context)?;
        let (current, new) = (request.current_password, request.new_password);
        self.0.change_password(person, current, new, address(&context)).await.map_err(|f| rpc(&f))?;
        Response::ok(self.session_of(person).await?)
    }

    async fn list_sessions(
        &self,
        context: RequestContext,
        _request: ServiceRequest<'_, wire::ListSessionsRequest>,
    ) -> ServiceResult<wire::ListSessionsResponse> {
        let caller = auth::person(&context)?;
        reply(list(&self.0, caller.user_id, caller).await)
    }

    async fn revoke_session(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::RevokeSessionRequest>,
    ) -> ServiceResult<wire::RevokeSessionResponse> {
        let caller = auth::person(&context)?;
        let work = async { self.0.revoke(caller.user_id, request.id.parse()?).await };
        reply(work.await.map(|()| wire::RevokeSessionResponse::default()))
    }

    async fn revoke_other_sessions(
        &self,
        context: RequestContext,
        _request: ServiceRequest<'_, wire::RevokeOtherSessionsRequest>,
    ) -> ServiceResult<wire::RevokeOtherSessionsResponse> {
        let caller = auth::person(&context)?;
        let work = self.0.revoke_all(caller.user_id, Some(caller.session().map_err(|f| rpc(&f))?)).await;
        reply(work.map(|()| wire::RevokeOtherSessionsResponse::default()))
    }
}
