//! The vDC itself on the wire.

use crate::api::Assembly;
use crate::api::assembly::SummaryFn;
use crate::api::error::reply;
use crate::core::Core;
use connectrpc::{RequestContext, ServiceRequest, ServiceResult};
use quantix_contract::quantix::system::v1 as wire;
use quantix_contract::time::to_proto;
use quantix_model::Fault;
use std::sync::Arc;

struct Api {
    core: Arc<Core>,
    counts: Option<SummaryFn>,
}

/// Serves the summary; mounted last, when it is known who counts.
pub fn mount(assembly: &mut Assembly, core: &Arc<Core>) {
    let counts = assembly.summary.clone();
    assembly.service(Arc::new(Api { core: core.clone(), counts }));
}

impl Api {
    async fn summary(&self) -> Result<wire::Summary, Fault> {
        let counts = match &self.counts {
            Some(counts) => counts().await?,
            None => return Err(Fault::internal("nobody counts hosts, pools and VMs")),
        };
        Ok(wire::Summary {
            version: crate::VERSION.to_owned(),
            started_at: to_proto(self.core.started_at).into(),
            store_fault: self.core.store_health.fault().as_ref().map(Into::into).into(),
            now: to_proto(self.core.clock.now()).into(),
            ..counts
        })
    }
}

impl wire::SystemService for Api {
    async fn get_summary(
        &self,
        _context: RequestContext,
        _request: ServiceRequest<'_, wire::GetSummaryRequest>,
    ) -> ServiceResult<wire::Summary> {
        reply(self.summary().await)
    }
}
