//! Copying files within a pool: sharing extents where the file system can, else only what is not a hole.

use crate::error::{Result, io};
use rustix::fs::{SeekFrom, copy_file_range, ioctl_ficlone, seek};
use rustix::io::Errno;
use std::fs::File;
use std::io::Error;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Bytes per call: small enough that progress shows on a slow disk.
const PIECE_BYTES: u64 = 4 << 20;
/// Written back so often, so that the sync at the end is short and a stall is seen when it happens.
pub const SYNC_EVERY_BYTES: u64 = 64 << 20;

/// Holes smaller than this save little and cost a call each.
const HOLE_BYTES: usize = 64 << 10;
/// What is like it becomes a hole.
static ZEROES: [u8; HOLE_BYTES] = [0; HOLE_BYTES];

/// Appends at the end of a file, leaving holes where there are whole blocks of zeroes.
pub fn write_sparse(file: &File, bytes: &[u8], offset: u64) -> std::io::Result<()> {
    let (mut from, mut at) = (0, 0);
    while at < bytes.len() {
        let into_block = (offset + at as u64) % HOLE_BYTES as u64;
        let end = (at + HOLE_BYTES - usize::try_from(into_block).unwrap_or(0)).min(bytes.len());
        if bytes[at..end] == ZEROES[..end - at] {
            file.write_all_at(&bytes[from..at], offset + from as u64)?;
            from = end;
        }
        at = end;
    }
    file.write_all_at(&bytes[from..], offset + from as u64)?;
    // A hole at the end is only a length.
    if from == bytes.len() { file.set_len(offset + bytes.len() as u64) } else { Ok(()) }
}

/// Copies all of `from` into the empty `to`. `progress` is told the bytes passed, and may end the copy.
pub fn copy(from: &File, to: &Arc<File>, progress: &mut dyn FnMut(u64) -> Result<()>) -> Result<()> {
    let failed = |e: Error| io("copy", &e);
    let length = from.metadata().map_err(failed)?.len();
    if ioctl_ficlone(to, from).is_ok() {
        return progress(length);
    }
    to.set_len(length).map_err(failed)?;
    let mut syncer = Syncer::default();
    let mut buffer = Vec::new();
    let mut at = 0;
    while at < length {
        let start = match seek(from, SeekFrom::Data(at)) {
            Ok(start) => start,
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL | Errno::OPNOTSUPP) => at,
            Err(e) => return Err(failed(e.into())),
        };
        let end = seek(from, SeekFrom::Hole(start)).unwrap_or(length).min(length);
        at = start;
        while at < end {
            let want = (end - at).min(PIECE_BYTES);
            let done = piece(from, to, at, want, &mut buffer).map_err(failed)?;
            if done == 0 {
                return Err(failed(Error::other("the image became shorter while it was copied")));
            }
            at += done;
            syncer.wrote(to, done).map_err(failed)?;
            progress(at)?;
        }
    }
    syncer.finish().map_err(failed)?;
    progress(length)
}

fn piece(from: &File, to: &File, at: u64, want: u64, buffer: &mut Vec<u8>) -> std::io::Result<u64> {
    let (mut source, mut target) = (at, at);
    if buffer.is_empty() {
        match copy_file_range(from, Some(&mut source), to, Some(&mut target), want as usize) {
            Ok(0) | Err(Errno::XDEV | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL) => {
                buffer.resize(1 << 20, 0);
            }
            Ok(n) => return Ok(n as u64),
            Err(e) => return Err(e.into()),
        }
    }
    let want = want.min(buffer.len() as u64) as usize;
    let n = from.read_at(&mut buffer[..want], at)?;
    to.write_all_at(&buffer[..n], at)?;
    Ok(n as u64)
}

/// Writes back in the background while more is written. An error of the disk is kept until somebody asks.
#[derive(Default)]
pub struct Syncer {
    unsynced_bytes: u64,
    running: Option<JoinHandle<std::io::Result<()>>>,
}

impl Syncer {
    /// Counts bytes written to `file`; starts a write-back when there are enough and none is running.
    pub fn wrote(&mut self, file: &Arc<File>, bytes: u64) -> std::io::Result<()> {
        self.unsynced_bytes += bytes;
        if self.unsynced_bytes < SYNC_EVERY_BYTES || self.running.as_ref().is_some_and(|r| !r.is_finished()) {
            return Ok(());
        }
        self.finish()?;
        self.unsynced_bytes = 0;
        let file = Arc::clone(file);
        let thread = std::thread::Builder::new().name("write-back".into()).stack_size(128 << 10);
        self.running = Some(thread.spawn(move || file.sync_data())?);
        Ok(())
    }

    /// Waits for the write-back under way.
    pub fn finish(&mut self) -> std::io::Result<()> {
        self.take().end()
    }

    /// The write-back under way, to be waited for elsewhere.
    pub fn take(&mut self) -> WriteBack {
        WriteBack(self.running.take())
    }
}

/// A write-back that may be under way. The kernel tells an error of the disk once per open file, to whoever syncs
/// first: so nobody may count bytes as safe before this one has ended well too.
#[must_use]
pub struct WriteBack(Option<JoinHandle<std::io::Result<()>>>);

impl WriteBack {
    /// Waits for its end.
    pub fn end(self) -> std::io::Result<()> {
        match self.0.map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(done)) => done,
            Some(Err(_)) => Err(Error::other("the write-back thread died")),
        }
    }
}
