//! What a worker writes to standard error: its records go on into the daemon's log, where the vDC can ask for them;
//! anything else (a panic, an allocator that gives up) is kept, too, as its last words should it end.

use quantix_model::id::PoolId;
use quantix_model::log::is_secretive;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::fmt::Write as _;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::unix::pipe;

/// Where the records stand in the daemon's log.
const TARGET: &str = "quantix_storage::worker";
/// A longer line is taken in pieces.
const LINE_BYTES_MAX: u64 = 16 << 10;
/// Of what is no record, the end is kept.
const LAST_BYTES_MAX: usize = 512;

/// A record as `tracing-subscriber` writes it in JSON.
#[derive(Deserialize)]
struct Record {
    level: String,
    target: String,
    fields: Map<String, Value>,
}

/// What a worker wrote that is no record. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastWords(Arc<Mutex<String>>);

impl LastWords {
    fn add(&self, line: &str) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !kept.is_empty() {
            kept.push_str("; ");
        }
        kept.push_str(line);
        let over = kept.len().saturating_sub(LAST_BYTES_MAX);
        let cut = kept.ceil_char_boundary(over);
        kept.drain(..cut);
    }

    /// Why it ended, as far as anybody knows: `how` is the system's word for it.
    pub(crate) fn after(&self, how: &str) -> String {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        [how, kept.as_str()].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("; ")
    }
}

/// Follows a worker's standard error until nobody has it open any more.
pub(crate) async fn follow(pool: PoolId, stderr: OwnedFd, last: LastWords) -> io::Result<()> {
    let mut lines = BufReader::new(pipe::Receiver::from_owned_fd(stderr)?);
    let mut line = Vec::new();
    while (&mut lines).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await? > 0 {
        hear(pool, String::from_utf8_lossy(&line).trim(), &last);
        line.clear();
    }
    Ok(())
}

fn hear(pool: PoolId, line: &str, last: &LastWords) {
    if line.is_empty() {
        return;
    }
    let Ok(record) = serde_json::from_str::<Record>(line) else {
        last.add(line);
        return tracing::warn!(target: TARGET, %pool, "{line}");
    };
    let (text, part) = (sentence(&record.fields), record.target);
    match record.level.as_str() {
        "ERROR" => tracing::error!(target: TARGET, %pool, part, "{text}"),
        "WARN" => tracing::warn!(target: TARGET, %pool, part, "{text}"),
        "INFO" => tracing::info!(target: TARGET, %pool, part, "{text}"),
        "DEBUG" => tracing::debug!(target: TARGET, %pool, part, "{text}"),
        _ => tracing::trace!(target: TARGET, %pool, part, "{text}"),
    }
}

/// The message, then the fields.
fn sentence(fields: &Map<String, Value>) -> String {
    let mut text = fields.get("message").and_then(Value::as_str).unwrap_or_default().to_owned();
    for (name, value) in fields.iter().filter(|(name, _)| *name != "message") {
        // A String takes everything.
        let _ = match value {
            _ if is_secretive(name) => write!(text, " {name}=•••"),
            Value::String(value) => write!(text, " {name}={value}"),
            value => write!(text, " {name}={value}"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::io::Write as _;
    use uuid::Uuid;

    #[test]
    fn a_record_is_told_with_its_fields() {
        let fields =
            json!({"message": "a path stays away", "portal": "10.0.0.1", "tries": 3, "api_token": "hush"});
        let told = sentence(fields.as_object().unwrap());
        assert!(told.starts_with("a path stays away ") && told.contains(" portal=10.0.0.1"), "{told}");
        assert!(told.contains(" tries=3") && !told.contains("hush"), "{told}");
    }

    #[test]
    fn a_record_goes_on_into_the_log_as_grave_as_it_is() {
        let log = Arc::new(Mutex::new(Vec::new()));
        let to = log.clone();
        let subscriber =
            tracing_subscriber::fmt().without_time().with_ansi(false).with_writer(move || To(to.clone()));
        let pool = PoolId(Uuid::from_u128(1));
        tracing::subscriber::with_default(subscriber.finish(), || {
            let record =
                |level| json!({"level": level, "target": "quantix_storage::nfs", "fields": {"message": "m"}});
            for level in ["ERROR", "INFO", "DEBUG", "TRACE"] {
                hear(pool, &record(level).to_string(), &LastWords::default());
            }
            hear(pool, "malloc(): corrupted", &LastWords::default());
        });
        let log = String::from_utf8(log.lock().unwrap().clone()).unwrap();
        let lines = ["ERROR", " INFO"].map(|level| {
            format!("{level} quantix_storage::worker: m pool={pool} part=\"quantix_storage::nfs\"\n")
        });
        assert_eq!(
            log,
            format!("{} WARN quantix_storage::worker: malloc(): corrupted pool={pool}\n", lines.concat())
        );
    }

    struct To(Arc<Mutex<Vec<u8>>>);

    impl io::Write for To {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn what_is_no_record_is_kept_within_bounds() {
        let (read, write) = rustix::pipe::pipe().unwrap();
        let last = LastWords::default();
        let pool = PoolId(Uuid::from_u128(1));
        let mut file = std::fs::File::from(write);
        let record =
            json!({"timestamp": "t", "level": "WARN", "target": "x", "fields": {"message": "a record"}});
        write!(file, "{}\nthread 'main' panicked\n\nä\u{0}\n{record}\n", "ä".repeat(20_000)).unwrap();
        file.write_all(b"\xff without an end").unwrap();
        drop(file);
        follow(pool, read, last.clone()).await.unwrap();
        let told = last.after("signal: 6 (SIGABRT)");
        assert!(told.starts_with("signal: 6 (SIGABRT); ä"), "{told}");
        assert!(told.ends_with("thread 'main' panicked; ä\u{0}; \u{fffd} without an end"), "{told}");
        assert!(!told.contains("a record") && told.len() < LAST_BYTES_MAX + 40, "{told}");
        assert_eq!(LastWords::default().after(""), "");
    }
}
