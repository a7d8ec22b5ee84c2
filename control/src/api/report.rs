//! Beats on the wire: the one service of the vDC that hosts call.

use crate::api::Assembly;
use crate::api::auth;
use crate::api::error::reply;
use crate::metrics::Beat;
use crate::services::{App, certificate, report};
use connectrpc::{PeerAddr, PeerCerts, RequestContext, ServiceRequest, ServiceResult};
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
        let address = context.extensions().get::<PeerAddr>().map(|peer| peer.0.ip().to_string());
        let answer = match self.0.lives.may_beat(caller, self.0.core.clock.now()) {
            Ok(()) => {
                let beat = request.to_owned_message();
                report::beat(&self.0, caller, &address.unwrap_or_default(), beat).await
            }
            Err(fault) => Err(fault),
        };
        self.0.core.metrics.beat(match &answer {
            Ok((_, true)) => Beat::Taken,
            Ok((_, false)) => Beat::Late,
            Err(_) => Beat::Refused,
        });
        reply(answer.map(|(answer, _)| answer))
    }

    async fn renew_certificate(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::RenewCertificateRequest>,
    ) -> ServiceResult<wire::RenewCertificateResponse> {
        let caller = auth::host(&context)?;
        let leaf = context.extensions().get::<PeerCerts>().and_then(|chain| chain.0.first());
        let leaf = leaf.map(|der| der.to_vec()).unwrap_or_default();
        reply(certificate::renew(&self.0, caller, &leaf, request.public_key_der).await)
    }
}
