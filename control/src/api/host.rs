//! Hosts on the wire.

use crate::api::Assembly;
use crate::api::error::{reply, rpc};
use crate::api::{auth, reach};
use crate::bus::Thing;
use crate::services::{App, audit, device, host, host_enrol, log};
use connectrpc::{ConnectError, RequestContext, Response, ServiceRequest, ServiceResult, ServiceStream};
use futures::StreamExt as _;
use quantix_contract::quantix::host::v1 as wire;
use quantix_contract::quantix::log::v1 as log_wire;
use quantix_contract::quantix::watch::v1::watch_response::Event;
use quantix_model::Fault;
use quantix_model::id::HostId;
use quantix_model::right::Permission;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

struct Api(Arc<App>);

/// Serves hosts.
pub fn mount(assembly: &mut Assembly, app: &Arc<App>) {
    assembly.service(Arc::new(Api(app.clone())));
    let app = app.clone();
    assembly.view("host", move |thing| {
        let app = app.clone();
        async move {
            let Thing::Host(id) = thing else { return Ok(None) };
            super::if_there(host::get(&app, id).await.map(Event::from))
        }
    });
}

impl Api {
    async fn list(&self, asked: wire::ListHostsRequest) -> Result<wire::ListHostsResponse, Fault> {
        let order = asked.order.as_option();
        let request = super::page(&asked.filter, asked.page_size, &asked.page_token, order)?;
        let page = host::list(&self.0, &request).await?;
        Ok(wire::ListHostsResponse {
            hosts: page.rows,
            next_page_token: page.next_token,
            total: page.total,
            ..Default::default()
        })
    }
}

impl Api {
    /// Refuses who may not do this to this host.
    async fn check(
        &self,
        context: &RequestContext,
        permission: Permission,
        id: Result<HostId, Fault>,
    ) -> Result<(), ConnectError> {
        let checked = async { auth::allow(&self.0, context, permission, Thing::Host(id?)).await };
        checked.await.map_err(|fault| rpc(&fault))
    }
}

impl wire::HostService for Api {
    async fn list_hosts(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::ListHostsRequest>,
    ) -> ServiceResult<wire::ListHostsResponse> {
        let asked = async {
            let mut answer = self.list(request.to_owned_message()).await?;
            answer.hosts = reach::limit_all(&auth::rights(&context), answer.hosts);
            Ok(answer)
        };
        reply(asked.await)
    }

    async fn get_host(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::GetHostRequest>,
    ) -> ServiceResult<wire::Host> {
        self.check(&context, Permission::HostView, request.id.parse()).await?;
        let host = async { host::get(&self.0, request.id.parse()?).await }.await;
        reply(host.map(|host| reach::limit(&auth::rights(&context), host)))
    }

    async fn list_host_offers(
        &self,
        _context: RequestContext,
        _request: ServiceRequest<'_, wire::ListHostOffersRequest>,
    ) -> ServiceResult<wire::ListHostOffersResponse> {
        let offers = host::offers(&self.0).await;
        reply(offers.map(|offers| wire::ListHostOffersResponse { offers, ..Default::default() }))
    }

    async fn probe_host(
        &self,
        _context: RequestContext,
        request: ServiceRequest<'_, wire::ProbeHostRequest>,
    ) -> ServiceResult<ServiceStream<wire::ProbeHostResponse>> {
        let (tell, told) = mpsc::channel(8);
        let (url, token) = (request.url.to_owned(), request.token.to_owned());
        audit::about("host", "", &url);
        self.0.core.spawn(host::probe(self.0.clone(), url, token, tell));
        Response::stream_ok(ReceiverStream::new(told).map(Ok))
    }

    async fn add_host(
        &self,
        _context: RequestContext,
        request: ServiceRequest<'_, wire::AddHostRequest>,
    ) -> ServiceResult<wire::Host> {
        let asked = async {
            let replaces = super::optional(request.replaces_host_id)?;
            host_enrol::add(&self.0, request.probe_id, request.name, replaces).await
        };
        let added = asked.await;
        match &added {
            Ok(host) => audit::about("host", &host.id, &host.name),
            Err(_) => audit::about("host", "", request.name),
        }
        reply(added)
    }

    async fn list_devices(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::ListDevicesRequest>,
    ) -> ServiceResult<wire::ListDevicesResponse> {
        self.check(&context, Permission::HostView, request.host_id.parse()).await?;
        let asked = async {
            let mut answer = device::list(&self.0, request.host_id.parse()?).await?;
            answer.devices = reach::limit_all(&auth::rights(&context), answer.devices);
            Ok(answer)
        };
        reply(asked.await)
    }

    async fn initialise_device(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::InitialiseDeviceRequest>,
    ) -> ServiceResult<wire::InitialiseDeviceResponse> {
        self.check(&context, Permission::HostManage, request.host_id.parse()).await?;
        let user = &auth::person(&context)?.name;
        reply(device::initialise(&self.0, user, request.to_owned_message()).await)
    }

    async fn list_logs(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, log_wire::ListLogsRequest>,
    ) -> ServiceResult<log_wire::ListLogsResponse> {
        self.check(&context, Permission::HostView, request.host_id.parse()).await?;
        reply(log::list(&self.0, request.to_owned_message()).await)
    }

    async fn remove_host(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::RemoveHostRequest>,
    ) -> ServiceResult<wire::RemoveHostResponse> {
        self.check(&context, Permission::HostManage, request.id.parse()).await?;
        let removed = async { host::remove(&self.0, request.id.parse()?, request.force).await }.await;
        reply(removed.map(|()| wire::RemoveHostResponse::default()))
    }
}
