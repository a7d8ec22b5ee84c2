//! Images on the wire: the RPCs, and the upload of their bytes (tus 1.0 core: HEAD, PATCH, OPTIONS).

use crate::api::Assembly;
use crate::api::auth::{self, Caller};
use crate::api::error::{json_response, reply, rpc};
use crate::api::reach;
use crate::bus::Thing;
use crate::services::upload::Offset;
use crate::services::{App, audit, image, upload};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use axum::response::Response;
use axum::routing::{head, options, patch};
use axum::{Extension, Router};
use connectrpc::{ConnectError, RequestContext, ServiceRequest, ServiceResult};
use quantix_contract::quantix::image::v1 as wire;
use quantix_contract::quantix::watch::v1::watch_response::Event;
use quantix_model::id::ImageId;
use quantix_model::right::{Permission, Sight};
use quantix_model::{Fault, FaultCode};
use std::sync::Arc;

/// The protocol's version, in each answer.
const TUS: &str = "1.0.0";
/// The one kind of body a PATCH may have.
const BYTES_KIND: &str = "application/offset+octet-stream";

struct Api(Arc<App>);

/// Serves images and their uploads.
pub fn mount(assembly: &mut Assembly, app: &Arc<App>) {
    assembly.service(Arc::new(Api(app.clone())));
    let upload = head(tell).merge(patch(take)).merge(options(abilities));
    assembly.routes(Router::new().route("/api/v1/uploads/{image_id}", upload).with_state(app.clone()));
    let app = app.clone();
    assembly.view("image", move |thing| {
        let app = app.clone();
        async move {
            let Thing::Image(id) = thing else { return Ok(None) };
            super::if_there(image::get(&app, id).await.map(Event::from))
        }
    });
}

impl Api {
    async fn list(
        &self,
        asked: wire::ListImagesRequest,
        sight: &Sight,
    ) -> Result<wire::ListImagesResponse, Fault> {
        let order = asked.order.as_option();
        let request = super::page(&asked.filter, asked.page_size, &asked.page_token, order)?;
        let page = image::list(&self.0, &request, sight).await?;
        Ok(wire::ListImagesResponse {
            images: page.rows,
            next_page_token: page.next_token,
            total: page.total,
            ..Default::default()
        })
    }

    async fn create(
        &self,
        user: &str,
        request: wire::CreateImageRequest,
    ) -> Result<wire::CreateImageResponse, Fault> {
        let pool = request.pool_id.parse()?;
        let made = image::create(&self.0, user, &request.name, pool, request.size_bytes, &request.sha256);
        let (image, task) = made.await?;
        Ok(wire::CreateImageResponse {
            upload_path: image.upload_path.clone(),
            image: image.into(),
            task_id: task.to_string(),
            ..Default::default()
        })
    }
}

impl Api {
    /// Refuses who may not do this to this image.
    async fn check(
        &self,
        context: &RequestContext,
        permission: Permission,
        id: Result<ImageId, Fault>,
    ) -> Result<(), ConnectError> {
        let checked = async { auth::allow(&self.0, context, permission, Thing::Image(id?)).await };
        checked.await.map_err(|fault| rpc(&fault))
    }
}

impl wire::ImageService for Api {
    async fn list_images(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::ListImagesRequest>,
    ) -> ServiceResult<wire::ListImagesResponse> {
        let asked = async {
            let sight = auth::sight(&context, Permission::ImageView)?;
            let mut answer = self.list(request.to_owned_message(), &sight).await?;
            answer.images = reach::limit_all(&auth::rights(&context), answer.images);
            Ok(answer)
        };
        reply(asked.await)
    }

    async fn get_image(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::GetImageRequest>,
    ) -> ServiceResult<wire::Image> {
        self.check(&context, Permission::ImageView, request.id.parse()).await?;
        let image = async { image::get(&self.0, request.id.parse()?).await }.await;
        reply(image.map(|image| reach::limit(&auth::rights(&context), image)))
    }

