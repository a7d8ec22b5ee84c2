//! What people may do: read once, kept until a role, a grant or a person changes.

use crate::bus::Thing;
use crate::services::App;
use quantix_model::fault::{Fault, FaultCode};
use quantix_model::id::{RoleId, UserId};
use quantix_model::right::{Permissions, Rights, Scope, Sight, built_in};
use quantix_store::Store;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

/// People remembered; all are forgotten when there are more.
const PEOPLE_MAX: usize = 10_000;

/// Rights as read last.
#[derive(Debug, Default)]
pub struct Known(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Grows with each change, so that what was read before it is not kept.
    epoch: u64,
    rights: HashMap<UserId, Arc<Rights>>,
}

impl Known {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a person may do.
    pub async fn of(&self, store: &Store, user: UserId) -> Result<Arc<Rights>, Fault> {
        let epoch = {
            let state = self.state();
            if let Some(rights) = state.rights.get(&user) {
                return Ok(rights.clone());
            }
            state.epoch
        };
        let rights = Arc::new(read(store, user).await?);
        let mut state = self.state();
        if state.epoch == epoch {
            if state.rights.len() >= PEOPLE_MAX {
                state.rights.clear();
            }
            state.rights.insert(user, rights.clone());
        }
        Ok(rights)
    }

    /// Forgets everything that was read: a role, a grant or a person has changed.
    pub fn forget(&self) {
        let mut state = self.state();
        state.epoch += 1;
        state.rights.clear();
    }
}

async fn read(store: &Store, user: UserId) -> Result<Rights, Fault> {
    let mut held = Vec::new();
    for grant in store.grants_of(user).await? {
        held.push((grant.scope, permissions(store, &grant.role).await?));
    }
    Ok(Rights::of(held))
}

/// What a role allows; nothing when it is gone.
pub async fn permissions(store: &Store, role: &str) -> Result<Permissions, Fault> {
    if let Some(permissions) = built_in(role) {
        return Ok(permissions);
    }
    let Ok(id) = role.parse::<RoleId>() else { return Ok(Permissions::default()) };
    match store.role_get(id).await.map_err(Fault::from) {
        Ok(role) => Ok(role.permissions),
        Err(fault) if fault.code == FaultCode::NotFound => Ok(Permissions::default()),
        Err(fault) => Err(fault),
    }
}

/// What a thing is, or is part of: a grant on any of these reaches it. Nothing for what is not there.
pub async fn part_of(app: &App, thing: Thing) -> Result<Vec<Scope>, Fault> {
    match scopes(app, thing).await {
        Err(fault) if fault.code == FaultCode::NotFound => Ok(Vec::new()),
        scopes => scopes,
    }
}

async fn scopes(app: &App, thing: Thing) -> Result<Vec<Scope>, Fault> {
    let store = &app.core.store;
    let object = match thing {
        Thing::Task(id) => {
            let task = store.task_get(id).await?;
            Thing::parse(&task.object_kind, &task.object_id)
        }
        Thing::Event(id) => {
            let event = store.event_get(id).await?;
            Thing::parse(&event.object_kind, &event.object_id)
        }
        thing => Some(thing),
    };
    Ok(match object {
        Some(Thing::Host(id)) => vec![Scope::Host(id)],
        Some(Thing::Pool(id)) => vec![Scope::Pool(id)],
        Some(Thing::Vm(id)) => {
            // Whoever was given a VM is told that it is gone, not that they may not look.
            let vm = store.vm_find(id).await?;
            std::iter::once(Scope::Vm(id)).chain(vm.map(|vm| Scope::Host(vm.host_id))).collect()
        }
        Some(Thing::Volume(id)) => {
            let volume = store.volume_get(id).await?;
            std::iter::once(Scope::Pool(volume.pool_id)).chain(volume.vm_id.map(Scope::Vm)).collect()
        }
        Some(Thing::Image(id)) => vec![Scope::Pool(store.image_get(id).await?.pool_id)],
        Some(Thing::Alert(_) | Thing::Task(_) | Thing::Event(_) | Thing::Certificate(_)) | None => Vec::new(),
    })
}

/// The VMs that may be seen; `None`: all.
pub async fn vms_in(app: &App, sight: &Sight) -> Result<Option<BTreeSet<Uuid>>, Fault> {
    let Sight::Only(scopes) = sight else { return Ok(None) };
    let mut ids = BTreeSet::new();
    for scope in scopes {
        match scope {
            Scope::Vm(id) => drop(ids.insert(id.0)),
            Scope::Host(id) => {
                if let Ok(known) = app.core.rosters.get(*id).await {
                    ids.extend(known.roster.vms.iter().map(|vm| vm.id.0));
                }
            }
            Scope::Pool(_) | Scope::Everything => {}
        }
    }
    Ok(Some(ids))
}

/// The volumes that may be seen; `None`: all.
pub async fn volumes_in(app: &App, sight: &Sight) -> Result<Option<BTreeSet<Uuid>>, Fault> {
    let Sight::Only(scopes) = sight else { return Ok(None) };
    let (mut pools, mut vms) = (Vec::new(), Vec::new());
    for scope in scopes {
        match scope {
            Scope::Pool(id) => pools.push(*id),
            Scope::Vm(id) => vms.push(*id),
            Scope::Host(_) | Scope::Everything => {}
        }
    }
    Ok(Some(app.core.store.volume_ids_in(&pools, &vms).await?.into_iter().map(|id| id.0).collect()))
}

/// The pools that may be seen; `None`: all.
pub fn pools_in(sight: &Sight) -> Option<Vec<quantix_model::id::PoolId>> {
    let Sight::Only(scopes) = sight else { return None };
    let pool = |scope: &Scope| match scope {
        Scope::Pool(id) => Some(*id),
        _ => None,
    };
    Some(scopes.iter().filter_map(pool).collect())
}
