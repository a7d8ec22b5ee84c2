//! Files of pools: looking, changing, and who they belong to. Copying and removing are in `file_work`, sending in is
//! in `file_upload`; bytes go out here. The host resolves paths; here only that is refused which is ours.

use crate::services::{App, lines, volume};
use http::HeaderMap;
use hyper::body::Incoming;
use quantix_contract::quantix::file::v1 as wire;
use quantix_contract::quantix::pool::v1::File;
use quantix_model::file::{check_new_path, check_path, is_within};
use quantix_model::id::PoolId;
use quantix_model::pool::PoolSpec;
use quantix_model::{Fault, FaultCode};
use std::collections::HashMap;

/// Folders in which each pool keeps what the vDC knows by record.
pub const OWN_FOLDERS: [&str; 2] = ["volumes", "images"];

/// Whose a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Name of the volume, image or upload.
    pub name: String,
    /// With what it is, and the VM that has it, for sentences.
    pub words: String,
}

/// Whose the files of a pool are.
#[derive(Debug, Default)]
pub struct Claims {
    volumes: HashMap<String, Claim>,
    images: HashMap<String, Claim>,
    /// The pool has no folders: its listing is its volumes.
    flat: bool,
}

impl Claims {
    /// As the records say now.
    pub async fn of(app: &App, id: PoolId) -> Result<Claims, Fault> {
        let pool = app.core.store.pool_get(id).await?;
        let mut claims =
            Claims { flat: matches!(pool.spec, PoolSpec::Ceph(_) | PoolSpec::Iscsi(_)), ..Claims::default() };
        for volume in app.core.store.volume_of_pool(id).await? {
            let vm = match volume.vm_id {
                Some(vm) => app
                    .core
                    .store
                    .vm_get(vm)
                    .await
                    .map(|vm| format!(" of VM {}", vm.name))
                    .unwrap_or_default(),
                None => String::new(),
            };
            let words = format!("volume {}{vm}", volume.name);
            claims.volumes.insert(volume.id.to_string(), Claim { name: volume.name, words });
        }
        for image in app.core.store.image_of_pool(id).await? {
            let words = format!("image {}", image.name);
            claims.images.insert(image.id.to_string(), Claim { name: image.name, words });
        }
        for upload in app.core.store.upload_all().await?.into_iter().filter(|upload| upload.pool_id == id) {
            let words = format!("the upload of {}", upload.path);
            claims.images.insert(upload.id.to_string(), Claim { name: upload.path, words });
        }
        Ok(claims)
    }

    /// Whose the file of this name in this folder is.
    pub fn at(&self, folder: &str, name: &str) -> Option<&Claim> {
        let of = match folder.trim_matches('/') {
            "volumes" => &self.volumes,
            "images" => &self.images,
            "" if self.flat => &self.volumes,
            _ => return None,
        };
        // `<id>.qcow2`, `.<id>.part`, `<id>@<snapshot>`, `quantix-<id>`: the id is what counts.
        let starts = (0..name.len().saturating_sub(35)).filter(|at| name.is_char_boundary(*at));
        starts.filter_map(|at| name.get(at..at + 36)).find_map(|id| of.get(id))
    }

    /// Refuses to touch `path` when it is ours, or holds what is.
    fn refuse(&self, field: &str, path: &str) -> Result<(), Fault> {
        let in_use = |message: String, remedy: String| {
            Err(Fault { field: field.to_owned(), ..Fault::new(FaultCode::FileInUse, message, remedy) })
        };
        if path.is_empty() || OWN_FOLDERS.contains(&path) {
            let shown = if path.is_empty() { "the pool itself" } else { path };
            let first = self.volumes.values().chain(self.images.values()).next();
            let holds =
                first.map(|claim| format!(" {} is in it.", capital(&claim.words))).unwrap_or_default();
            return in_use(
                format!("Quantix keeps volumes and images in {shown}.{holds}"),
                "Choose a file or folder of your own.".to_owned(),
            );
        }
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        match self.at(folder, name) {
            None => Ok(()),
            Some(claim) => in_use(
                format!("{path} is {}.", claim.words),
                format!("Work with {} on its own page.", claim.words),
            ),
        }
    }
}