    async fn create_image(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::CreateImageRequest>,
    ) -> ServiceResult<wire::CreateImageResponse> {
        let person = auth::person(&context)?;
        let asked = async {
            let pool = Thing::Pool(request.pool_id.parse()?);
            auth::allow(&self.0, &context, Permission::ImageManage, pool).await?;
            let made = self.create(&person.name, request.to_owned_message()).await?;
            if let Some(image) = made.image.as_option() {
                audit::about("image", &image.id, &image.name);
            }
            Ok(made)
        };
        reply(asked.await)
    }

    async fn delete_image(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::DeleteImageRequest>,
    ) -> ServiceResult<wire::DeleteImageResponse> {
        self.check(&context, Permission::ImageManage, request.id.parse()).await?;
        let person = auth::person(&context)?;
        let gone = async { image::delete(&self.0, &person.name, request.id.parse()?).await }.await;
        reply(gone.map(|()| wire::DeleteImageResponse::default()))
    }
}

fn tus(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.headers_mut().insert("tus-resumable", HeaderValue::from_static(TUS));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn refused(fault: &Fault) -> Response {
    let mut response = json_response(fault);
    response.headers_mut().insert("tus-resumable", HeaderValue::from_static(TUS));
    response
}

async fn abilities() -> Response {
    let mut response = tus(StatusCode::NO_CONTENT);
    response.headers_mut().insert("tus-version", HeaderValue::from_static(TUS));
    response
}

fn check_version(headers: &HeaderMap) -> Result<(), Response> {
    match headers.get("tus-resumable").map(|v| v.as_bytes()) {
        Some(version) if version == TUS.as_bytes() => Ok(()),
        _ => {
            let mut response = tus(StatusCode::PRECONDITION_FAILED);
            response.headers_mut().insert("tus-version", HeaderValue::from_static(TUS));
            Err(response)
        }
    }
}

fn offset_answer(status: StatusCode, at: Offset) -> Response {
    let mut response = tus(status);
    response.headers_mut().insert("upload-offset", at.offset.into());
    response.headers_mut().insert("upload-length", at.length.into());
    response
}

/// Uploads of images, and of files that are no images, under one kind of id.
async fn check_upload(app: &App, caller: &Caller, id: ImageId) -> Result<(), Fault> {
    let (pool, is_image) = upload::place(app, id).await?;
    let permission = if is_image { Permission::ImageManage } else { Permission::FileWrite };
    auth::allow_caller(app, caller, permission, Thing::Pool(pool)).await
}

async fn tell(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Response {
    if let Err(response) = check_version(&headers) {
        return response;
    }
    let told = async {
        let id: ImageId = id.parse()?;
        check_upload(&app, &caller, id).await?;
        upload::offset(&app, id).await
    };
    let told = told.await;
    match told {
        Ok(at) => offset_answer(StatusCode::OK, at),
        Err(fault) => refused(&fault),
    }
}

async fn take(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Extension(caller): Extension<Caller>,
    request: Request<Body>,
) -> Response {
    if let Err(response) = check_version(request.headers()) {
        return response;
    }
    match taken(&app, &caller, &id, request).await {
        Ok(at) => offset_answer(StatusCode::NO_CONTENT, at),
        Err(fault) => refused(&fault),
    }
}

async fn taken(app: &App, caller: &Caller, id: &str, request: Request<Body>) -> Result<Offset, Fault> {
    let id: ImageId = id.parse()?;
    check_upload(app, caller, id).await?;
    let headers = request.headers();
    if headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes) != Some(BYTES_KIND.as_bytes()) {
        return Err(Fault::invalid(
            "content-type",
            "The body is not announced as a piece of an upload.",
            format!("Send content-type: {BYTES_KIND}."),
        ));
    }
    let number = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    let from = number("upload-offset").ok_or_else(|| {
        Fault::invalid("upload-offset", "It is not said where the bytes go.", "Send upload-offset: a number.")
    })?;
    let known = number(header::CONTENT_LENGTH.as_str()).unwrap_or(0);
    let size_bytes = upload::target(app, id).await?.size_bytes;
    if from.saturating_add(known) > size_bytes {
        return Err(Fault::new(
            FaultCode::TooLarge,
            format!("More bytes come than the {size_bytes} that were declared."),
            "Begin the upload again with its true size.",
        ));
    }
    upload::write(app, id, from, request.into_body().into_data_stream()).await
}
