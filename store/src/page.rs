//! Lists in pages: a filter, a limit, an opaque token, and the total.

use crate::error::StoreError;

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
    /// As handed out with the page before; empty for the first.
    pub token: String,
}

impl PageRequest {
    /// The rows to read.
    pub(crate) fn rows(&self) -> u64 {
        u64::from(if self.limit == 0 { LIMIT_DEFAULT } else { self.limit.min(LIMIT_MAX) })
    }

    /// Pattern for LIKE over lower-case keys, with its wildcards disarmed.
    pub(crate) fn pattern(&self) -> Option<String> {
        let wanted = self.filter.trim().to_lowercase();
        (!wanted.is_empty()).then(|| {
            let escaped = wanted.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
            format!("%{escaped}%")
        })
    }

    /// Where the page before ended.
    pub(crate) fn after(&self) -> Result<Option<Vec<String>>, StoreError> {
        if self.token.is_empty() {
            return Ok(None);
        }
        let bytes = unhex(&self.token).ok_or(StoreError::BadPageToken)?;
        serde_json::from_slice(&bytes).map(Some).map_err(|_| StoreError::BadPageToken)
    }
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

/// Token that says a page ended with these keys.
pub(crate) fn token(keys: &[&str]) -> String {
    hex(serde_json::to_string(keys).expect("strings serialise").as_bytes())
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
