//! Certificates on the wire.

use crate::api::error::reply;
use crate::api::{Assembly, auth, reach};
use crate::services::{App, certificate};
use connectrpc::{RequestContext, ServiceRequest, ServiceResult};
use quantix_contract::quantix::certificate::v1 as wire;
use quantix_model::Fault;
use std::sync::Arc;

struct Api(Arc<App>);

/// Serves certificates.
pub fn mount(assembly: &mut Assembly, app: &Arc<App>) {
    assembly.service(Arc::new(Api(app.clone())));
}

impl Api {
    /// What is so after a change.
    async fn after(&self, changed: Result<(), Fault>) -> ServiceResult<wire::Certificates> {
        reply(match changed {
            Ok(()) => certificate::get(&self.0).await,
            Err(fault) => Err(fault),
        })
    }
}

impl wire::CertificateService for Api {
    async fn get_certificates(
        &self,
        context: RequestContext,
        _request: ServiceRequest<'_, wire::GetCertificatesRequest>,
    ) -> ServiceResult<wire::Certificates> {
        let found = certificate::get(&self.0).await;
        reply(found.map(|found| reach::limit(&auth::rights(&context), found)))
    }

    async fn upload_certificate(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::UploadCertificateRequest>,
    ) -> ServiceResult<wire::Certificates> {
        let user = &auth::person(&context)?.name;
        self.after(certificate::upload(&self.0, user, request.chain_pem, request.key_pem).await).await
    }

    async fn remove_certificate(
        &self,
        context: RequestContext,
        _request: ServiceRequest<'_, wire::RemoveCertificateRequest>,
    ) -> ServiceResult<wire::Certificates> {
        let user = &auth::person(&context)?.name;
        self.after(certificate::remove(&self.0, user).await).await
    }

    async fn rotate_authority(
        &self,
        context: RequestContext,
        _request: ServiceRequest<'_, wire::RotateAuthorityRequest>,
    ) -> ServiceResult<wire::Certificates> {
        let user = &auth::person(&context)?.name;
        self.after(certificate::rotate(&self.0, user).await).await
    }
}
