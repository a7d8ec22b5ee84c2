//! Paths people give: taken apart, checked, and kept off what belongs to the pool itself.

use crate::error::{self, Result};
use crate::local::{MARKER, MARKER_TMP, PROBE, PROBE_CLONE, images, make};
use quantix_model::file::KeptFor;
use uuid::Uuid;

/// A path taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// As given.
    pub path: &'a str,
    /// The folder it is in; empty is the root.
    pub folder: &'a str,
    /// Its own name.
    pub name: &'a str,
}

/// Takes a path apart. Only plain names between single slashes: what `..` means changes while folders are moved.
pub fn split(path: &str) -> Result<Place<'_>> {
    if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return Err(error::outside(path));
    }
    let legal = |part: &str| !part.is_empty() && part != "." && part.len() <= 255 && !part.contains('\0');
    if path.len() > 4000 || !path.split('/').all(legal) {
        return Err(error::path_invalid(path));
    }
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    Ok(Place { path, folder, name })
}

/// As [`split`], for something that is to be changed: what the pool and its volumes and images need is refused.
pub fn split_theirs(path: &str) -> Result<Place<'_>> {
    let place = split(path)?;
    if kept_for(&place).is_some() { Err(error::file_in_use(path)) } else { Ok(place) }
}

/// As [`split`], for a folder to be made. The pool's own folders are there, which is a success.
pub fn split_new_folder(path: &str) -> Result<Place<'_>> {
    if matches!(path, "volumes" | "images") { split(path) } else { split_theirs(path) }
}

/// What of ours something is, by its place and name.
pub fn kept_for(place: &Place<'_>) -> Option<KeptFor> {
    let own = ["volumes", "images", MARKER, MARKER_TMP, PROBE, PROBE_CLONE];
    match place.folder {
        "" => own.contains(&place.name).then_some(KeptFor::Pool),
        "volumes" => make::is_ours(place.name).then_some(KeptFor::Volume),
        "images" => {
            let image = images::parse_name(place.name).is_some() || images::is_part(place.name);
            (image || is_temporary(place.name)).then_some(KeptFor::Image)
        }
        _ => None,
    }
}

/// As [`kept_for`], of an entry of a folder.
pub fn kept_in(folder: &str, name: &str) -> Option<KeptFor> {
    kept_for(&Place { path: name, folder: folder.trim_matches('/'), name })
}

/// A new name for a file while it is copied; in the image folder, so that the sweep after a crash has one place to look.
pub fn temporary_name() -> String {
    format!(".{}.copy.tmp", Uuid::now_v7())
}

/// Whether a name is one of [`temporary_name`].
pub fn is_temporary(text: &str) -> bool {
    let id = text.strip_prefix('.').and_then(|t| t.strip_suffix(".copy.tmp"));
    id.is_some_and(|id| Uuid::parse_str(id).is_ok_and(|uuid| uuid.to_string() == id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use quantix_model::FaultCode;

    #[test]
    fn paths_are_taken_apart() {
        let place = split("a..b/ x\n/-rf").unwrap();
        assert_eq!((place.folder, place.name), ("a..b/ x\n", "-rf"));
        assert_eq!(split("x").unwrap().folder, "");
        for (path, code) in [
            ("", FaultCode::InvalidArgument),
            ("a//b", FaultCode::InvalidArgument),
            ("a/", FaultCode::InvalidArgument),
            ("./a", FaultCode::InvalidArgument),
            ("a\0", FaultCode::InvalidArgument),
            ("/a", FaultCode::PathOutsidePool),
            ("a/../b", FaultCode::PathOutsidePool),
            ("..", FaultCode::PathOutsidePool),
        ] {
            assert_eq!(split(path).unwrap_err().code, code, "{path:?}");
        }
    }

    #[test]
    fn ours_is_kept() {
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        for ours in [
            "volumes".to_owned(),
            ".quantix-pool".to_owned(),
            format!("volumes/{id}.raw"),
            format!("volumes/{id}.one.snap"),
            format!("volumes/.{id}.raw.tmp"),
            format!("images/{id}.iso"),
            format!("images/.{id}.part"),
            format!("images/{}", temporary_name()),
        ] {
            assert_eq!(split_theirs(&ours).unwrap_err().code, FaultCode::FileInUse, "{ours}");
        }
        for theirs in ["volumes/letter", "images/x.iso", "work/volumes", ".quantix-pool2"] {
            assert!(split_theirs(theirs).is_ok(), "{theirs}");
        }
    }
}
