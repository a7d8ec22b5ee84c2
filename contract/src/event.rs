//! Events on the wire.

use crate::quantix::event::v1 as wire;
use crate::twin::twins;
use quantix_model::event::Severity;

twins!(Severity => wire::Severity, "severity" {
    Info = SEVERITY_INFO,
    Warning = SEVERITY_WARNING,
    Error = SEVERITY_ERROR,
});

#[cfg(test)]
mod tests {
    #[test]
    fn tables() {
        crate::twin::check_table::<super::Severity>();
    }
}
