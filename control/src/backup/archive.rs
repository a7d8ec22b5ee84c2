//! The backup file: a tar under zstd whose first entry, `manifest.json`, says what the others must be.

use super::{PKI, file_fault, place};
use crate::config::Config;
use aws_lc_rs::digest;
use quantix_model::UnixMs;
use quantix_model::fault::{Fault, FaultCode};
use quantix_store::backup::Copied;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Layout of the file; a later one may not be readable here.
const FORMAT: u32 = 2;
/// First entry.
const MANIFEST: &str = "manifest.json";
/// Longer than any manifest of ours.
const MANIFEST_BYTES_MAX: u64 = 1 << 20;
/// The part that is the database.
pub(super) const DATABASE_PART: &str = "database";
/// The part that is the settings file.
const SETTINGS_PART: &str = "vdc.toml";
/// The parts that are keys and certificates.
const PKI_PARTS: [&str; 4] = ["pki/authorities.json", "pki/ca.pem", "pki/vdc.key", "pki/vdc.pem"];
/// The part that is there when people brought a certificate.
const OWN_PART: &str = "pki/own.json";
/// What stood in the place of the first one in layout 1.
const LEGACY_KEY_PART: &str = "pki/ca.key";
/// The key for secrets at rest; a vDC that keeps it elsewhere has none here, nor had earlier releases any.
const SEAL_PART: &str = crate::seal::FILE;
/// As good as any for databases, and fast.
const ZSTD_LEVEL: i32 = 3;

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Layout of the file.
    pub format: u32,
    /// Release that made it.
    pub version: String,
    /// Made then, in milliseconds since 1970.
    pub made_at_ms: UnixMs,
    /// What the database is.
    pub database: Copied,
    /// The entries that follow, in their order.
    pub parts: Vec<Part>,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// `database`, `pki/ca.key`, …
    pub name: String,
    /// Length in bytes.
    pub size_bytes: u64,
    /// SHA-256, lower-case hex.
    pub sha256: String,
}

/// Writes the whole state to the new file `file`; the vDC may be serving. `settings`: the settings file in use.
pub async fn make(
    config: &Config,
    settings: Option<&Path>,
    file: &Path,
    now: UnixMs,
) -> Result<Manifest, Fault> {
    if config.data_dir.join(super::restore::JOURNAL).exists() {
        let message = "A restore was cut short here and is not over yet.";
        return Err(Fault::new(
            FaultCode::Busy,
            message,
            "Start the vDC once: it ends the restore by itself.",
        ));
    }
    if file.exists() {
        return Err(exists(file));
    }
    let folder = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let made = tempfile::Builder::new().prefix(".quantix-backup-").tempdir_in(folder);
    let work = made.map_err(|err| file_fault(folder, &err))?;
    let copy = work.path().join(DATABASE_PART);
    let database = place(config).copy(&copy).await?;
    let mut sources = vec![(DATABASE_PART.to_owned(), copy)];
    let own = config.data_dir.join(OWN_PART).exists().then_some(OWN_PART);
    for name in PKI_PARTS.into_iter().chain(own) {
        sources.push((name.to_owned(), config.data_dir.join(name)));
    }
    let seal = config.data_dir.join(crate::seal::FILE);
    if config.seal_key_file.is_none() && seal.exists() {
        sources.push((SEAL_PART.to_owned(), seal));
    }
    if let Some(settings) = settings {
        sources.push((SETTINGS_PART.to_owned(), settings.to_owned()));
    }
    let mut parts = Vec::with_capacity(sources.len());
    for (name, path) in &sources {
        let (size_bytes, sha256) = measure(path)?;
        parts.push(Part { name: name.clone(), size_bytes, sha256 });
    }
    let version = crate::VERSION.to_owned();
    let manifest = Manifest { format: FORMAT, version, made_at_ms: now, database, parts };
    let whole = work.path().join("whole");
    write(&whole, &manifest, &sources).map_err(|err| file_fault(file, &err))?;
    // A link never takes the place of what is there, as a rename would.
    let linked = std::fs::hard_link(&whole, file);
    linked.map_err(|err| match err.kind() {
        std::io::ErrorKind::AlreadyExists => exists(file),
        _ => file_fault(file, &err),
    })?;
    sync_folder(folder)?;
    Ok(manifest)
}

fn exists(file: &Path) -> Fault {
    Fault::new(
        FaultCode::FileExists,
        format!("{} is there already.", file.display()),
        "Choose another name, or remove that file first.",
    )
}

