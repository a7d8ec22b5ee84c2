//! Keeps secrets at rest: what may not be read by whoever gets hold of the database or of a backup of it alone.
//!
//! The key stands in a file of its own (`seal.key` in the data folder, or wherever `seal_key_file` says: another disk, a
//! mounted secret). The first line seals, every line opens, so that a new key can be put first and the old ones go later.
//!
//! ```text
//!   qs1.<key id>.<base64url of nonce, ciphertext, tag>       AES-256-GCM; the purpose is authenticated with it
//! ```
//! The purpose names what the secret belongs to (`pool 0190… key`), so that a sealed text moved to another row opens
//! nothing.

use crate::ids;
use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quantix_model::fault::{Fault, FaultCode};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// File within the data folder, when the settings name no other.
pub const FILE: &str = "seal.key";
/// What every sealed text begins with.
const PREFIX: &str = "qs1.";
/// Bytes of a key.
const KEY_BYTES: usize = 32;
/// Bytes of a nonce (NIST SP 800-38D).
const NONCE_BYTES: usize = 12;

/// The keys, the one that seals first.
pub struct Seal {
    path: PathBuf,
    keys: Vec<Key>,
}

struct Key {
    id: String,
    key: RandomizedNonceKey,
    mac: hmac::Key,
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seal").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Seal {
    /// Reads the keys. A file that is missing is made when nothing was sealed before (`is_new`), and refused otherwise: a
    /// new key would open nothing of what there is.
    pub fn open(path: &Path, is_new: bool) -> Result<Seal, Fault> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => Zeroizing::new(text),
            Err(err) if err.kind() == std::io::ErrorKind::NotFound && is_new => {
                let text = new_key();
                write(path, &text).map_err(|err| unusable(path).because(err))?;
                tracing::info!(path = %path.display(), "made a new key for secrets at rest");
                text
            }
            Err(err) => return Err(unusable(path).because(err)),
        };
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let keys: Vec<Key> = lines.map(key).collect::<Option<_>>().unwrap_or_default();
        if keys.is_empty() {
            return Err(unusable(path).because("a line of it is no key: 64 hexadecimal digits"));
        }
        Ok(Seal { path: path.to_owned(), keys })
    }

    /// A short name of the key that seals; tells nothing of the key.
    pub fn key_id(&self) -> &str {
        self.keys.first().map_or("", |key| &key.id)
    }

    /// Whether a key of this name is among ours.
    pub fn has(&self, key_id: &str) -> bool {
        self.keys.iter().any(|key| key.id == key_id)
    }

    /// The fault when none of the keys is the one the store knows.
    pub fn is_another(&self) -> Fault {
        unusable(&self.path).because("it holds another key than the one this database was used with last")
    }

    /// Seals some bytes for a purpose.
    pub fn close(&self, purpose: &str, plain: &[u8]) -> Result<String, Fault> {
        let Some(key) = self.keys.first() else { return Err(unusable(&self.path)) };
        let mut bytes = plain.to_vec();
        let aad = Aad::from(purpose.as_bytes());
        let nonce = key.key.seal_in_place_append_tag(aad, &mut bytes).map_err(Fault::internal)?;
        let whole: Vec<u8> = nonce.as_ref().iter().chain(&bytes).copied().collect();
        Ok(format!("{PREFIX}{}.{}", key.id, URL_SAFE_NO_PAD.encode(whole)))
    }

    /// Opens what was sealed for the same purpose.
    pub fn open_sealed(&self, purpose: &str, text: &str) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let parts = text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('.'));
        let (id, body) = parts.ok_or_else(|| damaged(purpose, "it is not sealed"))?;
        let key = self.keys.iter().find(|key| key.id == id).ok_or_else(|| self.other_key(purpose, id))?;
        let whole = URL_SAFE_NO_PAD.decode(body).map_err(|err| damaged(purpose, &err.to_string()))?;
        let (nonce, rest) =
            whole.split_at_checked(NONCE_BYTES).ok_or_else(|| damaged(purpose, "it is cut short"))?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(Fault::internal)?;
        let mut bytes = Zeroizing::new(rest.to_vec());
        let aad = Aad::from(purpose.as_bytes());
        let opened = key.key.open_in_place(nonce, aad, &mut bytes);
        let length = opened.map_err(|_| damaged(purpose, "it was changed, or belongs elsewhere"))?.len();
        bytes.truncate(length);
        Ok(bytes)
    }

    /// [`Seal::open_sealed`] for texts.
    pub fn open_text(&self, purpose: &str, text: &str) -> Result<Zeroizing<String>, Fault> {
        let bytes = self.open_sealed(purpose, text)?;
        let text = std::str::from_utf8(&bytes).map_err(|err| damaged(purpose, &err.to_string()))?;
        Ok(Zeroizing::new(text.to_owned()))
    }

    /// HMAC-SHA256 over some bytes, hex, by the key of that name.
    pub fn mac(&self, key_id: &str, bytes: &[u8]) -> Result<String, Fault> {
        let key = self.keys.iter().find(|key| key.id == key_id);
        let key = key.ok_or_else(|| self.other_key("a row of the audit log", key_id))?;
        Ok(hmac::sign(&key.mac, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn other_key(&self, purpose: &str, id: &str) -> Fault {
        Fault::new(
            FaultCode::SealKeyMissing,
            format!(
                "The secret of {purpose} was sealed with a key that {} does not hold.",
                self.path.display()
            ),
            "Put the file that belongs to this database back in place, or set the secret anew.",
        )
        .because(format!("sealed with key {id}"))
    }
}

/// Whether a text is sealed; older releases kept some in clear.
pub fn is_sealed(text: &str) -> bool {
    text.starts_with(PREFIX)
}

/// A new line for the key file.
fn new_key() -> Zeroizing<String> {
    let bytes = Zeroizing::new(ids::secret::<KEY_BYTES>());
    Zeroizing::new(bytes.iter().map(|byte| format!("{byte:02x}")).chain(["\n".into()]).collect())
}

fn key(line: &str) -> Option<Key> {
    let digits = line.as_bytes();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Zeroizing<Vec<u8>> = Zeroizing::new(digits.chunks(2).map(pair).collect::<Option<_>>()?);
    if digits.len() != 2 * KEY_BYTES {
        return None;
    }
    let hash = digest::digest(&digest::SHA256, &bytes);
    let id = hash.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    // A key of its own: one key must not serve two algorithms.
    let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &bytes), b"quantix mac");
    let mac = hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref());
    Some(Key { id, key: RandomizedNonceKey::new(&AES_256_GCM, &bytes).ok()?, mac })
}

