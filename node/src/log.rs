//! What the daemon wrote down lately, kept in memory so that the vDC can show it to whoever cannot log in here.
//!
//! The same records go to standard error, and from there to the journal, which keeps them longer. Here as much is kept
//! as the limits below allow, and the oldest go first. A record is one line: what could deceive a terminal or a reader is
//! spelt out, and what is too long is cut, both while it is written, so that no record ever takes more memory than its
//! limit. Secrets do not come here: they print as dots ([`quantix_model::Secret`]), and a field that is named like one
//! is not printed at all.

use crate::clock;
use quantix_model::UnixMs;
use quantix_model::log::{LogLevel, is_secretive};
use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use uuid::Uuid;

/// Most records kept.
const RECORDS_MAX: usize = 4096;
/// Most bytes of all messages kept.
const BYTES_MAX: usize = 1 << 20;
/// Most bytes of one message, without the words that tell of the cut.
const RECORD_BYTES_MAX: usize = 2048;
/// Programs of the house; what others write is kept from a warning on.
const OURS: &str = "quantix_";

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Counts up from 1 in this life of the daemon.
    pub number: u64,
    /// When.
    pub at: UnixMs,
    /// How grave.
    pub level: LogLevel,
    /// Which part of the program.
    pub target: &'static str,
    /// Sentence and fields in one line.
    pub message: String,
}

/// Which records are wanted.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// This and worse.
    pub level: Option<LogLevel>,
    /// All of them stand in message or target, whatever their case; in lower case.
    pub words: Vec<String>,
    /// Written then or later.
    pub since: Option<UnixMs>,
    /// Only with a greater number.
    pub after: u64,
    /// Only with a smaller number.
    pub before: Option<u64>,
    /// So many at most.
    pub limit: usize,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Look {
    /// Newest first.
    pub records: Vec<Arc<Record>>,
    /// Older ones fit, too.
    pub more: bool,
    /// So many fit, wherever the page begins.
    pub total: usize,
    /// Number of the newest record of all.
    pub newest: u64,
    /// So many were kept once and are no more.
    pub gone: u64,
}

/// The records. Clones share them.
#[derive(Clone)]
pub struct Logs(Arc<Kept>);

struct Kept {
    epoch: String,
    started_at: UnixMs,
    ring: Mutex<Ring>,
}

#[derive(Default)]
struct Ring {
    records: VecDeque<Arc<Record>>,
    bytes: usize,
    newest: u64,
}

impl Default for Logs {
    fn default() -> Logs {
        Logs::new()
    }
}

impl Logs {
    /// Begins a life of the log.
    pub fn new() -> Logs {
        Logs(Arc::new(Kept {
            epoch: Uuid::new_v4().simple().to_string(),
            started_at: clock::now(),
            ring: Mutex::default(),
        }))
    }

    /// Stands for this life of the log.
    pub fn epoch(&self) -> &str {
        &self.0.epoch
    }

    /// Begin of this life.
    pub fn started_at(&self) -> UnixMs {
        self.0.started_at
    }

    /// What is less grave is not written down at all.
    pub fn kept_level(&self) -> LogLevel {
        LevelFilter::current().into_level().map_or(LogLevel::Error, level)
    }

    /// The layer that feeds it, for the program's subscriber.
    pub fn layer<S: Subscriber>(&self) -> impl Layer<S> + use<S> {
        Feed(self.clone())
    }

    /// Keeps one line.
    fn keep(&self, level: LogLevel, target: &'static str, message: String) {
        let mut ring = self.0.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.newest += 1;
        ring.bytes += message.len();
        let record = Record { number: ring.newest, at: clock::now(), level, target, message };
        ring.records.push_back(Arc::new(record));
        while ring.records.len() > RECORDS_MAX || ring.bytes > BYTES_MAX {
            let Some(oldest) = ring.records.pop_front() else { break };
            ring.bytes -= oldest.message.len();
        }
    }

    /// Looks for records. Who writes meanwhile waits for a copy of the list only.
    pub fn look(&self, query: &Query) -> Look {
        let (all, newest) = {
            let ring = self.0.ring.lock().unwrap_or_else(PoisonError::into_inner);
            (ring.records.clone(), ring.newest)
        };
        let gone = newest - all.len() as u64;
        let fits: Vec<Arc<Record>> = all.into_iter().rev().filter(|r| query.fits(r)).collect();
        let total = fits.len();
        let page = fits.into_iter().filter(|r| query.before.is_none_or(|before| r.number < before));
        let mut records: Vec<_> = page.take(query.limit.saturating_add(1)).collect();
        let more = records.len() > query.limit;
        records.truncate(query.limit);
        Look { records, more, total, newest, gone }
    }
}

impl Query {
    fn fits(&self, record: &Record) -> bool {
        let message = || record.message.to_lowercase();
        let found = |word: &String| record.target.contains(word) || message().contains(word);
        record.number > self.after
            && self.level.is_none_or(|level| record.level >= level)
            && self.since.is_none_or(|since| record.at >= since)
            && self.words.iter().all(found)
    }
}

fn level(level: Level) -> LogLevel {
    match level {
        Level::TRACE => LogLevel::Trace,
        Level::DEBUG => LogLevel::Debug,
        Level::INFO => LogLevel::Info,
        Level::WARN => LogLevel::Warn,
        Level::ERROR => LogLevel::Error,
    }
}

struct Feed(Logs);

impl<S: Subscriber> Layer<S> for Feed {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let about = event.metadata();
        if !is_wanted(about) {
            return;
        }
        let mut line = Line::default();
        event.record(&mut line);
        self.0.keep(level(*about.level()), about.target(), line.end());
    }
}

fn is_wanted(about: &Metadata<'_>) -> bool {
    about.target().starts_with(OURS) || *about.level() <= Level::WARN
}

/// A line as it grows: the sentence in front, then the fields.
#[derive(Default)]
struct Line {
    sentence: Text,
    fields: Text,
}

impl Line {
    fn end(self) -> String {
        let Line { mut sentence, fields } = self;
        // Fields that were cut stay cut: their limit is the same.
        let _ = sentence.write_str(&fields.kept);
        let cut = sentence.cut + fields.cut;
        if cut > 0 {
            // A String takes everything.
            let _ = write!(sentence.kept, " … (cut, {cut} more bytes)");
        }
        sentence.kept
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let name = field.name();
        // What is written here never fails, and a value that cannot print itself shows what it could.
        let _ = if name == "message" {
            write!(self.sentence, "{value:?}")
        } else if name.starts_with("log.") {
            Ok(())
        } else if is_secretive(name) {
            write!(self.fields, " {name}=•••")
        } else {
            write!(self.fields, " {name}={value:?}")
        };
    }
}

/// Text with an end: what is beyond it is counted only.
#[derive(Default)]
struct Text {
    kept: String,
    cut: usize,
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            let before = self.kept.len();
            match c {
                _ if self.cut > 0 => {}
                '\n' => self.kept.push_str("\\n"),
                '\t' => self.kept.push_str("\\t"),
                c if deceives(c) => self.kept.extend(c.escape_unicode()),
                c => self.kept.push(c),
            }
            if self.cut > 0 || self.kept.len() > RECORD_BYTES_MAX {
                self.kept.truncate(before);
                self.cut += c.len_utf8();
            }
        }
        Ok(())
    }
}

/// Control characters, and those that change the direction of reading or are not seen at all.
fn deceives(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests;
