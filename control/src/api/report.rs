//! Beats on the wire: the one service of the vDC that hosts call.

use crate::api::Assembly;
use crate::api::auth;
use crate::api::error::reply;
use crate::metrics::Beat;
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
        let beat = request.to_owned_message();
        let news = self.0.live.is_newer(caller, &beat.boot_id, beat.sequence);
        let answer = report::beat(&self.0, caller, beat).await;
        self.0.core.metrics.beat(match &answer {
            Ok(_) if news => Beat::Taken,
            Ok(_) => Beat::Late,
            Err(_) => Beat::Refused,
        });
        reply(answer)
    }
}
