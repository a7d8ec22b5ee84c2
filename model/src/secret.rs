//! Text that must never be seen: keys and passwords on their way to where they are needed.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A secret. It prints as dots; the only ways out are [`Secret::expose`] and serialisation, which goes to the
/// store, the ledger and the worker's socket and nowhere else.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Takes a text into keeping.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text itself: for the one place that hands it to a server.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether none was given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "(none)" } else { "•••" })
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn never_prints() {
        let text = format!("{:?} {:?}", Secret::new("hunter2"), Secret::default());
        assert_eq!(text, "••• (none)");
    }
}
