//! Images on the wire: the RPCs, and the upload of their bytes (tus 1.0 core: HEAD, PATCH, OPTIONS).

use crate::api::Assembly;
use crate::api::auth;
use crate::api::error::{json_response, reply};
use crate::bus::Thing;
use crate::services::upload::Offset;
use crate::services::{App, image, upload};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use axum::response::Response;
use axum::routing::{head, options, patch};
use connectrpc::{RequestContext, ServiceRequest, ServiceResult};
use quantix_contract::quantix::image::v1 as wire;
use quantix_contract::quantix::watch::v1::watch_response::Event;
use quantix_model::id::ImageId;
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
    async fn list(&self, asked: wire::ListImagesRequest) -> Result<wire::ListImagesResponse, Fault> {
        let order = asked.order.as_option();
        let request = super::page(&asked.filter, asked.page_size, &asked.page_token, order)?;
        let page = image::list(&self.0, &request).await?;
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

impl wire::ImageService for Api {
    async fn list_images(
        &self,
        _context: RequestContext,
        request: ServiceRequest<'_, wire::ListImagesRequest>,
    ) -> ServiceResult<wire::ListImagesResponse> {
        reply(self.list(request.to_owned_message()).await)
    }

    async fn get_image(
        &self,
        _context: RequestContext,
        request: ServiceRequest<'_, wire::GetImageRequest>,
    ) -> ServiceResult<wire::Image> {
        reply(async { image::get(&self.0, request.id.parse()?).await }.await)
    }

    async fn create_image(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::CreateImageRequest>,
    ) -> ServiceResult<wire::CreateImageResponse> {
        let person = auth::person(&context)?;
        reply(self.create(&person.name, request.to_owned_message()).await)
    }

    async fn delete_image(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, wire::DeleteImageRequest>,
    ) -> ServiceResult<wire::DeleteImageResponse> {
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

async fn tell(State(app): State<Arc<App>>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    if let Err(response) = check_version(&headers) {
        return response;
    }
    let told = async { upload::offset(&app, id.parse::<ImageId>()?).await }.await;
    match told {
        Ok(at) => offset_answer(StatusCode::OK, at),
        Err(fault) => refused(&fault),
    }
}

async fn take(State(app): State<Arc<App>>, Path(id): Path<String>, request: Request<Body>) -> Response {
    if let Err(response) = check_version(request.headers()) {
        return response;
    }
    match taken(&app, &id, request).await {
        Ok(at) => offset_answer(StatusCode::NO_CONTENT, at),
        Err(fault) => refused(&fault),
    }
}

async fn taken(app: &App, id: &str, request: Request<Body>) -> Result<Offset, Fault> {
    let id: ImageId = id.parse()?;
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
