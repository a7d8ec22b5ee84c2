//! Images of a local pool, and receiving them.
//!
//! ```text
//!   upload_open ─▶ .<id>.part ─▶ upload_write … ─▶ upload_finish: size, SHA-256, content ─▶ <id>.iso|qcow2|raw (0444)
//! ```
//! The checksum is computed while bytes arrive. After a restart of the worker that state is gone, and finish reads the
//! file once instead. What can never become an image (wrong checksum, no image) is removed at once.

use crate::backend::{Attachment, Images, Progress};
use crate::error::{self, Result, io};
use crate::local::chain::Base;
use crate::local::copy::{Syncer, write_sparse};
use crate::local::qcow2;
use crate::local::root::{open_in, remove, rename_new};
use crate::local::sniff::{self, Content, HEAD_BYTES};
use crate::local::{LocalPool, locked};
use aws_lc_rs::digest::{Context, SHA256};
use quantix_model::id::ImageId;
use quantix_model::image::{ImageFacts, ImageFormat};
use quantix_model::volume::VolumeFormat;
use rustix::fs::{Mode, OFlags, fchmod, fstatvfs, fsync};
use rustix::io::Errno;
use std::fs::File;
use std::io::{Error, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

const FORMATS: [ImageFormat; 3] = [ImageFormat::Iso, ImageFormat::Qcow2, ImageFormat::Raw];
/// Uploads kept open; an idle one is closed for a new one and opened again when it goes on.
const OPEN_UPLOADS_MAX: usize = 64;
/// A thread costs less than hashing so many bytes.
const HASH_BESIDE_BYTES_MIN: usize = 256 << 10;
/// Bytes read at a time when a file is hashed again.
const HASH_PIECE_BYTES: usize = 1 << 20;

/// An upload under way.
///
/// ```text
///   bytes: 0 ── safe (synced) ── length (written)
/// ```
/// Told is what is safe. When a sync fails, what was written since the last good one is taken back.
pub(super) struct Upload {
    file: Arc<File>,
    length: u64,
    /// Known to be on the disk.
    safe: u64,
    /// Of the bytes so far; `None` when some of them came before this worker.
    digest: Option<Context>,
    syncer: Syncer,
}

/// A finished image, open.
pub(super) struct Image {
    pub(super) format: ImageFormat,
    pub(super) file: File,
    pub(super) length: u64,
    pub(super) name: String,
}

pub(super) fn name(id: ImageId, format: ImageFormat) -> String {
    format!("{id}.{}", format.as_str())
}

pub(super) fn part_name(id: ImageId) -> String {
    format!(".{id}.part")
}

/// Image and format of a file name, if it is one of ours to the letter.
pub(super) fn parse_name(text: &str) -> Option<(ImageId, ImageFormat)> {
    let (id, ending) = text.split_once('.')?;
    let id = id.parse().ok()?;
    let format = FORMATS.into_iter().find(|f| f.as_str() == ending)?;
    (name(id, format) == text).then_some((id, format))
}

/// Whether a file name is one of an upload.
pub(super) fn is_part(text: &str) -> bool {
    let id = text.strip_prefix('.').and_then(|t| t.strip_suffix(".part")).and_then(|id| id.parse().ok());
    id.is_some_and(|id| part_name(id) == text)
}

fn not_found_as_none(result: rustix::io::Result<OwnedFd>) -> std::io::Result<Option<File>> {
    match result {
        Ok(fd) => Ok(Some(File::from(fd))),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

fn virtual_size(format: ImageFormat, length: u64) -> u64 {
    match format {
        ImageFormat::Iso => length,
        // QEMU shows a raw disk in whole sectors.
        ImageFormat::Raw | ImageFormat::Qcow2 => length.div_ceil(512).saturating_mul(512),
    }
}

impl Upload {
    /// Writes at the end and hashes. Either takes about as long, so a large piece does both at once.
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let (file, at) = (&self.file, self.length);
        let Some(digest) = &mut self.digest else { return write_sparse(file, bytes, at) };
        if bytes.len() < HASH_BESIDE_BYTES_MIN {
            digest.update(bytes);
            return write_sparse(file, bytes, at);
        }
        std::thread::scope(|scope| {
            std::thread::Builder::new().name("hash".into()).spawn_scoped(scope, || digest.update(bytes))?;
            write_sparse(file, bytes, at)
        })
    }

    /// Forgets what was written and may never have reached the disk.
    fn take_back(&mut self) {
        // If this fails too, the next look at the file finds out what is there.
        let _ = self.file.set_len(self.safe);
        self.length = self.safe;
        self.digest = None;
    }
}

impl LocalPool {
    /// Opens a finished image.
    pub(super) fn find_image(&self, id: ImageId) -> Result<Option<Image>> {
        let failed = |e: Error| io("open image", &e);
        let dir = self.images_dir()?;
        for format in FORMATS {
            let name = name(id, format);
            let flags = OFlags::RDONLY | OFlags::NONBLOCK;
            if let Some(file) =
                not_found_as_none(open_in(&dir, &name, flags, Mode::empty())).map_err(failed)?
            {
                let length = file.metadata().map_err(failed)?.len();
                return Ok(Some(Image { format, file, length, name }));
            }
        }
        Ok(None)
    }

    /// What a guest would see of a finished image.
    pub(super) fn image_virtual_size(&self, image: &Image) -> Result<u64> {
        match image.format {
            ImageFormat::Iso | ImageFormat::Raw => Ok(virtual_size(image.format, image.length)),
            ImageFormat::Qcow2 => {
                let header = qcow2::read(&image.file).map_err(|e| io("read the image's header", &e))?;
                let refused = Content::Image(ImageFormat::Qcow2).refusal();
                header.map(|header| header.virtual_size_bytes).map_err(|why| refused.because(why))
            }
        }
    }

    /// The `.part` file, opened or made.
    fn open_part(&self, id: ImageId, make: bool) -> Result<Option<Upload>> {
        let failed = |e: Error| io("open upload", &e);
        let mut flags = OFlags::RDWR | OFlags::NONBLOCK;
        flags.set(OFlags::CREATE, make);
        let mode = if make { Mode::from_raw_mode(0o600) } else { Mode::empty() };
        let fd = open_in(self.images_dir()?, &part_name(id), flags, mode);
        let Some(file) = not_found_as_none(fd).map_err(failed)? else { return Ok(None) };
        // Only what is on the disk counts as there.
        file.sync_all().map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let digest = (length == 0).then(|| Context::new(&SHA256));
        Ok(Some(Upload { file: Arc::new(file), length, safe: length, digest, syncer: Syncer::default() }))
    }

    /// Makes what is written so far durable. More may be written meanwhile: nothing is held while the disk works.
    fn sync_upload(&self, id: ImageId) -> Result<u64> {
        let begin = |upload: &mut Upload| (Arc::clone(&upload.file), upload.length, upload.syncer.take());
        let (file, length, before) = self.known_upload(id, begin)?;
        let synced = before.end().and_then(|()| file.sync_data());
        let meanwhile = self.known_upload(id, |upload| upload.syncer.take())?;
        let synced = synced.and(meanwhile.end());
        self.known_upload(id, |upload| match synced {
            Ok(()) => {
                upload.safe = upload.safe.max(length);
                Ok(length)
            }
            Err(e) => {
                upload.take_back();
                Err(io("sync upload", &e))
            }
        })?
    }

    fn known_upload<T>(&self, id: ImageId, work: impl FnOnce(&mut Upload) -> T) -> Result<T> {
        locked(&self.uploads).get_mut(&id).map(work).ok_or_else(|| error::upload_not_there(id))
    }

    /// Does something with an open upload; opens it when this worker has not yet.
    fn with_upload<T>(&self, id: ImageId, work: impl FnOnce(&mut Upload) -> Result<T>) -> Result<T> {
        if locked(&self.busy).contains(&id.0) {
            return Err(error::busy("image", id));
        }
        let mut uploads = locked(&self.uploads);
        if !uploads.contains_key(&id) {
            let upload = self.open_part(id, false)?.ok_or_else(|| error::upload_not_there(id))?;
            make_room(&mut uploads);
            uploads.insert(id, upload);
        }
        work(uploads.get_mut(&id).ok_or_else(|| error::upload_not_there(id))?)
    }

    /// Reads a whole file once more.
    pub(super) fn hash(
        &self,
        file: &File,
        length: u64,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<String> {
        let failed = |e: Error| io("read the image", &e);
        let mut context = Context::new(&SHA256);
        let mut buffer = vec![0; HASH_PIECE_BYTES];
        let mut at = 0;
        while at < length {
            let n = file.read_at(&mut buffer, at).map_err(failed)?;
            if n == 0 {
                return Err(failed(ErrorKind::UnexpectedEof.into()));
            }
            context.update(&buffer[..n]);
            at += n as u64;
            progress(Progress { done_bytes: at.min(length), total_bytes: length });
            self.step("finish image: hashing")?;
        }
        Ok(sniff::hex(context.finish().as_ref()))
    }

    /// Format and virtual size of a file in the image folder, or why it is no image.
    fn check_content(&self, file: &File, name: &str, length: u64) -> Result<(ImageFormat, u64)> {
        let mut head = vec![0; HEAD_BYTES];
        let mut got = 0;
        while got < head.len() {
            match file.read_at(&mut head[got..], got as u64).map_err(|e| io("read the image", &e))? {
                0 => break,
                n => got += n,
            }
        }
        head.truncate(got);
        match sniff::content(&head) {
            Content::Image(ImageFormat::Qcow2) => self.check_qcow2(name),
            Content::Image(format) => Ok((format, virtual_size(format, length))),
            other => Err(other.refusal()),
        }
    }

    fn check_qcow2(&self, name: &str) -> Result<(ImageFormat, u64)> {
        let refused = Content::Image(ImageFormat::Qcow2).refusal();
        let info = self.qemu_info(&self.images_dir()?, name).map_err(|fault| match fault.code {
            // QEMU cannot open it: the file's fault, not the pool's.
            quantix_model::FaultCode::PoolIoFailed => refused.clone().because(fault.cause),
            _ => fault,
        })?;
        if info.backing_filename.is_some() {
            return Err(Content::DependsOnFile("a backing file").refusal());
        }
        if info.has_data_file() {
            return Err(Content::DependsOnFile("an external data file").refusal());
        }
        if info.is_encrypted() {
            return Err(Content::Encrypted.refusal());
        }
        if info.is_corrupt() {
            return Err(refused.because("it is marked as corrupt"));
        }
        Ok((ImageFormat::Qcow2, info.virtual_size))
    }

    /// Finish was done before, but its answer may have been lost: look again.
    fn finished(
        &self,
        id: ImageId,
        image: &Image,
        size_bytes: u64,
        sha256: Option<&str>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<ImageFacts> {
        error::same_length(id, size_bytes, image.length)?;
        let found = self.hash(&image.file, image.length, progress)?;
        error::same_checksum(sha256, &found)?;
        let virtual_size_bytes = self.image_virtual_size(image)?;
        Ok(ImageFacts { format: image.format, virtual_size_bytes, sha256: found })
    }

    /// A complete upload out of the table; `None` when there is none.
    pub(super) fn take_complete(&self, id: ImageId, size_bytes: u64) -> Result<Option<Upload>> {
        let known = locked(&self.uploads).remove(&id);
        let known = known.map_or_else(|| self.open_part(id, false), |upload| Ok(Some(upload)))?;
        let Some(mut upload) = known else { return Ok(None) };
        if upload.length != size_bytes {
            let fault = error::incomplete(upload.length, size_bytes);
            locked(&self.uploads).insert(id, upload);
            return Err(fault);
        }
        upload.syncer.finish().map_err(|e| io("sync upload", &e))?;
        Ok(Some(upload))
    }

    /// The checksum of a complete upload, and its file.
    pub(super) fn sum(
        &self,
        upload: Upload,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Arc<File>, String)> {
        let sum = match upload.digest {
            Some(digest) => sniff::hex(digest.finish().as_ref()),
            None => self.hash(&upload.file, upload.length, progress)?,
        };
        Ok((upload.file, sum))
    }

    /// Checksum and content of a complete upload; `Err` in `Ok` is a verdict on the file itself.
    fn judge(
        &self,
        id: ImageId,
        upload: &mut Upload,
        sha256: Option<&str>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Result<ImageFacts>> {
        let found = match upload.digest.take() {
            Some(digest) => sniff::hex(digest.finish().as_ref()),
            None => self.hash(&upload.file, upload.length, progress)?,
        };
        self.step("finish image: hashed")?;
        if let Err(fault) = error::same_checksum(sha256, &found) {
            return Ok(Err(fault));
        }
        match self.check_content(&upload.file, &part_name(id), upload.length) {
            Ok((format, virtual_size_bytes)) => {
                Ok(Ok(ImageFacts { format, virtual_size_bytes, sha256: found }))
            }
            Err(fault) if is_verdict(fault.code) => Ok(Err(fault)),
            Err(fault) => Err(fault),
        }
    }
}

/// Whether a fault is about the file itself, so that trying again with the same bytes is useless.
fn is_verdict(code: quantix_model::FaultCode) -> bool {
    use quantix_model::FaultCode as C;
    matches!(code, C::ImageNotAnImage | C::ImageBackingFileRefused | C::ImageChecksumMismatch)
}

/// Closes an idle upload when too many are open.
fn make_room(uploads: &mut std::collections::HashMap<ImageId, Upload>) {
    if uploads.len() >= OPEN_UPLOADS_MAX
        && let Some(id) = uploads.keys().next().copied()
    {
        uploads.remove(&id);
    }
}

impl Images for LocalPool {
    fn upload_open(&self, id: ImageId, size_bytes: u64) -> Result<u64> {
        let _busy = self.busy("image", id.0)?;
        if let Some(image) = self.find_image(id)? {
            return error::same_length(id, size_bytes, image.length);
        }
        let mut uploads = locked(&self.uploads);
        if uploads.get(&id).is_some_and(|upload| upload.length <= size_bytes) {
            drop(uploads);
            return self.sync_upload(id);
        }
        uploads.remove(&id);
        self.step("open upload")?;
        let there = self.open_part(id, false)?.map_or(0, |upload| upload.length);
        let space = fstatvfs(self.root()?.fd()).map_err(|e| io("statfs", &e.into()))?;
        let available = space.f_bavail.saturating_mul(space.f_frsize);
        if size_bytes.saturating_sub(there) > available {
            let needed = format!("{size_bytes} bytes are announced, {available} are free");
            return Err(io("open upload", &Error::new(ErrorKind::StorageFull, needed)));
        }
        if there > size_bytes {
            // Another file under the same id: begin anew.
            remove(self.images_dir()?, &part_name(id)).map_err(|e| io("open upload", &e))?;
        }
        let upload = self.open_part(id, true)?.ok_or_else(|| error::upload_not_there(id))?;
        fsync(self.images_dir()?).map_err(|e| io("open upload", &e.into()))?;
        make_room(&mut uploads);
        let length = upload.length;
        uploads.insert(id, upload);
        Ok(length)
    }

    fn upload_write(&self, id: ImageId, offset: u64, bytes: &[u8]) -> Result<u64> {
        self.with_upload(id, |upload| {
            if offset != upload.length {
                return Err(error::offset(id, offset, upload.length));
            }
            self.step("write upload")?;
            if let Err(e) = upload.append(bytes) {
                // Half a piece would be counted as received after a restart.
                let _ = upload.file.set_len(upload.length);
                upload.digest = None;
                return Err(io("write upload", &e));
            }
            if let Err(e) = upload.syncer.wrote(&upload.file, bytes.len() as u64) {
                upload.take_back();
                return Err(io("sync upload", &e));
            }
            upload.length += bytes.len() as u64;
            Ok(upload.length)
        })
    }

    fn upload_sync(&self, id: ImageId) -> Result<u64> {
        // Opens it when this worker has not yet.
        self.with_upload(id, |_| Ok(()))?;
        self.sync_upload(id)
    }

    fn upload_finish(
        &self,
        id: ImageId,
        size_bytes: u64,
        sha256: Option<&str>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<ImageFacts> {
        let _busy = self.busy("image", id.0)?;
        if let Some(image) = self.find_image(id)? {
            return self.finished(id, &image, size_bytes, sha256, progress);
        }
        let known = locked(&self.uploads).remove(&id);
        let known = known.map_or_else(|| self.open_part(id, false), |upload| Ok(Some(upload)))?;
        let mut upload = known.ok_or_else(|| error::upload_not_there(id))?;
        if upload.length != size_bytes {
            let fault = error::incomplete(upload.length, size_bytes);
            locked(&self.uploads).insert(id, upload);
            return Err(fault);
        }
        self.step("finish image: begun")?;
        upload.syncer.finish().map_err(|e| io("sync image", &e))?;
        let dir = self.images_dir()?;
        let facts = match self.judge(id, &mut upload, sha256, progress)? {
            Ok(facts) => facts,
            Err(verdict) => {
                remove(&dir, &part_name(id)).map_err(|e| io("remove upload", &e))?;
                return Err(verdict);
            }
        };
        let failed = |e: Error| io("finish image", &e);
        self.step("finish image: checked")?;
        fchmod(&upload.file, Mode::from_raw_mode(0o444)).map_err(|e| failed(e.into()))?;
        upload.file.sync_all().map_err(failed)?;
        self.step("finish image: synced")?;
        let finished = name(id, facts.format);
        rename_new(&dir, &part_name(id), &dir, &finished).map_err(|e| failed(e.into()))?;
        self.step("finish image: renamed")?;
        fsync(&dir).map_err(|e| failed(e.into()))?;
        Ok(facts)
    }

    fn image_delete(&self, id: ImageId) -> Result<bool> {
        let _busy = self.busy("image", id.0)?;
        let readers = self.readers(Base::Image(id))?;
        if !readers.is_empty() {
            return Err(error::image_in_use(id, &readers));
        }
        locked(&self.uploads).remove(&id);
        let dir = self.images_dir()?;
        let mut existed = remove(&dir, &part_name(id)).map_err(|e| io("delete image", &e))?;
        for format in FORMATS {
            self.step("delete image")?;
            existed |= remove(&dir, &name(id, format)).map_err(|e| io("delete image", &e))?;
        }
        if existed {
            fsync(&dir).map_err(|e| io("delete image", &e.into()))?;
        }
        Ok(existed)
    }

    fn image_attach(&self, id: ImageId) -> Result<Attachment> {
        let image = self.find_image(id)?.ok_or_else(|| error::image_not_there(id))?;
        self.check_stands_alone(&image)?;
        Ok(Attachment::File {
            path: format!("{}/images/{}", self.path, image.name),
            format: image.format.disk_format().unwrap_or(VolumeFormat::Raw),
        })
    }
}
