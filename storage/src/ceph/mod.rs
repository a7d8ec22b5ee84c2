//! A pool of a Ceph cluster: each volume is an RBD image, raw, which QEMU reaches by itself.
//!
//! ```text
//!   object quantix_pool                          which pool of ours this is
//!   image  quantix-<volume id>                   a volume
//!          quantix-new-<volume id>-<n>-<host>    one being made by a host; renamed when it is whole
//!          quantix-gone-<volume id>-<n>          one being removed: large, or with snapshots
//!   snapshot clone-<volume id>                   what a linked clone without a snapshot of its own starts from; Ceph
//!                                                keeps it out of sight until the clone is gone (clone format 2)
//! ```
//! A blank thin volume is one call of `rbd create`: killed in its middle it leaves an entry that nothing can open,
//! so it is never listed, and the next try clears it. All else is made under a `new` name first. What is left under
//! `new` and `gone` names is swept in the background, at the start and when something was put there.
//!
//! The cluster itself guards what is open somewhere: each open image has a watcher.

mod command;
mod explore;
pub mod fault;
mod flatten;
mod names;
mod snapshots;
mod state;
mod sweep;
mod volumes;

use crate::backend::{
    Abilities, Attachment, Backend, LettingGo, PoolInfo, PoolSetup, Progress, VolumeInfo, VolumeWish,
};
use crate::ceph::command::{Cluster, Pace};
use crate::ceph::fault::errno;
use crate::error::{self, Result};
use crate::local::Steps;
use quantix_host::program::{BlockingRunner, SystemRunner};
use quantix_model::id::{PoolId, VolumeId};
use quantix_model::pool::spec::secret_uuid;
use quantix_model::pool::{CephSpec, PoolSpec};
use quantix_model::{Fault, FaultCode};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use sweep::Sweeper;
use uuid::Uuid;

/// The object that says whose pool this is.
const MARKER: &str = "quantix_pool";

/// See the module.
pub struct CephPool {
    id: PoolId,
    spec: CephSpec,
    must_exist: bool,
    shared: Arc<Shared>,
    sweeper: Option<Sweeper>,
    steps: Steps,
    state: Mutex<Option<state::Seen>>,
}

/// What calls and the sweeper share.
struct Shared {
    cluster: Cluster,
    /// As last seen: spares asking for what only growing and deleting change.
    known: Mutex<HashMap<VolumeId, VolumeInfo>>,
    /// Names of images being made here now.
    making: Mutex<HashSet<String>>,
    /// Volumes being changed here now.
    busy: Mutex<HashSet<Uuid>>,
}

#[derive(Serialize, Deserialize)]
struct Marker {
    pool_id: PoolId,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps others from changing the same volume meanwhile.
struct BusyGuard<'a>(&'a Mutex<HashSet<Uuid>>, Uuid);

impl Drop for BusyGuard<'_> {
    fn drop(&mut self) {
        locked(self.0).remove(&self.1);
    }
}

impl CephPool {
    /// The pool of a setup, on the real machine.
    pub fn new(setup: &PoolSetup) -> Result<CephPool> {
        CephPool::with(setup, Arc::new(SystemRunner), Arc::new(|_| Ok(())))
    }

    /// The same with another way to run programs and a hook on every step; for tests.
    pub fn with(setup: &PoolSetup, runner: Arc<dyn BlockingRunner>, steps: Steps) -> Result<CephPool> {
        let PoolSpec::Ceph(spec) = &setup.spec else {
            return Err(Fault::internal("a Ceph pool was asked for with another backend's spec"));
        };
        let shared = Shared {
            cluster: Cluster::new(spec, runner)?,
            known: Mutex::default(),
            making: Mutex::default(),
            busy: Mutex::default(),
        };
        Ok(CephPool {
            id: setup.id,
            spec: spec.clone(),
            must_exist: setup.must_exist,
            shared: Arc::new(shared),
            sweeper: None,
            steps,
            state: Mutex::default(),
        })
    }

    fn cluster(&self) -> &Cluster {
        &self.shared.cluster
    }

    fn step(&self, name: &'static str) -> Result<()> {
        (self.steps)(name)
    }

