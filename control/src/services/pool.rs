//! Pools: the intent, the assignments, and the sum of what hosts report of them.

use crate::bus::Thing;
use crate::ids;
use crate::roster::Known;
use crate::services::{App, file, host, lines, pool_secret, report, right};
use crate::tasks::NewTask;
use quantix_contract::pool::{capacity_at, spec_with_secrets};
use quantix_contract::quantix::action::v1::AllowedAction;
use quantix_contract::quantix::node::v1 as node;
use quantix_contract::quantix::pool::v1 as wire;
use quantix_contract::{time, twin};
use quantix_model::host::HostPhase;
use quantix_model::id::{HostId, PoolId, TaskId};
use quantix_model::name::check_label;
use quantix_model::pool::place::{meet_on_host, same_bytes};
use quantix_model::pool::{
    Capabilities, HostStatus, PoolHealth, PoolPhase, PoolReport, PoolSpec, capacity, phase,
};
use quantix_model::right::Sight;
use quantix_model::{Fault, FaultCode};
use quantix_store::{
    HostRecord, Page, PageRequest, PoolAssignmentRecord, PoolContents, PoolRecord, PoolStatusRecord,
};
use std::collections::HashMap;
use std::sync::Arc;

/// One page of pools.
pub async fn list(
    app: &App,
    request: &PageRequest,
    of: Option<HostId>,
    sight: &Sight,
) -> Result<Page<wire::Pool>, Fault> {
    let mut among = right::pools_in(sight);
    if let Some(host) = of {
        let known = match app.core.rosters.get(host).await.map_err(Fault::from) {
            Ok(known) => known,
            // Whether there is such a host is not for everybody to know.
            Err(fault) if fault.code == FaultCode::NotFound && among.is_some() => {
                return Ok(Page { rows: Vec::new(), next_token: String::new(), total: 0 });
            }
            Err(fault) => return Err(fault),
        };
        let there = known.roster.pools.iter().map(|(pool, _)| pool.id);
        among = Some(there.filter(|id| among.as_ref().is_none_or(|among| among.contains(id))).collect());
    }
    let page = match among {
        None => app.core.store.pool_page(request).await?,
        Some(ids) => app.core.store.pool_page_among(request, &ids).await?,
    };
    let mut rows = Vec::with_capacity(page.rows.len());
    for pool in &page.rows {
        rows.push(view(app, pool).await?);
    }
    Ok(Page { rows, next_token: page.next_token, total: page.total })
}

/// A pool as shown.
pub async fn get(app: &App, id: PoolId) -> Result<wire::Pool, Fault> {
    view(app, &app.core.store.pool_get(id).await?).await
}

/// How a pool is on each host that should have it. A host that was not heard since the vDC started says nothing.
pub async fn statuses(app: &App, id: PoolId) -> Result<Vec<HostStatus>, Fault> {
    let assignments = app.core.store.pool_assignments(id).await?;
    statuses_as_assigned(app, id, &assignments).await
}

/// The same, when its assignments are at hand.
pub async fn statuses_as_assigned(
    app: &App,
    id: PoolId,
    assignments: &[PoolAssignmentRecord],
) -> Result<Vec<HostStatus>, Fault> {
    let mut hosts = HashMap::new();
    for assignment in assignments {
        let known = app.core.rosters.get(assignment.host_id).await?;
        hosts.insert(known.roster.host.id, known);
    }
    // What was kept counts for those only that said nothing in this life of the vDC.
    let all_spoke = assignments.iter().all(|a| app.live.get(a.host_id).is_some());
    let kept = if all_spoke { Vec::new() } else { app.core.store.pool_status_of(id).await? };
    Ok(statuses_of(app, id, assignments, &hosts, &kept))
}

fn statuses_of(
    app: &App,
    id: PoolId,
    assignments: &[PoolAssignmentRecord],
    hosts: &HashMap<HostId, Arc<Known>>,
    kept: &[PoolStatusRecord],
) -> Vec<HostStatus> {
    let mut statuses = Vec::new();
    for assignment in assignments.iter().filter(|a| a.pool_id == id) {
        let Some(record) = hosts.get(&assignment.host_id).map(|known| &known.roster.host) else { continue };
        let host_phase = host::phase_of(app, record);
        let report = match app.live.get(record.id) {
            Some(live) => live.pools.get(&id).map(|report| PoolReport::clone(report)),
            None if host_phase == HostPhase::Pending => None,
            None => {
                let of = |s: &&PoolStatusRecord| s.pool_id == id && s.host_id == record.id;
                kept.iter().find(of).map(|s| s.report.clone())
            }
        };
        let fresh = matches!(host_phase, HostPhase::Ready | HostPhase::Degraded);
        statuses.push(HostStatus { host_id: record.id, host: record.name.clone(), report, fresh });
    }
    statuses
}