fn write(path: &Path, manifest: &Manifest, sources: &[(String, PathBuf)]) -> std::io::Result<()> {
    let file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    let mut packer = zstd::Encoder::new(BufWriter::new(file), ZSTD_LEVEL)?;
    packer.include_checksum(true)?;
    let mut tar = tar::Builder::new(packer);
    let head = serde_json::to_vec_pretty(manifest)?;
    let at = u64::try_from(manifest.made_at_ms.0 / 1000).unwrap_or(0);
    tar.append_data(&mut header(head.len() as u64, at), MANIFEST, head.as_slice())?;
    for ((name, source), part) in sources.iter().zip(&manifest.parts) {
        let bytes = File::open(source)?.take(part.size_bytes);
        tar.append_data(&mut header(part.size_bytes, at), name, bytes)?;
    }
    let file = tar.into_inner()?.finish()?.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    file.sync_all()
}

fn header(size_bytes: u64, at: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size_bytes);
    header.set_mode(0o600);
    header.set_mtime(at);
    header
}

fn measure(path: &Path) -> Result<(u64, String), Fault> {
    let mut file = File::open(path).map_err(|err| file_fault(path, &err))?;
    copy_digested(&mut file, &mut std::io::sink()).map_err(|err| file_fault(path, &err))
}

/// Copies everything; answers its length and SHA-256.
fn copy_digested(from: &mut impl Read, to: &mut impl Write) -> std::io::Result<(u64, String)> {
    let mut sum = digest::Context::new(&digest::SHA256);
    let mut buffer = vec![0; 128 << 10];
    let mut size_bytes = 0;
    loop {
        let len = from.read(&mut buffer)?;
        if len == 0 {
            let hex = sum.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            return Ok((size_bytes, hex));
        }
        sum.update(&buffer[..len]);
        to.write_all(&buffer[..len])?;
        size_bytes += len as u64;
    }
}

/// Makes names in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> Result<(), Fault> {
    File::open(folder).and_then(|file| file.sync_all()).map_err(|err| file_fault(folder, &err))
}

fn damaged(file: &Path, why: impl std::fmt::Display) -> Fault {
    Fault {
        field: "file".into(),
        ..Fault::new(
            FaultCode::InvalidArgument,
            format!("{} is damaged, or no backup of a vDC.", file.display()),
            "Take another backup file. Nothing was changed.",
        )
    }
    .because(why)
}

type Unpacker = tar::Archive<zstd::Decoder<'static, BufReader<BufReader<File>>>>;

fn open(file: &Path) -> Result<Unpacker, Fault> {
    let opened = File::open(file).map_err(|err| file_fault(file, &err))?;
    let unpacker = zstd::Decoder::new(BufReader::new(opened)).map_err(|err| damaged(file, err))?;
    Ok(tar::Archive::new(unpacker))
}

/// Reads what a backup says of itself.
pub(super) fn manifest(file: &Path) -> Result<Manifest, Fault> {
    let mut archive = open(file)?;
    let mut entries = archive.entries().map_err(|err| damaged(file, err))?;
    let first =
        entries.next().ok_or_else(|| damaged(file, "it is empty"))?.map_err(|err| damaged(file, err))?;
    if first.path_bytes().as_ref() != MANIFEST.as_bytes() {
        return Err(damaged(file, "its first entry is no manifest"));
    }
    let mut text = Vec::new();
    first.take(MANIFEST_BYTES_MAX).read_to_end(&mut text).map_err(|err| damaged(file, err))?;
    let format = serde_json::from_slice::<serde_json::Value>(&text).map_err(|err| damaged(file, err))?;
    match format.get("format").and_then(serde_json::Value::as_u64) {
        Some(format) if format > u64::from(FORMAT) => {
            return Err(Fault::new(
                FaultCode::VersionUnsupported,
                "The backup was made by a newer release than this one.",
                "Restore with the release that made it, or a later one.",
            )
            .because(format!("its layout is {format}, this release reads up to {FORMAT}")));
        }
        _ => {}
    }
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|err| damaged(file, err))?;
    let others = [DATABASE_PART, SETTINGS_PART, OWN_PART, LEGACY_KEY_PART, SEAL_PART];
    let known = |name: &str| others.contains(&name) || PKI_PARTS.contains(&name);
    if let Some(part) = manifest.parts.iter().find(|part| !known(&part.name)) {
        return Err(damaged(file, format!("it has a part {:?}", part.name)));
    }
    let key = if manifest.format == 1 { LEGACY_KEY_PART } else { PKI_PARTS[0] };
    let has = |name: &str| {
        let name = if name == PKI_PARTS[0] { key } else { name };
        manifest.parts.iter().any(|part| part.name == name)
    };
    if let Some(missing) = [DATABASE_PART].iter().chain(&PKI_PARTS).find(|name| !has(name)) {
        return Err(damaged(file, format!("it has no part {missing:?}")));
    }
    Ok(manifest)
}

