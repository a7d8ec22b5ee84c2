//! Files on the wire: the RPCs, and their bytes going out (`GET`, with ranges).
//!
//! A file's bytes are anybody's: they are always a download, of no type a browser would run, in a sandbox.

use crate::api::Assembly;
use crate::api::auth::{self, Caller};
use crate::api::error::{json_response, reply, rpc};
use crate::api::reach;
use crate::bus::Thing;
use crate::services::{App, audit, file, file_upload, file_work};
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use connectrpc::{ConnectError, RequestContext, ServiceRequest, ServiceResult};
use quantix_contract::quantix::file::v1 as wire;
use quantix_model::Fault;
use quantix_model::id::PoolId;
use quantix_model::right::Permission;
use serde::Deserialize;
use std::fmt::Write as _;
use std::sync::Arc;

struct Api(Arc<App>);

/// Serves files.
pub fn mount(assembly: &mut Assembly, app: &Arc<App>) {
    assembly.service(Arc::new(Api(app.clone())));
    let download = get(download).with_state(app.clone());
    assembly.routes(Router::new().route("/api/v1/pools/{pool_id}/files", download));
}

fn task(done: Result<quantix_model::id::TaskId, Fault>) -> ServiceResult<wire::FileTask> {
    reply(done.map(|id| wire::FileTask { task_id: id.to_string(), ..Default::default() }))
}

impl Api {
    /// Refuses who may not do this to this pool.
    async fn check(
        &self,
        context: &RequestContext,
        permission: Permission,
        id: Result<PoolId, Fault>,
    ) -> Result<(), ConnectError> {
        let checked = async { auth::allow(&self.0, context, permission, Thing::Pool(id?)).await };
        checked.await.map_err(|fault| rpc(&fault))
    }
}

impl wire::FileService for Api {
    async fn get_file(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::GetFileRequest>,
    ) -> ServiceResult<wire::FileDetails> {
        self.check(&context, Permission::FileRead, request.pool_id.parse()).await?;
        let mut found = async { file::get(&self.0, request.pool_id.parse()?, request.path).await }.await;
        if let Some(file) = found.as_mut().ok().and_then(|details| details.file.as_option_mut()) {
            reach::limit_file(&auth::rights(&context), request.pool_id, file);
        }
        reply(found)
    }

    async fn make_folder(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::MakeFolderRequest>,
    ) -> ServiceResult<wire::FileDetails> {
        self.check(&context, Permission::FileWrite, request.pool_id.parse()).await?;
        reply(async { file::make_folder(&self.0, request.pool_id.parse()?, request.path).await }.await)
    }

    async fn move_file(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::MoveFileRequest>,
    ) -> ServiceResult<wire::FileDetails> {
        self.check(&context, Permission::FileWrite, request.pool_id.parse()).await?;
        let asked = async {
            file::rename(&self.0, request.pool_id.parse()?, request.from_path, request.to_path).await
        };
        reply(asked.await)
    }

    async fn copy_file(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::CopyFileRequest>,
    ) -> ServiceResult<wire::FileTask> {
        self.check(&context, Permission::FileWrite, request.pool_id.parse()).await?;
        let user = &auth::person(&context)?.name;
        let asked = async {
            let pool = request.pool_id.parse()?;
            file_work::copy(&self.0, user, pool, request.from_path, request.to_path).await
        };
        task(asked.await)
    }

    async fn delete_file(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::DeleteFileRequest>,
    ) -> ServiceResult<wire::FileTask> {
        self.check(&context, Permission::FileWrite, request.pool_id.parse()).await?;
        let user = &auth::person(&context)?.name;
        task(async { file_work::delete(&self.0, user, request.pool_id.parse()?, request.path).await }.await)
    }

    async fn create_upload(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::CreateUploadRequest>,
    ) -> ServiceResult<wire::CreateUploadResponse> {
        self.check(&context, Permission::FileWrite, request.pool_id.parse()).await?;
        let user = &auth::person(&context)?.name;
        let asked = async {
            let (pool, size_bytes) = (request.pool_id.parse()?, request.size_bytes);
            file_upload::create(&self.0, user, pool, request.path, size_bytes, request.sha256).await
        };
        reply(asked.await)
    }
}

#[derive(Deserialize)]
struct Which {
    #[serde(default)]
    path: String,
}

/// Headers of the host's answer that go on to the browser.
const PASSED_ON: [header::HeaderName; 5] = [
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::ACCEPT_RANGES,
    header::ETAG,
    header::LAST_MODIFIED,
];

async fn download(
    State(app): State<Arc<App>>,
    Path(pool): Path<String>,
    Query(which): Query<Which>,
    Extension(caller): Extension<Caller>,
    asked: HeaderMap,
) -> Response {
    let answered = async {
        let id: PoolId = pool.parse()?;
        auth::allow_caller(&app, &caller, Permission::FileRead, Thing::Pool(id)).await?;
        audit::about("pool", id, &which.path);
        file::download(&app, id, &which.path, &asked).await
    };
    let answered = answered.await;
    let (head, body) = match answered {
        Ok(answer) => answer.into_parts(),
        Err(fault) => return json_response(&fault),
    };
    let mut response = Response::new(Body::new(body));
    *response.status_mut() = head.status;
    let headers = response.headers_mut();
    for name in PASSED_ON {
        if let Some(value) = head.headers.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    let alone = "sandbox; default-src 'none'; frame-ancestors 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(alone));
    if let Ok(value) = HeaderValue::try_from(disposition(&which.path)) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    response
}

/// How the file is called when saved (RFC 6266, with the name as RFC 8187 wants it).
fn disposition(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or_default();
    let mut text = "attachment; filename*=UTF-8''".to_owned();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => text.push(char::from(byte)),
            other => write!(text, "%{other:02X}").expect("writing to a string"),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::disposition;

    #[test]
    fn names_cannot_break_out_of_the_header() {
        for (path, wanted) in [
            ("a/b.iso", "b.iso"),
            ("a b\"c\n;.img", "a%20b%22c%0A%3B.img"),
            ("ä", "%C3%A4"),
            ("x/../..", ".."),
        ] {
            assert_eq!(disposition(path), format!("attachment; filename*=UTF-8''{wanted}"));
        }
    }
}
