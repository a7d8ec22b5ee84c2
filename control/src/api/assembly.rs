//! What the nouns hand in to be served: RPC services, plain HTTP routes, views for the watch stream.

use crate::bus::Thing;
use futures::future::BoxFuture;
use quantix_contract::quantix::system::v1::Summary;
use quantix_contract::quantix::watch::v1::watch_response::Event;
use quantix_model::Fault;
use std::collections::HashMap;
use std::sync::Arc;

/// Loads what a watcher should see of a thing now; `None` when it is gone.
pub type ViewFn = Arc<dyn Fn(Thing) -> BoxFuture<'static, Result<Option<Event>, Fault>> + Send + Sync>;
/// Counts for the dashboard.
pub type SummaryFn = Arc<dyn Fn() -> BoxFuture<'static, Result<Summary, Fault>> + Send + Sync>;

/// Everything that is served. Each noun adds its own; nobody else's.
#[derive(Default)]
pub struct Assembly {
    /// All RPC services.
    pub rpc: connectrpc::Router,
    /// Plain HTTP under `/api/v1`.
    pub http: axum::Router,
    /// By `Thing::kind`.
    pub views: HashMap<&'static str, ViewFn>,
    /// Set by whoever knows hosts, pools and VMs.
    pub summary: Option<SummaryFn>,
}

impl Assembly {
    /// Adds an RPC service.
    pub fn service<S, M>(&mut self, service: Arc<S>)
    where
        Arc<S>: connectrpc::ServiceRegister<M>,
    {
        self.rpc = std::mem::take(&mut self.rpc).add_service(service);
    }

    /// Adds plain HTTP routes; each path also needs its row in [`crate::api::auth`].
    pub fn routes(&mut self, routes: axum::Router) {
        self.http = std::mem::take(&mut self.http).merge(routes);
    }

    /// Adds the view of a kind of thing.
    pub fn view<F, R>(&mut self, kind: &'static str, load: F)
    where
        F: Fn(Thing) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Option<Event>, Fault>> + Send + 'static,
    {
        self.views.insert(kind, Arc::new(move |thing| Box::pin(load(thing))));
    }
}
