//! Beats on the wire: the one service of the vDC that hosts call.

use crate::api::Assembly;
use crate::api::auth;
use crate::api::error::reply;
use crate::services::{App, report};
use connectrpc::{RequestContext, ServiceRequest, ServiceResult};
use quantix_contract::quantix::node::v1 as wire;
use std::sync::Arc;

struct Api(Arc<App>);

/// Serves beats.
pub fn mount(assembly: &mut Assembly, app: &Arc<App>) {
    assembly.service(Arc::new(Api(app.clone())));
}

impl wire::ReportService for Api {
    async fn beat(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::BeatRequest>,
    ) -> ServiceResult<wire::BeatResponse> {
        let caller = auth::host(&context)?;
        reply(report::beat(&self.0, caller, request.to_owned_message()).await)
    }
}
