//! Virtual machines on the wire.

use crate::api::Assembly;
use crate::api::error::{reply, rpc};
use crate::api::{auth, reach};
use crate::bus::Thing;
use crate::services::vm_create::{DiskWish, Wish};
use crate::services::{App, audit, console, vm, vm_adopt, vm_create, volume};
use connectrpc::{ConnectError, RequestContext, ServiceRequest, ServiceResult};
use quantix_contract::quantix::vm::v1 as wire;
use quantix_contract::quantix::watch::v1::watch_response::Event;
use quantix_contract::twin;
use quantix_model::Fault;
use quantix_model::id::{TaskId, VmId};
use quantix_model::right::{Permission, Sight};
use quantix_model::vm::{Firmware, NicKind};
use quantix_model::volume::Allocation;
use std::sync::Arc;

struct Api(Arc<App>);

/// Serves VMs.
pub fn mount(assembly: &mut Assembly, app: &Arc<App>) {
    assembly.service(Arc::new(Api(app.clone())));
    let app = app.clone();
    assembly.view("vm", move |thing| {
        let app = app.clone();
        async move {
            let Thing::Vm(id) = thing else { return Ok(None) };
            super::if_there(vm::get(&app, id).await.map(Event::from))
        }
    });
}

fn disk(disk: &wire::NewDisk) -> Result<DiskWish, Fault> {
    if let Some(id) = super::optional(&disk.volume_id)? {
        return Ok(DiskWish::Attach(id));
    }
    Ok(DiskWish::New(volume::Wish {
        pool_id: disk.pool_id.parse()?,
        size_bytes: disk.size_bytes,
        format: match disk.format.to_i32() {
            0 => None,
            _ => Some(twin::read("disks.format", disk.format)?),
        },
        image_id: super::optional(&disk.image_id)?,
        allocation: twin::read_or("disks.allocation", disk.allocation, Allocation::Thin)?,
        linked: disk.linked,
    }))
}

fn wish(request: &wire::CreateVmRequest) -> Result<Wish, Fault> {
    let nic = |nic: &wire::Nic| {
        let kind = twin::read_or("nics.kind", nic.kind, NicKind::User)?;
        Ok::<_, Fault>((kind, nic.mac.clone()))
    };
    Ok(Wish {
        name: request.name.clone(),
        description: request.description.clone(),
        host_id: super::optional(&request.host_id)?,
        vcpus: request.vcpus,
        memory_bytes: request.memory_bytes,
        firmware: twin::read_or("firmware", request.firmware, Firmware::Bios)?,
        disks: request.disks.iter().map(disk).collect::<Result<_, _>>()?,
        cdrom: super::optional(&request.cdrom_image_id)?,
        nics: request.nics.iter().map(nic).collect::<Result<_, _>>()?,
        start: request.start,
    })
}

fn answer(done: Result<(wire::Vm, TaskId), Fault>) -> ServiceResult<wire::VmTask> {
    if let Ok((vm, _)) = &done {
        audit::about("vm", &vm.id, &vm.name);
    }
    reply(done.map(|(vm, task)| wire::VmTask {
        vm: vm.into(),
        task_id: task.to_string(),
        ..Default::default()
    }))
}

impl Api {
    async fn list(&self, asked: wire::ListVmsRequest, sight: &Sight) -> Result<wire::ListVmsResponse, Fault> {
        let order = asked.order.as_option();
        let request = super::page(&asked.filter, asked.page_size, &asked.page_token, order)?;
        let page = vm::list(&self.0, &request, super::optional(&asked.host_id)?, sight).await?;
        Ok(wire::ListVmsResponse {
            vms: page.rows,
            next_page_token: page.next_token,
            total: page.total,
            ..Default::default()
        })
    }

