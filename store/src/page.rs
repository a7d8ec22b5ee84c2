//! Lists in pages: a filter, an order, a limit, an opaque token, and the total.

use crate::error::StoreError;
use quantix_model::list::Order;
use serde::{Deserialize, Serialize};

/// Rows on a page unless asked otherwise.
const LIMIT_DEFAULT: u32 = 100;
/// Rows on a page at most.
const LIMIT_MAX: u32 = 500;

/// Which page of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageRequest {
    /// Part of the name, any case; empty for all.
    pub filter: String,
    /// Rows wanted: 0 means 100, 500 at most.
    pub limit: u32,
    /// As handed out with the page before, in the same order; empty for the first.
    pub token: String,
    /// The list's usual order when left out.
    pub order: Option<Order>,
}

impl PageRequest {
    /// The rows to read.
    pub(crate) fn rows(&self) -> u64 {
        u64::from(if self.limit == 0 { LIMIT_DEFAULT } else { self.limit.min(LIMIT_MAX) })
    }

    /// The filter as names are compared: in lower case.
    pub(crate) fn part(&self) -> String {
        self.filter.trim().to_lowercase()
    }

    /// Pattern for LIKE over lower-case keys, with its wildcards disarmed.
    pub(crate) fn pattern(&self) -> Option<String> {
        let wanted = self.part();
        (!wanted.is_empty()).then(|| {
            let escaped = wanted.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
            format!("%{escaped}%")
        })
    }

    /// Where the page before ended.
    pub(crate) fn after(&self) -> Result<Option<Mark>, StoreError> {
        if self.token.is_empty() {
            return Ok(None);
        }
        let bytes = unhex(&self.token).ok_or(StoreError::BadPageToken)?;
        serde_json::from_slice(&bytes).map(Some).map_err(|_| StoreError::BadPageToken)
    }
}

/// What a row is sorted by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Key {
    /// A name in lower case, or an id.
    Text(String),
    /// Bytes, a count, or a time.
    Int(i64),
}

/// The last row of a page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// The list was sorted by this column …
    pub column: String,
    /// … and which way.
    pub descending: bool,
    /// What the row has there.
    pub key: Key,
    /// Its id.
    pub id: String,
}

/// One page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// In stable order.
    pub rows: Vec<T>,
    /// Hand it back for the next page; empty at the end.
    pub next_token: String,
    /// Rows on all pages together.
    pub total: u64,
}

/// Token that says where a page ended.
pub(crate) fn token(mark: &Mark) -> String {
    hex(serde_json::to_string(mark).expect("strings and numbers serialise").as_bytes())
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Bytes of lower- or upper-case hex.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits
        .chunks_exact(2)
        .map(|pair| {
            let digit = |b: u8| char::from(b).to_digit(16);
            u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()
        })
        .collect()
}
