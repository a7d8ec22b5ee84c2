//! Plain HTTP answers: bounded bodies, faults inside them, and what may be shown of the rest.

use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use quantix_model::Fault;
use quantix_model::fault::Evidence;
use serde::Deserialize;

/// No JSON answer is larger.
pub(crate) const BODY_BYTES_MAX: usize = 1 << 20;
/// So much of an unusable answer is shown.
const SHOWN_CHARS_MAX: usize = 256;

#[derive(Deserialize)]
struct FaultBody {
    fault: Fault,
}

/// Why an answer could not be read to its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// It is larger than anything a host says.
    TooLarge,
    /// The line broke, or it was no HTTP.
    Off(String),
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Broken::TooLarge => write!(f, "the answer is larger than {} MiB", BODY_BYTES_MAX >> 20),
            Broken::Off(cause) => f.write_str(cause),
        }
    }
}

/// A whole answer.
pub(crate) struct Answer {
    pub status: u16,
    pub content_type: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// Reads an answer to its end, or says why that cannot be.
    pub async fn read(response: http::Response<hyper::body::Incoming>) -> Result<Answer, Broken> {
        let status = response.status().as_u16();
        let content_type = response
            .headers()
            .get(http::header::CONTENT_TYPE)
            .map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned())
            .unwrap_or_default();
        let body = Limited::new(response.into_body(), BODY_BYTES_MAX)
            .collect()
            .await
            .map_err(|err| match err.is::<LengthLimitError>() {
                true => Broken::TooLarge,
                false => Broken::Off(err.to_string()),
            })?
            .to_bytes()
            .to_vec();
        Ok(Answer { status, content_type, body })
    }

    /// The fault the other side put into it.
    pub fn fault(&self) -> Option<Fault> {
        serde_json::from_slice::<FaultBody>(&self.body).ok().map(|b| b.fault)
    }

    /// Whether it claims to be JSON.
    pub fn is_json(&self) -> bool {
        let kind = self.content_type.split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case("application/json")
    }

    /// What may be shown of it.
    pub fn evidence(&self, url: &str) -> Evidence {
        let text = String::from_utf8_lossy(&self.body);
        let printable = |c: &char| !c.is_control() && *c != char::REPLACEMENT_CHARACTER;
        Evidence {
            url: url.to_owned(),
            http_status: self.status,
            content_type: self.content_type.chars().filter(printable).take(100).collect(),
            body_start: text.chars().filter(printable).take(SHOWN_CHARS_MAX).collect(),
        }
    }
}
