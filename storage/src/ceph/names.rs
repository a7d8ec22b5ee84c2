//! The names our images and snapshots have in a Ceph pool. See the table in the module above.

use quantix_model::id::VolumeId;
use std::str::FromStr;
use uuid::Uuid;

const PREFIX: &str = "quantix-";
const NEW: &str = "quantix-new-";
const GONE: &str = "quantix-gone-";
const BASE: &str = "clone-";
/// Hyphenated, as we write it.
const ID_CHARS: usize = 36;

/// A volume's image.
pub fn volume(id: VolumeId) -> String {
    format!("{PREFIX}{id}")
}

/// The volume an image is.
pub fn volume_of(image: &str) -> Option<VolumeId> {
    id(image.strip_prefix(PREFIX)?)
}

/// An image this host makes now.
pub fn new(id: VolumeId, nonce: u32) -> String {
    format!("{NEW}{id}-{nonce:08x}-{}", host())
}

/// Whether an image was being made by this host.
pub fn is_new_of_this_host(image: &str) -> bool {
    image.starts_with(NEW) && image.get(NEW.len() + ID_CHARS + "-00000000-".len()..) == Some(host().as_str())
}

/// An image on its way out.
pub fn gone(id: VolumeId, nonce: u32) -> String {
    format!("{GONE}{id}-{nonce:08x}")
}

/// Whether an image is on its way out.
pub fn is_gone(image: &str) -> bool {
    image.starts_with(GONE)
}

/// Whether an image is one of ours, whatever state it is in. Others are never touched.
pub fn is_ours(image: &str) -> bool {
    volume_of(image).is_some() || image.starts_with(NEW) || is_gone(image)
}

/// The snapshot that a linked clone without a named one starts from. Longer than any name people may give.
pub fn base(clone: VolumeId) -> String {
    format!("{BASE}{clone}")
}

/// Whether a snapshot is one of [`base`].
pub fn is_base(snapshot: &str) -> bool {
    snapshot.strip_prefix(BASE).and_then(id).is_some()
}

fn id(text: &str) -> Option<VolumeId> {
    let canonical = text.len() == ID_CHARS && !text.bytes().any(|b| b.is_ascii_uppercase());
    canonical.then(|| Uuid::from_str(text).ok().map(VolumeId)).flatten()
}

/// The host's name, as far as an image's name may hold it.
fn host() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ours_are_ours() {
        let id = VolumeId(Uuid::now_v7());
        assert_eq!(volume_of(&volume(id)), Some(id));
        for other in
            [new(id, 7), gone(id, 7), "quantix-".into(), "vm-100-disk-0".into(), format!("x{}", volume(id))]
        {
            assert_eq!(volume_of(&other), None, "{other}");
        }
        assert_eq!(volume_of(&volume(id).to_uppercase().replace("QUANTIX", "quantix")), None);
        assert!(is_new_of_this_host(&new(id, 7)) && !is_new_of_this_host(&format!("{}x", new(id, 7))));
        assert!(!is_new_of_this_host("quantix-new-ä") && !is_new_of_this_host(&gone(id, 1)));
        assert!(is_gone(&gone(id, 1)) && !is_gone(&volume(id)));
        assert!(is_ours(&volume(id)) && is_ours(&new(id, 7)) && !is_ours("vm-100-disk-0"));
        assert!(is_base(&base(id)) && !is_base("clone-of-monday"));
        assert!(
            quantix_model::volume::check_snapshot_name("name", &base(id)).is_err(),
            "people could take it"
        );
    }
}
