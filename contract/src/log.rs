//! Lines of a log on the wire.

use crate::quantix::log::v1 as wire;
use crate::twin::twins;
use quantix_model::log::LogLevel;

twins!(LogLevel => wire::LogLevel, "level" {
    Trace = LOG_LEVEL_TRACE,
    Debug = LOG_LEVEL_DEBUG,
    Info = LOG_LEVEL_INFO,
    Warn = LOG_LEVEL_WARN,
    Error = LOG_LEVEL_ERROR,
});

#[cfg(test)]
mod tests {
    #[test]
    fn tables() {
        crate::twin::check_table::<super::LogLevel>();
    }
}