/// The phase of a pool and why it is not Ready. Waiting counts from the vDC's own start at the earliest.
pub fn phase_of(app: &App, pool: &PoolRecord, statuses: &[HostStatus]) -> (PoolPhase, Option<Fault>) {
    let since = pool.changed_at.max(app.core.started_at);
    phase(pool.deleting, statuses, since, app.core.clock.now())
}

/// Why a pool cannot be used now.
pub fn why_unusable(app: &App, pool: &PoolRecord, statuses: &[HostStatus]) -> Fault {
    let (_, fault) = phase_of(app, pool, statuses);
    let base = Fault::new(
        FaultCode::PoolNotReady,
        format!("Pool {} is not ready.", pool.name),
        "Wait until it is, or look at the pool's page.",
    );
    match fault {
        None => base,
        Some(why) => Fault {
            cause: [why.message.as_str(), why.cause.as_str()].join(" ").trim().to_owned(),
            host: why.host,
            remedy: why.remedy,
            ..base
        },
    }
}

/// What a pool can do: what all hosts on which it works can. Where it works on none, what they said last.
pub fn capabilities(statuses: &[HostStatus]) -> Option<Capabilities> {
    let said = |s: &HostStatus| s.report.as_ref().map(|report| report.capabilities.clone());
    let usable = |s: &&HostStatus| matches!(s.health(), PoolHealth::Healthy | PoolHealth::Degraded);
    let shared = |a: Capabilities, b: Capabilities| Capabilities {
        files: a.files && b.files,
        images: a.images && b.images,
        snapshots: a.snapshots && b.snapshots,
        snapshots_running: a.snapshots_running && b.snapshots_running,
        clones: a.clones && b.clones,
        flatten: a.flatten && b.flatten,
        grow: a.grow && b.grow,
        grow_running: a.grow_running && b.grow_running,
        thick: a.thick && b.thick,
        reflink: a.reflink && b.reflink,
        formats: a.formats.into_iter().filter(|format| b.formats.contains(format)).collect(),
        file_system: a.file_system,
    };
    let working = statuses.iter().filter(usable).filter_map(said).reduce(shared);
    working.or_else(|| statuses.iter().find_map(said))
}

pub(super) async fn view(app: &App, pool: &PoolRecord) -> Result<wire::Pool, Fault> {
    let statuses = statuses(app, pool.id).await?;
    let contents = app.core.store.pool_contents(pool.id).await?;
    let (phase, fault) = phase_of(app, pool, &statuses);
    let can = capabilities(&statuses);
    Ok(wire::Pool {
        id: pool.id.to_string(),
        name: pool.name.clone(),
        spec: wire::PoolSpec::from(&pool.spec).into(),
        phase: twin::write(phase),
        fault: fault.as_ref().map(Into::into).into(),
        capacity: capacity(pool.spec.is_shared(), &statuses).map(|(c, at)| capacity_at(&c, at)).into(),
        host_statuses: statuses.iter().map(|status| row(pool, status)).collect(),
        generation: pool.generation,
        volume_count: u32::try_from(contents.volumes).unwrap_or(u32::MAX),
        image_count: u32::try_from(contents.images).unwrap_or(u32::MAX),
        allowed_actions: actions(pool, phase, statuses.len(), contents, can.as_ref()),
        created_at: time::to_proto(pool.created_at).into(),
        capabilities: can.as_ref().map(wire::Capabilities::from).into(),
        ..Default::default()
    })
}

fn row(pool: &PoolRecord, status: &HostStatus) -> wire::PoolHostStatus {
    let row = wire::PoolHostStatus::from(status);
    wire::PoolHostStatus { is_behind: row.generation < pool.generation, ..row }
}

