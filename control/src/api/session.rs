//! Signing in and out on the wire.

use crate::api::auth::{self, COOKIE, Line};
use crate::api::error::rpc;
use crate::api::{Assembly, Person};
use crate::services::session::{LIFE_MAX, Sessions};
use crate::services::{audit, role};
use connectrpc::{RequestContext, Response, ServiceRequest, ServiceResult};
use quantix_contract::quantix::session::v1 as wire;
use quantix_contract::time::to_proto;
use quantix_model::right::{Permission, Rights};
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
        permissions: role::words(rights.everywhere()),
        permissions_somewhere: somewhere.map(|p| p.as_str().to_owned()).collect(),
        ..Default::default()
    }
}

/// Where the call came from; a listener that does not tell is this machine's own.
fn address(context: &RequestContext) -> IpAddr {
    context.peer_addr().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |a| a.ip())
}

/// Browsers say so themselves, in headers that scripts cannot set.
fn is_browser(context: &RequestContext) -> bool {
    context.header("origin").is_some() || context.header("sec-fetch-site").is_some()
}

fn cookie(context: &RequestContext, value: &str, seconds: u64) -> String {
    let secure = match context.extensions().get::<Line>() {
        Some(Line::Plain) => "",
        _ => "; Secure",
    };
    format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}")
}

impl Api {
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
        let asked = self.0.login(request.user_name, request.password, address(&context)).await;
        let signed_in = asked.map_err(|f| rpc(&f))?;
        audit::actor("person", signed_in.user.id, &signed_in.user.name);
        let browser = is_browser(&context);
        let answer = wire::LoginResponse {
            session: view(&signed_in.user, &signed_in.session, &signed_in.rights).into(),
            token: if browser { String::new() } else { signed_in.token.clone() },
            ..Default::default()
        };
        let response = Response::new(answer);
        if !browser {
            return Ok(response);
        }
        Ok(response.with_header("set-cookie", cookie(&context, &signed_in.token, LIFE_MAX.as_secs())))
    }

    async fn logout(
        &self,
        context: RequestContext,
        _request: ServiceRequest<'_, wire::LogoutRequest>,
    ) -> ServiceResult<wire::LogoutResponse> {
        self.0.logout(auth::person(&context)?).await.map_err(|f| rpc(&f))?;
        Ok(Response::new(wire::LogoutResponse::default()).with_header("set-cookie", cookie(&context, "", 0)))
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
}
