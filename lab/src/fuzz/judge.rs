//! What no answer may be, whatever was asked.

use super::case::Case;
use super::wire::{Answer, Got};
use super::{Target, Targets};
use serde_json::Value;

/// Words of our own insides: files, statements, types, other people's libraries.
const INSIDES: [&str; 22] = [
    "panicked",
    ".rs:",
    ".rs\"",
    "/root/",
    "/home/",
    "/usr/",
    "/tmp/",
    "/var/lib",
    "SELECT ",
    "INSERT ",
    "sqlite",
    "sqlx",
    "sea_orm",
    "serde",
    "tokio",
    "rustls",
    "buffa",
    "::",
    "0x7f",
    "$argon2",
    "PRIVATE KEY",
    "RUST_",
];

/// What is wrong with what came of a case, if anything is.
pub fn judge(targets: &Targets, case: &Case, got: &Got) -> Option<String> {
    if case.is_http2 {
        return None;
    }
    match got {
        Got::Answer(answer) => wrong(targets, case, answer),
        Got::Closed | Got::Silent if !case.is_whole => None,
        Got::Closed => Some("the connection ended without an answer".into()),
        Got::Silent => Some("no answer".into()),
    }
}

fn wrong(targets: &Targets, case: &Case, answer: &Answer) -> Option<String> {
    let text = String::from_utf8_lossy(&answer.body);
    let json = serde_json::from_slice::<Value>(&answer.body).ok();
    if answer.status >= 500 && !is_known(case, answer.status, json.as_ref()) {
        return Some(format!("status {}: {text:.300}", answer.status));
    }
    let headers: String = answer.headers.iter().map(|(n, v)| format!("{n}: {v}\n")).collect();
    let is_page =
        answer.header("content-type").is_some_and(|t| t.contains("html") || t.contains("javascript"));
    let told = if is_page { headers.clone() } else { format!("{headers}{text}") };
    // What is served to who may see it may hold such words: addresses of a machine, names of files.
    let insides = if answer.status >= 400 { INSIDES.as_slice() } else { &[] };
    let inside = insides.iter().copied().chain(targets.secrets.iter().map(String::as_str));
    if let Some(word) = inside.into_iter().find(|word| told.contains(word)) {
        return Some(format!("it tells {word:?}: {told:.600}"));
    }
    if must_be_typed(case, answer) && !is_typed(json.as_ref()) {
        return Some(format!("status {} without a code: {headers}{text:.300}", answer.status));
    }
    None
}

/// What the protocols themselves ask for.
fn is_known(case: &Case, status: u16, json: Option<&Value>) -> bool {
    // Connect answers a compression it does not know with `unimplemented`, which is 501 there.
    let unimplemented = json.is_some_and(|body| body["code"] == "unimplemented");
    status == 501 && unimplemented || status == 504 && case.has_deadline
}

fn must_be_typed(case: &Case, answer: &Answer) -> bool {
    if answer.status < 400 || case.is_head || case.is_grpc {
        return false;
    }
    match case.at {
        // Without these headers it never came to the app: no HTTP.
        Target::Vdc => {
            answer.header("x-content-type-options").is_some()
                && (case.about.starts_with("/api/") || case.about.starts_with("/quantix."))
        }
        Target::Node => case.is_whole && answer.header("content-type").is_some(),
    }
}

fn is_typed(json: Option<&Value>) -> bool {
    let Some(body) = json else { return false };
    let text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    text(&body["code"]) || text(&body["fault"]["code"])
}