fn actions(
    pool: &PoolRecord,
    phase: PoolPhase,
    hosts: usize,
    contents: PoolContents,
    can: Option<&Capabilities>,
) -> Vec<AllowedAction> {
    let going = pool.deleting.then(|| "It is being deleted.".to_owned());
    let unusable = || match phase {
        PoolPhase::Ready | PoolPhase::Degraded => None,
        _ => Some("It is not ready.".to_owned()),
    };
    let full = || match (contents.volumes, contents.images) {
        (0, 0) => None,
        (volumes, images) => Some(format!("{volumes} volumes and {images} images are on it.")),
    };
    let one_host =
        || (!pool.spec.is_shared() && hosts > 0).then(|| "A local pool is on one host only.".to_owned());
    let no_host = || (hosts == 0).then(|| "It is on no host.".to_owned());
    let no_files = || can.is_some_and(|can| !can.files).then(|| "It has no files to browse.".to_owned());
    let no_images = || can.is_some_and(|can| !can.images).then(|| "It cannot keep images.".to_owned());
    let line = |verb: &str, reason: Option<String>| AllowedAction {
        verb: verb.to_owned(),
        allowed: reason.is_none(),
        reason_if_not: reason.unwrap_or_default(),
        ..Default::default()
    };
    vec![
        line("update", going.clone()),
        line("assign", going.clone().or_else(one_host)),
        line("unassign", going.clone().or_else(no_host)),
        line("upload_image", going.clone().or_else(unusable).or_else(no_images)),
        line("create_volume", going.clone().or_else(unusable)),
        line("write_files", going.clone().or_else(unusable).or_else(no_files)),
        line("retry", going),
        line("delete", full()),
    ]
}

/// Writes the intent for a new pool; the task sees to it that the hosts have it.
pub async fn create(
    app: &App,
    user: &str,
    name: &str,
    spec: PoolSpec,
    host_ids: &[HostId],
) -> Result<(wire::Pool, TaskId), Fault> {
    check_label("name", name)?;
    spec.check()?;
    let mut wanted = host_ids.to_vec();
    wanted.sort();
    wanted.dedup();
    if !spec.is_shared() && wanted.len() != 1 {
        return Err(Fault::invalid(
            "host_ids",
            format!("A local pool is on exactly one host; {} were chosen.", wanted.len()),
            "Choose the host whose directory it is.",
        ));
    }
    // Nobody else makes or assigns a pool between looking and writing.
    let _turn = app.placing.lock().await;
    refuse_same_bytes(app, &spec, None).await?;
    let mut names = Vec::new();
    for id in &wanted {
        let host = app.core.store.host_get(*id).await.map_err(|f| on_field(f.into(), "host_ids"))?;
        refuse_meeting(app, &spec, &host, None).await?;
        names.push(host.name);
    }
    let now = app.core.clock.now();
    let id = ids::pool();
    let pool = PoolRecord {
        id,
        name: name.to_owned(),
        spec: pool_secret::close(app, id, spec)?,
        generation: 1,
        deleting: false,
        prepared: false,
        created_at: now,
        changed_at: now,
    };
    let task = app.core.tasks.draft(NewTask {
        kind: "pool.create",
        title: format!("Create pool {name}"),
        object: Thing::Pool(pool.id),
        object_name: name.to_owned(),
        host: names.join(", "),
        user_name: user.to_owned(),
        input: serde_json::json!({ "host_ids": wanted }),
    });
    app.core.store.pool_insert(&pool, &wanted, &task).await?;
    let task_id = task.id;
    app.core.tasks.submit(task);
    app.core.bus.changed(Thing::Pool(pool.id));
    Ok((view(app, &pool).await?, task_id))
}

fn on_field(fault: Fault, field: &str) -> Fault {
    Fault { field: field.to_owned(), ..fault }
}

/// Refuses what would be the same bytes as another pool: each would take the other's for its own.
pub(super) async fn refuse_same_bytes(
    app: &App,
    spec: &PoolSpec,
    except: Option<PoolId>,
) -> Result<(), Fault> {
    for other in app.core.store.pool_all().await? {
        if Some(other.id) == except {
            continue;
        }
        let Some(field) = same_bytes(spec, &other.spec) else { continue };
        let message = match spec {
            PoolSpec::Nfs(nfs) => {
                format!("{} of {} is or meets what pool {} is on.", nfs.export, nfs.server, other.name)
            }
            PoolSpec::Ceph(ceph) => {
                format!("The Ceph pool {} of these monitors is pool {} already.", ceph.pool, other.name)
            }
            PoolSpec::Iscsi(iscsi) => {
                format!("LUN {} of {} is pool {} already.", iscsi.lun, iscsi.target, other.name)
            }
            PoolSpec::Local { path, .. } => format!("{path} is pool {} already.", other.name),
        };
        let remedy =
            format!("Use pool {} (assign it to more hosts if need be), or choose another place.", other.name);
        let fault = Fault::new(FaultCode::PoolInUse, message, remedy);
        return Err(Fault { field: field.into(), ..fault });
    }
    Ok(())
}

