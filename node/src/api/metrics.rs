//! `GET /metrics`, for the vDC: it hands the figures on to whoever may scrape.

use super::Shared;
use super::rest::{Refusal, Who};
use crate::metrics::{CONTENT_TYPE, scrape};
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::header;

pub async fn get(State(shared): State<Shared>, Who(caller): Who) -> Result<Response, Refusal> {
    shared.daemon.gate(Some(&caller))?;
    let text = scrape(&shared.daemon).await?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}
