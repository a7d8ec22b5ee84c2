//! (to come)
pub mod sniff;
use crate::backend::*;
use crate::error::Result;
/// A local pool.
pub struct LocalPool;
impl LocalPool {
    /// new
    pub fn new(_: &PoolSetup) -> Result<LocalPool> {
        Ok(LocalPool)
    }
}
use quantix_model::Fault;
use quantix_model::id::VolumeId;
fn nope<T>() -> Result<T> {
    Err(Fault::internal("to come"))
}
impl Backend for LocalPool {
    fn init(&mut self) -> Result<()> {
        nope()
    }
    fn info(&self) -> Result<PoolInfo> {
        nope()
    }
    fn volume_create(&self, _: &VolumeWish, _: &mut dyn FnMut(Progress)) -> Result<VolumeInfo> {
        nope()
    }
    fn volume_delete(&self, _: VolumeId) -> Result<bool> {
        nope()
    }
    fn volume_list(&self) -> Result<Vec<VolumeInfo>> {
        nope()
    }
    fn volume_attach(&self, _: VolumeId) -> Result<Attachment> {
        nope()
    }
    fn files(&self) -> Option<&dyn Files> {
        None
    }
    fn images(&self) -> Option<&dyn Images> {
        None
    }
}