/// Refuses a folder or volume group that another pool has on this host.
async fn refuse_meeting(
    app: &App,
    spec: &PoolSpec,
    host: &HostRecord,
    except: Option<PoolId>,
) -> Result<(), Fault> {
    for (other, _) in app.core.store.pool_of_host(host.id).await? {
        if Some(other.id) == except {
            continue;
        }
        let Some((field, taken)) = meet_on_host(spec, &other.spec) else { continue };
        let message = format!("This place meets pool {}, which has {taken} on {}.", other.name, host.name);
        return Err(Fault {
            code: FaultCode::PoolPathInvalid,
            ..Fault::invalid(field, message, "Choose a place of its own.")
        }
        .on_host(&host.name));
    }
    Ok(())
}

/// Says that a host should have the pool.
pub async fn assign(
    app: &App,
    user: &str,
    id: PoolId,
    host_id: HostId,
) -> Result<(wire::Pool, TaskId), Fault> {
    let pool = app.core.store.pool_get(id).await?;
    let host = app.core.store.host_get(host_id).await.map_err(|f| on_field(f.into(), "host_id"))?;
    let assignments = app.core.store.pool_assignments(id).await?;
    let has = |a: &PoolAssignmentRecord| a.host_id == host_id && !a.releasing;
    if !pool.spec.is_shared() && assignments.iter().any(|a| a.host_id != host_id) {
        return Err(Fault::new(
            FaultCode::Conflict,
            format!("Pool {} is a local pool and on another host already.", pool.name),
            "Make a pool of its own for this host.",
        )
        .on_host(host.name));
    }
    if assignments.iter().any(has) {
        return Err(Fault::new(
            FaultCode::Conflict,
            format!("Pool {} is assigned to {} already.", pool.name, host.name),
            "Nothing needs to be done.",
        ));
    }
    let _turn = app.placing.lock().await;
    refuse_meeting(app, &pool.spec, &host, Some(id)).await?;
    let task = app.core.tasks.draft(NewTask {
        kind: "pool.assign",
        title: format!("Assign pool {} to {}", pool.name, host.name),
        object: Thing::Pool(id),
        object_name: pool.name.clone(),
        host: host.name.clone(),
        user_name: user.to_owned(),
        input: serde_json::json!({ "host_ids": [host_id] }),
    });
    let pool = app.core.store.pool_assign(id, host_id, app.core.clock.now(), &task).await?;
    submitted(app, pool, task).await
}

/// Says that a host should let go of the pool; with `force` without waiting for a dead server or host.
pub async fn unassign(
    app: &App,
    user: &str,
    id: PoolId,
    host_id: HostId,
    force: bool,
) -> Result<(wire::Pool, TaskId), Fault> {
    let pool = app.core.store.pool_get(id).await?;
    let host = app.core.store.host_get(host_id).await.map_err(|f| on_field(f.into(), "host_id"))?;
    let assignments = app.core.store.pool_assignments(id).await?;
    if !assignments.iter().any(|a| a.host_id == host_id) {
        return Err(Fault::new(
            FaultCode::PoolNotAssigned,
            format!("Pool {} is not on {}.", pool.name, host.name),
            "Nothing needs to be done.",
        ));
    }
    let task = app.core.tasks.draft(NewTask {
        kind: "pool.unassign",
        title: match force {
            true => format!("Unassign pool {} from {} by force", pool.name, host.name),
            false => format!("Unassign pool {} from {}", pool.name, host.name),
        },
        object: Thing::Pool(id),
        object_name: pool.name.clone(),
        host: host.name.clone(),
        user_name: user.to_owned(),
        input: serde_json::json!({ "host_ids": [host_id], "force": force }),
    });
    let pool = app.core.store.pool_release(id, host_id, app.core.clock.now(), &task).await?;
    submitted(app, pool, task).await
}

/// Says that the pool should go. Its files stay.
pub async fn delete(app: &App, user: &str, id: PoolId, force: bool) -> Result<(wire::Pool, TaskId), Fault> {
    let pool = app.core.store.pool_get(id).await?;
    let task = app.core.tasks.draft(NewTask {
        kind: "pool.delete",
        title: format!("Delete pool {}", pool.name),
        object: Thing::Pool(id),
        object_name: pool.name.clone(),
        host: String::new(),
        user_name: user.to_owned(),
        input: serde_json::json!({ "force": force }),
    });
    let pool = app.core.store.pool_mark_deleting(id, force, app.core.clock.now(), &task).await?;
    submitted(app, pool, task).await
}