    async fn placements(
        &self,
        request: wire::ListPlacementsRequest,
    ) -> Result<wire::ListPlacementsResponse, Fault> {
        let wanted = wish(request.vm.as_option().unwrap_or(&wire::CreateVmRequest::default()))?;
        vm_create::list_placements(&self.0, &wanted).await
    }
}

impl Api {
    /// Refuses who may not do this to this VM.
    async fn check(
        &self,
        context: &RequestContext,
        permission: Permission,
        id: Result<VmId, Fault>,
    ) -> Result<(), ConnectError> {
        let checked = async { auth::allow(&self.0, context, permission, Thing::Vm(id?)).await };
        checked.await.map_err(|fault| rpc(&fault))
    }
}

impl wire::VmService for Api {
    async fn list_vms(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::ListVmsRequest>,
    ) -> ServiceResult<wire::ListVmsResponse> {
        let asked = async {
            let sight = auth::sight(&context, Permission::VmView)?;
            let mut answer = self.list(request.to_owned_message(), &sight).await?;
            answer.vms = reach::limit_all(&auth::rights(&context), answer.vms);
            Ok(answer)
        };
        reply(asked.await)
    }

    async fn get_vm(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::GetVmRequest>,
    ) -> ServiceResult<wire::Vm> {
        self.check(&context, Permission::VmView, request.id.parse()).await?;
        let vm = async { vm::get(&self.0, request.id.parse()?).await }.await;
        reply(vm.map(|vm| reach::limit(&auth::rights(&context), vm)))
    }

    async fn list_placements(
        &self,
        _context: RequestContext,
        request: ServiceRequest<'_, wire::ListPlacementsRequest>,
    ) -> ServiceResult<wire::ListPlacementsResponse> {
        reply(self.placements(request.to_owned_message()).await)
    }

    async fn create_vm(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::CreateVmRequest>,
    ) -> ServiceResult<wire::VmTask> {
        let person = auth::person(&context)?;
        let asked = async {
            let wish = wish(&request.to_owned_message())?;
            vm_create::create(&self.0, &person.name, &wish).await
        };
        answer(asked.await)
    }

    async fn power_vm(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::PowerVmRequest>,
    ) -> ServiceResult<wire::VmTask> {
        self.check(&context, Permission::VmPower, request.id.parse()).await?;
        let person = auth::person(&context)?;
        let asked = async {
            let request = request.to_owned_message();
            let verb = twin::read("verb", request.verb)?;
            vm::change_power(&self.0, &person.name, request.id.parse()?, verb).await
        };
        answer(asked.await)
    }

    async fn delete_vm(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::DeleteVmRequest>,
    ) -> ServiceResult<wire::VmTask> {
        self.check(&context, Permission::VmManage, request.id.parse()).await?;
        let person = auth::person(&context)?;
        let asked =
            async { vm::delete(&self.0, &person.name, request.id.parse()?, request.delete_volumes).await };
        answer(asked.await)
    }

    async fn list_discovered_vms(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::ListDiscoveredVmsRequest>,
    ) -> ServiceResult<wire::ListDiscoveredVmsResponse> {
        let found = async {
            let mut answer = vm_adopt::list(&self.0, request.host_id.parse()?).await?;
            answer.vms = reach::limit_all(&auth::rights(&context), answer.vms);
            Ok(answer)
        };
        reply(found.await)
    }

    async fn adopt_vm(
        &self,
        _context: RequestContext,
        request: ServiceRequest<'_, wire::AdoptVmRequest>,
    ) -> ServiceResult<wire::Vm> {
        reply(async { vm_adopt::adopt(&self.0, request.host_id.parse()?, request.id.parse()?).await }.await)
    }

    async fn create_console_ticket(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::CreateConsoleTicketRequest>,
    ) -> ServiceResult<wire::ConsoleTicket> {
        self.check(&context, Permission::VmConsole, request.vm_id.parse()).await?;
        let session = auth::person(&context)?.by.id();
        reply(async { console::ticket(&self.0, session, request.vm_id.parse()?).await }.await)
    }
}
