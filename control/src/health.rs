//! Whether the store takes what is written to it, for whoever asks: `/readyz`, the dashboard, the log.
//!
//! A service that met a store in trouble makes it suspect; [`crate::reconcilers::store`] then looks.

use quantix_model::{Fault, UnixMs};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// What is known of the store.
#[derive(Debug, Default)]
pub struct StoreHealth {
    trouble: Mutex<Option<(UnixMs, Fault)>>,
    suspect: Notify,
}

impl StoreHealth {
    fn guard(&self) -> MutexGuard<'_, Option<(UnixMs, Fault)>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is wrong with it now, if anything is.
    pub fn fault(&self) -> Option<Fault> {
        self.guard().as_ref().map(|(_, fault)| fault.clone())
    }

    /// Somebody could not use it.
    pub fn suspect(&self) {
        self.suspect.notify_one();
    }

    /// Waits until somebody could not use it.
    pub async fn suspected(&self) {
        self.suspect.notified().await;
    }

    /// It did not take a write; the first of these counts as the beginning. True for the first.
    pub fn failed(&self, at: UnixMs, fault: Fault) -> bool {
        let mut trouble = self.guard();
        let since = trouble.as_ref().map_or(at, |(since, _)| *since);
        trouble.replace((since, fault)).is_none()
    }

    /// It takes writes; what was wrong since when, if anything was.
    pub fn recovered(&self) -> Option<(UnixMs, Fault)> {
        self.guard().take()
    }
}