fn capital(words: &str) -> String {
    let mut chars = words.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// Refuses to make something where Quantix keeps its own.
pub fn refuse_own_folders(field: &str, path: &str) -> Result<(), Fault> {
    match OWN_FOLDERS.iter().find(|own| is_within(path, own)) {
        None => Ok(()),
        Some(own) => Err(Fault {
            field: field.to_owned(),
            ..Fault::new(
                FaultCode::FileInUse,
                format!(
                    "Quantix keeps its own in {own}: what lies there without a record would be an orphan."
                ),
                "Choose another folder. Images are added on the Images page, volumes on the pool's page.",
            )
        }),
    }
}

/// Refuses pools that have no files to work with.
pub async fn refuse_without_files(app: &App, id: PoolId) -> Result<(), Fault> {
    let (pool, can) = volume::usable_pool(app, "pool_id", id).await?;
    match can.files {
        true => Ok(()),
        false => Err(volume::cannot(
            "pool_id",
            &pool.name,
            "keep files",
            "Use a local directory or an NFS export.",
        )),
    }
}

/// Says whose a file is, and in the host's refusals what exactly it is.
pub fn mark(file: &mut File, claim: Option<&Claim>) {
    let Some(claim) = claim else { return };
    claim.name.clone_into(&mut file.claimed_by);
    for action in file.allowed_actions.iter_mut().filter(|action| !action.allowed) {
        action.reason_if_not = format!("It is {}: work with that on its own page.", claim.words);
    }
}

/// Looks closely at a file.
pub async fn get(app: &App, id: PoolId, path: &str) -> Result<wire::FileDetails, Fault> {
    check_path("path", path)?;
    let line = lines::to_pool(app, id).await?;
    let ask = wire::GetFileRequest { pool_id: id.to_string(), path: path.to_owned(), ..Default::default() };
    let mut details = lines::soon(app, id, line.name(), "a file's details", line.get_file(ask)).await?;
    let (folder, name) = details.path.rsplit_once('/').unwrap_or(("", &details.path));
    if let Some(file) = details.file.as_option_mut() {
        mark(file, Claims::of(app, id).await?.at(folder, name));
    }
    Ok(details)
}

/// Refuses a path at which something is already.
pub async fn refuse_taken(app: &App, id: PoolId, field: &str, path: &str) -> Result<(), Fault> {
    match get(app, id, path).await {
        Ok(_) => Err(Fault {
            field: field.to_owned(),
            ..Fault::new(FaultCode::FileExists, format!("There is a {path} already."), "Choose another name.")
        }),
        Err(fault) if fault.code == FaultCode::FileNotFound => Ok(()),
        Err(fault) => Err(fault),
    }
}

/// Makes a folder.
pub async fn make_folder(app: &App, id: PoolId, path: &str) -> Result<wire::FileDetails, Fault> {
    check_new_path("path", path)?;
    refuse_own_folders("path", path)?;
    let line = lines::to_pool(app, id).await?;
    let ask =
        wire::MakeFolderRequest { pool_id: id.to_string(), path: path.to_owned(), ..Default::default() };
    lines::soon(app, id, line.name(), "the new folder", line.make_folder(ask)).await
}

/// Checks both ends of a move or a copy.
pub async fn check_pair(app: &App, id: PoolId, from: &str, to: &str) -> Result<(), Fault> {
    check_path("from_path", from)?;
    check_new_path("to_path", to)?;
    refuse_own_folders("to_path", to)?;
    if is_within(to, from) {
        let message = format!("{to} is {from} or lies in it.");
        return Err(Fault::invalid("to_path", message, "Choose another place."));
    }
    app.core.store.pool_get(id).await?;
    Ok(())
}

/// Renames or moves within the pool.
pub async fn rename(app: &App, id: PoolId, from: &str, to: &str) -> Result<wire::FileDetails, Fault> {
    check_pair(app, id, from, to).await?;
    Claims::of(app, id).await?.refuse("from_path", from)?;
    let line = lines::to_pool(app, id).await?;
    let ask = wire::MoveFileRequest {
        pool_id: id.to_string(),
        from_path: from.to_owned(),
        to_path: to.to_owned(),
        ..Default::default()
    };
    lines::soon(app, id, line.name(), "the new name", line.move_file(ask)).await
}

/// Refuses to remove what is ours.
pub async fn refuse_claimed(app: &App, id: PoolId, path: &str) -> Result<(), Fault> {
    check_path("path", path)?;
    Claims::of(app, id).await?.refuse("path", path)
}

/// The bytes of a file, or a part of them as `asked` says: the host's answer, read as fast as it is taken.
pub async fn download(
    app: &App,
    id: PoolId,
    path: &str,
    asked: &HeaderMap,
) -> Result<http::Response<Incoming>, Fault> {
    check_path("path", path)?;
    let line = lines::to_pool(app, id).await?;
    lines::soon(app, id, line.name(), "the first bytes", line.download(id, path, asked)).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use quantix_contract::quantix::action::v1::AllowedAction;

    const ID: &str = "01900000-0000-7000-8000-000000000001";

    fn claims(flat: bool) -> Claims {
        let claim = Claim { name: "data".into(), words: "volume data of VM web".into() };
        Claims { volumes: HashMap::from([(ID.to_owned(), claim)]), flat, ..Claims::default() }
    }

    #[test]
    fn whose_a_file_is() {
        let ours = format!("{ID}.qcow2");
        for (flat, folder, name, yes) in [
            (false, "volumes", ours.as_str(), true),
            (false, "volumes", &format!(".{ID}.part"), true),
            (false, "volumes", "readme", false),
            (false, "volumes", "ääääääääääääääääääääääääää", false),
            (false, "", &ours, false),
            (false, "mine", &ours, false),
            (true, "", &format!("quantix-{ID}@now"), true),
        ] {
            assert_eq!(claims(flat).at(folder, name).is_some(), yes, "{folder} {name}");
        }
    }

    #[test]
    fn refusals_name_whose_it_is_and_permissions_stay() {
        let line = |verb: &str, allowed| AllowedAction {
            verb: verb.into(),
            allowed,
            reason_if_not: if allowed { String::new() } else { "It is part of a volume.".into() },
            ..Default::default()
        };
        let actions = vec![line("download", true), line("delete", false)];
        let mut file = File { allowed_actions: actions, ..Default::default() };
        let ours = claims(false);
        mark(&mut file, ours.at("volumes", &format!("{ID}.qcow2")));
        assert_eq!(file.claimed_by, "data");
        assert!(file.allowed_actions[0].allowed && !file.allowed_actions[1].allowed);
        assert!(file.allowed_actions[1].reason_if_not.contains("volume data of VM web"));
    }

    #[test]
    fn what_is_ours_is_not_touched_and_its_user_is_named() {
        let fault = claims(false).refuse("path", &format!("volumes/{ID}.qcow2")).expect_err("ours");
        assert_eq!((fault.code, fault.field.as_str()), (FaultCode::FileInUse, "path"));
        assert!(fault.message.contains("volume data of VM web"), "{fault}");
        for own in ["", "volumes", "images"] {
            assert!(claims(false).refuse("path", own).is_err());
        }
        assert!(claims(false).refuse("path", "volumes/stray.img").is_ok());
        assert!(refuse_own_folders("path", "images/x.iso").is_err());
        assert!(refuse_own_folders("path", "images2/x.iso").is_ok());
    }
}