/// Unpacks the parts into the new folder `stage`, each checked against the manifest and synced; settings stay out.
pub(super) fn unpack(file: &Path, manifest: &Manifest, stage: &Path, database: &str) -> Result<(), Fault> {
    let mut archive = open(file)?;
    let mut entries = archive.entries().map_err(|err| damaged(file, err))?;
    // The manifest, read before.
    entries.next();
    for part in &manifest.parts {
        let missing = || damaged(file, format!("{} is missing", part.name));
        let mut entry = entries.next().ok_or_else(missing)?.map_err(|err| damaged(file, err))?;
        if entry.path_bytes().as_ref() != part.name.as_bytes() {
            return Err(missing());
        }
        let target = match part.name.as_str() {
            DATABASE_PART => stage.join(database),
            name => stage.join(name),
        };
        let measured = if part.name == SETTINGS_PART {
            copy_digested(&mut entry, &mut std::io::sink()).map_err(|err| damaged(file, err))?
        } else {
            let opened = File::options().write(true).create_new(true).mode(0o600).open(&target);
            let mut out = opened.map_err(|err| file_fault(&target, &err))?;
            let measured = copy_digested(&mut entry, &mut out).map_err(|err| damaged(file, err))?;
            out.sync_all().map_err(|err| file_fault(&target, &err))?;
            measured
        };
        if measured != (part.size_bytes, part.sha256.clone()) {
            return Err(damaged(file, format!("{} is not what the manifest says", part.name)));
        }
    }
    // To the end: the last block carries the whole stream's checksum.
    match entries.next() {
        None => {}
        Some(Ok(_)) => return Err(damaged(file, "something follows the last part")),
        Some(Err(err)) => return Err(damaged(file, err)),
    }
    let mut rest = archive.into_inner();
    std::io::copy(&mut rest, &mut std::io::sink()).map_err(|err| damaged(file, err))?;
    sync_folder(&stage.join(PKI))?;
    sync_folder(stage)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quantix_store::backup::{Engine, schema_known};

    /// A whole backup that says these things of itself.
    fn written(dir: &Path, format: u32, engine: Engine, step: &str) -> PathBuf {
        let bytes = dir.join("bytes");
        std::fs::write(&bytes, "x").unwrap();
        let names = [DATABASE_PART].into_iter().chain(PKI_PARTS);
        let sources: Vec<(String, PathBuf)> = names.map(|name| (name.to_owned(), bytes.clone())).collect();
        let (size_bytes, sha256) = measure(&bytes).unwrap();
        let part =
            |(name, _): &(String, PathBuf)| Part { name: name.clone(), size_bytes, sha256: sha256.clone() };
        let mut schema = schema_known();
        schema.push(step.to_owned());
        let manifest = Manifest {
            format,
            version: "9.9.9".into(),
            made_at_ms: UnixMs(0),
            database: Copied { engine, schema, namespace: String::new() },
            parts: sources.iter().map(part).collect(),
        };
        let file = dir.join(format!("{format}-{engine}-{step}"));
        write(&file, &manifest, &sources).unwrap();
        file
    }

    #[tokio::test]
    async fn what_is_newer_of_the_other_engine_or_no_database_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::new(dir.path().join("vdc"));
        let known = schema_known().pop().unwrap();
        for (format, engine, step, code, words) in [
            (FORMAT, Engine::Sqlite, "m2999_later", FaultCode::VersionUnsupported, "release that made it"),
            (
                FORMAT + 1,
                Engine::Sqlite,
                known.as_str(),
                FaultCode::VersionUnsupported,
                "release that made it",
            ),
            (FORMAT, Engine::Postgresql, known.as_str(), FaultCode::InvalidArgument, "database_url"),
            (FORMAT, Engine::Sqlite, known.as_str(), FaultCode::InvalidArgument, "another backup"),
        ] {
            let file = written(dir.path(), format, engine, step);
            let refused =
                super::super::restore(&config, &file, false, UnixMs(1), &mut |_| Ok(())).await.unwrap_err();
            assert_eq!(refused.code, code, "{refused}");
            assert!(refused.remedy.contains(words), "{refused:?}");
            assert!(!config.data_dir.join(crate::backup::DATABASE).exists());
        }
    }
}
