//! A hypervisor whose calls are counted and timed; it adds nothing else.

use super::Metrics;
use async_trait::async_trait;
use quantix_hypervisor::driver::{
    DiskReport, Disks, Driver, Machine, MachineDisk, MachineEvent, MachineReport, Result, Secrets,
};
use quantix_model::Secret;
use quantix_model::host::Engine;
use quantix_model::id::VmId;
use quantix_model::vm::PowerVerb;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::broadcast;
use uuid::Uuid;

/// See the module.
pub struct Counted {
    inner: Arc<dyn Driver>,
    metrics: Arc<Metrics>,
}

impl Counted {
    /// Counts the calls of `inner`.
    pub fn wrap(inner: Arc<dyn Driver>, metrics: Arc<Metrics>) -> Arc<dyn Driver> {
        Arc::new(Counted { inner, metrics })
    }

    async fn count<T>(&self, call: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        let began = Instant::now();
        let done = work.await;
        self.metrics.vm_call(call, &done, began.elapsed());
        done
    }
}

#[async_trait]
impl Driver for Counted {
    async fn engine(&self) -> Engine {
        let began = Instant::now();
        let engine = self.inner.engine().await;
        let result = engine.fault.clone().map_or(Ok(()), Err);
        self.metrics.vm_call("engine", &result, began.elapsed());
        engine
    }
    async fn define(&self, machine: &Machine) -> Result<()> {
        self.count("define", self.inner.define(machine)).await
    }
    async fn undefine(&self, id: VmId) -> Result<bool> {
        self.count("undefine", self.inner.undefine(id)).await
    }
    async fn power(&self, id: VmId, verb: PowerVerb) -> Result<()> {
        self.count(verb.as_str(), self.inner.power(id, verb)).await
    }
    async fn get(&self, id: VmId) -> Result<Option<MachineReport>> {
        self.count("get", self.inner.get(id)).await
    }
    async fn list(&self) -> Result<Vec<MachineReport>> {
        self.count("list", self.inner.list()).await
    }
    async fn console(&self, id: VmId) -> Result<UnixStream> {
        self.count("console", self.inner.console(id)).await
    }
    fn events(&self) -> broadcast::Receiver<MachineEvent> {
        self.inner.events()
    }
}

#[async_trait]
impl Disks for Counted {
    async fn disk_list(&self, id: VmId) -> Result<Vec<DiskReport>> {
        self.count("disk_list", self.inner.disk_list(id)).await
    }
    async fn disk_attach(&self, id: VmId, disk: &MachineDisk) -> Result<()> {
        self.count("disk_attach", self.inner.disk_attach(id, disk)).await
    }
    async fn disk_detach(&self, id: VmId, serial: &str) -> Result<()> {
        self.count("disk_detach", self.inner.disk_detach(id, serial)).await
    }
    async fn disk_grow(&self, id: VmId, serial: &str, size_bytes: u64) -> Result<()> {
        self.count("disk_grow", self.inner.disk_grow(id, serial, size_bytes)).await
    }
}

#[async_trait]
impl Secrets for Counted {
    async fn secret_set(&self, uuid: Uuid, usage: &str, key: &Secret) -> Result<()> {
        self.count("secret_set", self.inner.secret_set(uuid, usage, key)).await
    }
    async fn secret_remove(&self, uuid: Uuid) -> Result<bool> {
        self.count("secret_remove", self.inner.secret_remove(uuid)).await
    }
}