/// Writes the key for the owner's eyes only, whole or not at all.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let part = path.with_extension("part");
    let _ = std::fs::remove_file(&part);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&part, path)?;
    match path.parent() {
        Some(folder) => std::fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn unusable(path: &Path) -> Fault {
    Fault::new(
        FaultCode::SealKeyMissing,
        format!("The key for secrets at rest, {}, cannot be used.", path.display()),
        "Put the file back from a backup: without it the secrets in the database cannot be read.",
    )
}

fn damaged(purpose: &str, why: &str) -> Fault {
    Fault::new(
        FaultCode::SealKeyMissing,
        format!("The secret of {purpose} cannot be opened."),
        "Set the secret anew; if there are more of these, compare the database with a backup.",
    )
    .because(why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn seal(dir: &tempfile::TempDir) -> Seal {
        Seal::open(&dir.path().join(FILE), true).unwrap()
    }

    #[test]
    fn made_once_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let first = seal(&dir);
        let mode = std::fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(first.key_id(), seal(&dir).key_id());
        assert_eq!(first.key_id().len(), 8);
    }

    #[test]
    fn opens_for_its_own_purpose_only() {
        let dir = tempfile::tempdir().unwrap();
        let seal = seal(&dir);
        let text = seal.close("pool a", b"hunter2").unwrap();
        assert!(is_sealed(&text) && !text.contains("hunter2"));
        assert_ne!(text, seal.close("pool a", b"hunter2").unwrap());
        assert_eq!(seal.open_text("pool a", &text).unwrap().as_str(), "hunter2");
        for (purpose, text) in [
            ("pool b", text.clone()),
            ("pool a", text[..text.len() - 2].to_owned()),
            ("pool a", "hunter2".to_owned()),
            ("pool a", "qs1.00000000.AAAA".to_owned()),
            ("pool a", format!("qs1.{}.AAAA", seal.key_id())),
            ("pool a", format!("qs1.{}.?", seal.key_id())),
        ] {
            assert_eq!(seal.open_text(purpose, &text).unwrap_err().code, FaultCode::SealKeyMissing, "{text}");
        }
    }

    #[test]
    fn a_lost_key_is_said_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let text = seal(&dir).close("x", b"y").unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(Seal::open(&path, false).unwrap_err().code, FaultCode::SealKeyMissing);
        let other = Seal::open(&path, true).unwrap();
        assert_eq!(other.open_sealed("x", &text).unwrap_err().code, FaultCode::SealKeyMissing);
        std::fs::write(&path, "short\n").unwrap();
        assert!(Seal::open(&path, true).is_err());
    }

    #[test]
    fn an_older_key_still_opens() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let text = seal(&dir).close("x", b"y").unwrap();
        let old = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("# of today\n{}{old}", new_key().as_str())).unwrap();
        let both = Seal::open(&path, false).unwrap();
        assert_eq!(both.open_sealed("x", &text).unwrap().as_slice(), b"y");
        assert!(!both.close("x", b"y").unwrap().contains(&format!(".{}.", text.split('.').nth(1).unwrap())));
    }
}
