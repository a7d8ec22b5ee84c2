//! The web app's files: built into the binary, or from a folder while working on them. Any other path that a
//! browser asks for is a page of the app: it gets `index.html`.

use crate::http::status;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{StatusCode, Uri, header};
use memory_serve::CacheControl;
use quantix_model::fault::Fault;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// Routes for the built-in app, or for `folder`.
pub fn routes(folder: Option<&Path>) -> Result<Router, Fault> {
    match folder {
        None => Ok(memory_serve::load!("web")
            .index_file(Some("/index.html"))
            .fallback(Some("/index.html"))
            .fallback_status(StatusCode::OK)
            .html_cache_control(CacheControl::NoCache)
            .cache_control(CacheControl::Long)
            // Compressed by the build, or not at all: compressing at start took half a minute in a debug build.
            .enable_brotli(!cfg!(debug_assertions))
            .enable_gzip(false)
            .into_router()),
        Some(folder) => {
            if !folder.join("index.html").is_file() {
                return Err(Fault::invalid(
                    "web_dir",
                    format!("There is no index.html in {}.", folder.display()),
                    "Build the web app there, or leave `--web-dir` out.",
                ));
            }
            Ok(Router::new().fallback(file).with_state(Arc::new(folder.to_owned())))
        }
    }
}

async fn file(State(folder): State<Arc<PathBuf>>, uri: Uri) -> Response {
    let wanted = Path::new(uri.path().trim_start_matches('/'));
    let plain = wanted.components().all(|part| matches!(part, Component::Normal(_)));
    let wanted = if plain { folder.join(wanted) } else { folder.join("index.html") };
    let is_file = tokio::fs::metadata(&wanted).await.is_ok_and(|m| m.is_file());
    let path = if is_file { wanted } else { folder.join("index.html") };
    match tokio::fs::read(&path).await {
        Ok(bytes) => ([(header::CONTENT_TYPE, media(&path)), (header::CACHE_CONTROL, "no-cache")], bytes)
            .into_response(),
        Err(err) => {
            tracing::warn!(%err, path = %path.display(), "a file of the web app cannot be read");
            status(StatusCode::NOT_FOUND)
        }
    }
}

fn media(path: &Path) -> &'static str {
    match path.extension().and_then(|e| e.to_str()).unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "woff" => "font/woff",
        "wasm" => "application/wasm",
        _ => "application/octet-stream",
    }
}
