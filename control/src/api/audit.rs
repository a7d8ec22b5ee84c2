//! The audit log on the wire: pages of it, a check of the whole chain, and all of it as lines of JSON.

use crate::api::Assembly;
use crate::api::error::{json_response, reply};
use crate::services::App;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use connectrpc::{RequestContext, ServiceRequest, ServiceResult};
use futures::stream;
use http::{HeaderValue, header};
use quantix_contract::quantix::audit::v1 as wire;
use quantix_contract::time::{from_proto, to_proto};
use quantix_model::Fault;
use quantix_store::{AuditFilter, AuditRecord};
use std::sync::Arc;

/// Rows read at once for an export.
const EXPORT_AT_ONCE: u64 = 1000;

struct Api(Arc<App>);

/// Serves the audit log.
pub fn mount(assembly: &mut Assembly, app: &Arc<App>) {
    assembly.service(Arc::new(Api(app.clone())));
    assembly.routes(axum::Router::new().route("/api/v1/audit", get(export)).with_state(app.clone()));
}

fn view(row: AuditRecord) -> wire::AuditRow {
    wire::AuditRow {
        number: row.number,
        at: to_proto(row.at).into(),
        actor_kind: row.actor_kind,
        actor_id: row.actor_id,
        actor_name: row.actor_name,
        address: row.address,
        action: row.action,
        object_kind: row.object_kind,
        object_id: row.object_id,
        object_name: row.object_name,
        result: row.result,
        detail: row.detail,
        ..Default::default()
    }
}

impl Api {
    async fn list(&self, asked: wire::ListAuditRequest) -> Result<wire::ListAuditResponse, Fault> {
        let request = super::page(&asked.filter, asked.page_size, &asked.page_token, None)?;
        let filter = AuditFilter {
            object_id: asked.object_id,
            actor_id: asked.actor_id,
            failed: asked.failed,
            from: asked.from.as_option().map(from_proto),
            to: asked.to.as_option().map(from_proto),
        };
        let page = self.0.core.store.audit_page(&request, &filter).await?;
        Ok(wire::ListAuditResponse {
            rows: page.rows.into_iter().map(view).collect(),
            next_page_token: page.next_token,
            total: page.total,
            keep_days: self.0.core.config.audit_keep_days,
            ..Default::default()
        })
    }

    async fn verify(&self) -> Result<wire::VerifyAuditResponse, Fault> {
        let core = &self.0.core;
        let verdict = core.audit.verify(&core.seal).await?;
        let (broken_at, broken) = verdict.broken.unwrap_or_default();
        Ok(wire::VerifyAuditResponse {
            rows: verdict.rows,
            first: verdict.first,
            last: verdict.last,
            broken_at,
            broken,
            ..Default::default()
        })
    }
}

impl wire::AuditService for Api {
    async fn list_audit(
        &self,
        _context: RequestContext,
        request: ServiceRequest<'_, wire::ListAuditRequest>,
    ) -> ServiceResult<wire::ListAuditResponse> {
        reply(self.list(request.to_owned_message()).await)
    }

    async fn verify_audit(
        &self,
        _context: RequestContext,
        _request: ServiceRequest<'_, wire::VerifyAuditRequest>,
    ) -> ServiceResult<wire::VerifyAuditResponse> {
        reply(self.verify().await)
    }
}

/// One row as a line of JSON, with its MAC, so that the chain can be followed elsewhere too.
pub fn line(row: &AuditRecord) -> String {
    let at = jiff::Timestamp::from_millisecond(row.at.0).map(|at| at.to_string()).unwrap_or_default();
    let line = serde_json::json!({
        "number": row.number,
        "at": at,
        "actor_kind": row.actor_kind,
        "actor_id": row.actor_id,
        "actor_name": row.actor_name,
        "address": row.address,
        "action": row.action,
        "object_kind": row.object_kind,
        "object_id": row.object_id,
        "object_name": row.object_name,
        "result": row.result,
        "detail": row.detail,
        "key_id": row.key_id,
        "mac": row.mac,
    });
    format!("{line}\n")
}

/// Everything, oldest first, read as fast as it is taken.
async fn export(State(app): State<Arc<App>>) -> Response {
    let first = match app.core.store.audit_cut().await {
        Ok(cut) => cut.unwrap_or_default().number,
        Err(err) => return json_response(&err.into()),
    };
    let lines = stream::try_unfold(first, move |after| {
        let app = app.clone();
        async move {
            let rows = app.core.store.audit_some(after, EXPORT_AT_ONCE).await?;
            let Some(last) = rows.last().map(|row| row.number) else { return Ok(None) };
            let lines: String = rows.iter().map(line).collect();
            Ok::<_, quantix_store::StoreError>(Some((Bytes::from(lines), last)))
        }
    });
    let mut response = Response::new(Body::from_stream(lines));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    let name = HeaderValue::from_static("attachment; filename=\"quantix-audit.jsonl\"");
    headers.insert(header::CONTENT_DISPOSITION, name);
    response
}
