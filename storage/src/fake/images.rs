//! Images in memory.

use super::{FakeBackend, MOUNT_PATH};
use crate::backend::{Attachment, Images, Progress};
use crate::error::{self, Result};
use crate::local::sniff::{self, Content};
use quantix_model::id::ImageId;
use quantix_model::image::ImageFacts;
use quantix_model::volume::VolumeFormat;

impl Images for FakeBackend {
    fn upload_open(&self, id: ImageId, size_bytes: u64) -> Result<u64> {
        let mut shelf = self.shelf()?;
        if let Some((bytes, _)) = shelf.images.get(&id) {
            return error::same_length(id, size_bytes, bytes.len() as u64);
        }
        let there = shelf.uploads.get(&id).map_or(0, |b| b.len() as u64);
        shelf.room_for(size_bytes.saturating_sub(there))?;
        let upload = shelf.uploads.entry(id).or_default();
        if there > size_bytes {
            upload.clear();
        }
        Ok(upload.len() as u64)
    }

    fn upload_write(&self, id: ImageId, offset: u64, bytes: &[u8]) -> Result<u64> {
        let mut shelf = self.shelf()?;
        shelf.room_for(bytes.len() as u64)?;
        let upload = shelf.uploads.get_mut(&id).ok_or_else(|| error::upload_not_there(id))?;
        if offset != upload.len() as u64 {
            return Err(error::offset(id, offset, upload.len() as u64));
        }
        upload.extend_from_slice(bytes);
        Ok(upload.len() as u64)
    }

    fn upload_sync(&self, id: ImageId) -> Result<u64> {
        let shelf = self.shelf()?;
        shelf.uploads.get(&id).map(|b| b.len() as u64).ok_or_else(|| error::upload_not_there(id))
    }

    fn upload_finish(
        &self,
        id: ImageId,
        size_bytes: u64,
        sha256: Option<&str>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<ImageFacts> {
        let mut shelf = self.shelf()?;
        if let Some((bytes, facts)) = shelf.images.get(&id) {
            error::same_length(id, size_bytes, bytes.len() as u64)?;
            return error::same_checksum(sha256, &facts.sha256).map(|()| facts.clone());
        }
        let bytes = shelf.uploads.get(&id).ok_or_else(|| error::upload_not_there(id))?;
        let length = bytes.len() as u64;
        if length != size_bytes {
            return Err(error::incomplete(length, size_bytes));
        }
        progress(Progress { done_bytes: length, total_bytes: length });
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
        let found = sniff::hex(digest.as_ref());
        let checked = error::same_checksum(sha256, &found).and_then(|()| match sniff::content(bytes) {
            Content::Image(format) => Ok(format),
            other => Err(other.refusal()),
        });
        // What can never become an image is not kept.
        let bytes = shelf.uploads.remove(&id).unwrap_or_default();
        let format = checked?;
        let virtual_size_bytes = match format.disk_format() {
            Some(VolumeFormat::Qcow2) => sniff::qcow2_virtual_size(&bytes)?,
            Some(VolumeFormat::Raw) | None => length,
        };
        let facts = ImageFacts { format, virtual_size_bytes, sha256: found };
        shelf.images.insert(id, (bytes, facts.clone()));
        Ok(facts)
    }

    fn image_delete(&self, id: ImageId) -> Result<bool> {
        let mut shelf = self.shelf()?;
        let linked = shelf.volumes.values().filter(|v| v.image == Some(id));
        let linked: Vec<_> = linked.map(|v| v.info.id).collect();
        if !linked.is_empty() {
            return Err(error::image_in_use(id, &linked));
        }
        let (image, upload) = (shelf.images.remove(&id), shelf.uploads.remove(&id));
        Ok(image.is_some() || upload.is_some())
    }

    fn image_attach(&self, id: ImageId) -> Result<Attachment> {
        let shelf = self.shelf()?;
        let (_, facts) = shelf.images.get(&id).ok_or_else(|| error::image_not_there(id))?;
        Ok(Attachment::File {
            path: format!("{MOUNT_PATH}/images/{id}.{}", facts.format.as_str()),
            format: facts.format.disk_format().unwrap_or(VolumeFormat::Raw),
        })
    }
}