    fn busy(&self, id: VolumeId) -> Result<BusyGuard<'_>> {
        let busy = &self.shared.busy;
        if locked(busy).insert(id.0) { Ok(BusyGuard(busy, id.0)) } else { Err(error::busy("volume", id)) }
    }

    fn sweep_soon(&self) {
        if let Some(sweeper) = &self.sweeper {
            sweeper.wake();
        }
    }

    /// Refuses a Ceph pool of another pool of ours; marks one of nobody.
    fn claim(&self) -> Result<()> {
        // Of all Ceph's programs `rbd` says best why it is not let in.
        let (step, list) = ("opening the pool", ["ls", self.spec.pool.as_str()]);
        if let Err(refusal) = self.cluster().rbd(step, Pace::Look, &list)? {
            // At an unusual port a client tries both of Ceph's protocols, and a refusal by one drowns in the silence
            // of the other.
            let fault = self.cluster().fault(&refusal);
            if let Some(monitors) = unusual(&self.spec.monitors).filter(|_| refusal.is_silence()) {
                self.cluster().listen_again();
                let second =
                    self.cluster().rbd(step, Pace::Look, &[&["-m", &monitors][..], &list].concat())?;
                let told = second.err().filter(|second| !second.is_silence());
                return Err(told.map_or(fault, |second| self.cluster().fault(&second)));
            }
            return Err(fault);
        }
        let step = "reading the pool's marker";
        match self.cluster().rados(step, Pace::Look, &["get", MARKER, "-"], &[])? {
            Ok(output) => match serde_json::from_slice::<Marker>(&output.stdout) {
                Ok(marker) if marker.pool_id == self.id => Ok(()),
                Ok(marker) => Err(taken(format!(
                    "The Ceph pool {:?} belongs to the pool {}.",
                    self.spec.pool, marker.pool_id
                ))),
                Err(e) => {
                    Err(taken(format!("The Ceph pool {:?} has a marker nobody can read.", self.spec.pool))
                        .because(e))
                }
            },
            Err(refusal) if refusal.is_missing_image() && self.must_exist => Err(Fault::new(
                FaultCode::PoolForeignData,
                format!("The Ceph pool {:?} does not hold the pool any more.", self.spec.pool),
                "It may have been deleted and made anew; if its contents are lost for good, delete the pool.",
            )
            .because(refusal.said)),
            Err(refusal) if refusal.is_missing_image() => self.mark(),
            Err(refusal) => Err(self.cluster().fault(&refusal)),
        }
    }

    fn mark(&self) -> Result<()> {
        self.step("init: marker")?;
        let text = serde_json::to_vec(&Marker { pool_id: self.id }).map_err(Fault::internal)?;
        let args = ["put", MARKER, "-"];
        let put = self.cluster().rados("marking the pool", Pace::Change, &args, &text)?;
        put.map(drop).map_err(|refusal| self.cluster().fault(&refusal))
    }
}

/// The monitors by Ceph's second protocol only, when one has an address and a port that tell neither.
fn unusual(monitors: &[String]) -> Option<String> {
    let addresses: Vec<SocketAddr> = monitors.iter().filter_map(|monitor| monitor.parse().ok()).collect();
    let any = addresses.iter().any(|address| !matches!(address.port(), 3300 | 6789));
    let all: Vec<String> = addresses.iter().map(|address| format!("[v2:{address}]")).collect();
    any.then(|| all.join(","))
}

fn taken(message: String) -> Fault {
    Fault::new(
        FaultCode::PoolForeignData,
        message,
        format!(
            "Make another Ceph pool; or, if no pool needs this one, remove its object {MARKER} with `rados rm`."
        ),
    )
}

impl Backend for CephPool {
    fn init(&mut self) -> Result<()> {
        self.claim()?;
        self.step("init: sweep")?;
        self.sweeper = Some(Sweeper::start(&self.shared)?);
        self.sweep_soon();
        Ok(())
    }

    /// Each program lets go of the cluster by itself.
    fn destroy(&self, _: LettingGo) -> Result<()> {
        Ok(())
    }

    fn info(&self) -> Result<PoolInfo> {
        self.look()
    }

    fn volume_create(&self, wish: &VolumeWish, progress: &mut dyn FnMut(Progress)) -> Result<VolumeInfo> {
        self.create_volume(wish, progress)
    }

    fn volume_delete(&self, id: VolumeId) -> Result<bool> {
        self.delete_volume(id)
    }

    fn volume_list(&self) -> Result<Vec<VolumeInfo>> {
        self.list_volumes()
    }

    fn volume_attach(&self, id: VolumeId) -> Result<Attachment> {
        if locked(&self.shared.busy).contains(&id.0) {
            return Err(error::busy("volume", id));
        }
        self.find_volume(id)?.ok_or_else(|| error::volume_missing(id))?;
        Ok(Attachment::Rbd {
            monitors: self.spec.monitors.clone(),
            pool: self.spec.pool.clone(),
            image: names::volume(id),
            user: self.spec.user.clone(),
            secret_uuid: secret_uuid(self.id),
        })
    }

    fn abilities(&self) -> Abilities<'_> {
        Abilities {
            grow: Some(self),
            flatten: Some(self),
            snapshots: Some(self),
            explore: Some(self),
            ..Abilities::default()
        }
    }
}

/// A refusal that means "there is one already".
fn exists(refusal: &fault::Refusal) -> bool {
    refusal.errno == errno::EXIST
}