pub(super) async fn submitted(
    app: &App,
    pool: PoolRecord,
    task: quantix_store::TaskRecord,
) -> Result<(wire::Pool, TaskId), Fault> {
    let task_id = task.id;
    app.core.tasks.submit(task);
    app.core.bus.changed(Thing::Pool(pool.id));
    Ok((view(app, &pool).await?, task_id))
}

/// Has the hosts look at the pool again now. Those that take longer than a second go on by themselves.
pub async fn retry(app: &Arc<App>, id: PoolId, host_id: Option<HostId>) -> Result<(), Fault> {
    let pool = app.core.store.pool_get(id).await?;
    let mut hosts: Vec<HostId> =
        app.core.store.pool_assignments(id).await?.iter().map(|a| a.host_id).collect();
    hosts.retain(|host| host_id.is_none_or(|wanted| wanted == *host));
    if hosts.is_empty() {
        let message = format!("Pool {} is not on that host, or on none.", pool.name);
        return Err(Fault::new(FaultCode::PoolNotAssigned, message, "Assign it to a host."));
    }
    // What grew is taken in by one: the host a person chose, else the one that changes volumes anyway.
    let chosen = match host_id {
        Some(host) => Some(host),
        None => lines::to_pool(app, id).await.ok().map(|line| line.id()),
    };
    let mut asked = Vec::new();
    for host_id in hosts {
        let take_in = chosen == Some(host_id);
        let (again, (say, said)) = (app.clone(), tokio::sync::oneshot::channel());
        app.core.spawn(async move {
            // Nobody listens any more when it took long: the page tells.
            let _ = say.send(look_again(&again, id, host_id, take_in).await);
        });
        asked.push(said);
    }
    let all = futures::future::join_all(asked);
    match lines::soon(app, id, "its hosts", "another look", async { Ok(all.await) }).await {
        Ok(said) => said.into_iter().flatten().collect(),
        Err(_) => Ok(()),
    }
}

async fn look_again(app: &App, id: PoolId, host_id: HostId, take_in: bool) -> Result<(), Fault> {
    let line = lines::to_host(app, host_id).await?;
    let ask = node::RetryPoolRequest { pool_id: id.to_string(), take_in, ..Default::default() };
    let said = PoolReport::try_from(&line.retry_pool(ask).await?)?;
    report::take_pool(app, host_id, id, said).await
}

/// One page of a folder, asked of any host on which the pool works, with the owner of each file of ours.
pub async fn list_files(
    app: &App,
    request: wire::ListFilesRequest,
) -> Result<wire::ListFilesResponse, Fault> {
    let id: PoolId = request.pool_id.parse()?;
    quantix_model::file::check_path("path", &request.path)?;
    let line = lines::to_pool(app, id).await?;
    let path = request.path.clone();
    let asked = node::ListFilesRequest {
        pool_id: request.pool_id,
        path: request.path,
        filter: request.filter,
        sort: request.sort,
        descending: request.descending,
        page_size: request.page_size,
        page_token: request.page_token,
        ..Default::default()
    };
    let call = line.list_files(asked);
    let mut answer = lines::soon(app, id, line.name(), "the list of files", call).await?;
    line.name().clone_into(&mut answer.host);
    if !answer.observed_at.is_set() {
        answer.observed_at = time::to_proto(app.core.clock.now()).into();
    }
    let claims = file::Claims::of(app, id).await?;
    for entry in &mut answer.files {
        let claim = claims.at(&path, &entry.name);
        file::mark(entry, claim);
    }
    Ok(answer)
}

/// What a host should be told of a pool, secrets and all.
pub fn intent(app: &App, pool: &PoolRecord) -> Result<node::PoolIntent, Fault> {
    Ok(intent_of(pool, &pool_secret::open(app, pool.id, pool.spec.clone())?))
}

/// The same, with what it should be given apart: its secrets are as hosts need them.
pub fn intent_of(pool: &PoolRecord, spec: &PoolSpec) -> node::PoolIntent {
    node::PoolIntent {
        pool_id: pool.id.to_string(),
        generation: pool.generation,
        spec: spec_with_secrets(spec).into(),
        name: pool.name.clone(),
        ..Default::default()
    }
}
