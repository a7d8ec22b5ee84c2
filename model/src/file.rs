//! Paths of files in a pool, relative to its root. The host's kernel has the last word on where a path leads; here
//! is refused what can never be one.

use crate::fault::{Fault, FaultCode};
use crate::vm::AllowedAction;
use serde::{Deserialize, Serialize};

/// Longest path, in bytes (Linux PATH_MAX).
pub const PATH_BYTES_MAX: usize = 4095;
/// Longest name, in bytes (Linux NAME_MAX).
pub const NAME_BYTES_MAX: usize = 255;

/// Checks the path of something that is there; empty is the root.
pub fn check_path(field: &str, path: &str) -> Result<(), Fault> {
    let remedy = "Give a path relative to the pool's root, for example isos/debian.iso.";
    let outside = |why: String| {
        Err(Fault { field: field.into(), ..Fault::new(FaultCode::PathOutsidePool, why, remedy) })
    };
    if path.is_empty() {
        return Ok(());
    }
    if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return outside(format!("The path {path:?} leads out of the pool."));
    }
    if path.len() > PATH_BYTES_MAX || path.split('/').any(|part| part.len() > NAME_BYTES_MAX) {
        return Err(Fault::invalid(field, "The path is too long.", "Use 255 bytes per name, 4095 in all."));
    }
    if path.split('/').any(|part| part.is_empty() || part == ".") || path.contains('\0') {
        return Err(Fault::invalid(field, format!("{path:?} is no path."), remedy));
    }
    Ok(())
}

/// Checks the path of something to be made: no root, and a name that people and programs can handle.
pub fn check_new_path(field: &str, path: &str) -> Result<(), Fault> {
    check_path(field, path)?;
    let remedy =
        "Give a name of 1 to 255 bytes without control characters, and not starting with `.quantix`.";
    if path.is_empty() {
        return Err(Fault::invalid(field, "A name is needed.", remedy));
    }
    if path.chars().any(char::is_control) {
        return Err(Fault::invalid(field, format!("{path:?} holds control characters."), remedy));
    }
    if path.split('/').any(|part| part.starts_with(".quantix")) {
        return Err(Fault::invalid(field, format!("{path:?} is a name Quantix keeps for itself."), remedy));
    }
    Ok(())
}

/// What of the pool's own a file is, by its place and name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeptFor {
    /// The pool itself: its mark, its folders.
    Pool,
    /// A volume or one of its snapshots.
    Volume,
    /// An image, or one that is still coming.
    Image,
}

/// What may be done with a file now, of that which makes sense for its kind.
pub fn allowed_actions(is_regular: bool, kept_for: Option<KeptFor>) -> Vec<AllowedAction> {
    let stays = kept_for.map(|kept_for| match kept_for {
        KeptFor::Pool => "The pool itself needs it.",
        KeptFor::Volume => "It is part of a volume: work with the volume on its own page.",
        KeptFor::Image => "It is part of an image: work with the image on the Images page.",
    });
    // A copy of a volume's file would be half of what it is: its guest may write, and it may need others.
    let no_copy = stays.filter(|_| kept_for == Some(KeptFor::Volume));
    let reading = [("download", None), ("copy", no_copy)].into_iter().filter(|_| is_regular);
    let line = |(verb, reason): (&str, Option<&str>)| AllowedAction {
        verb: verb.to_owned(),
        reason_if_not: reason.map(str::to_owned),
    };
    reading.chain([("move", stays), ("delete", stays)]).map(line).collect()
}

/// Whether `path` is `of` or something beneath it; everything is beneath the root.
pub fn is_within(path: &str, of: &str) -> bool {
    of.is_empty() || path.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let long = "x".repeat(256);
        for good in ["", "a", "a..b", "..a", "a b", "-rf", "ä/ö", "it's \"x\"", "a\nb"] {
            assert!(check_path("path", good).is_ok(), "{good:?}");
        }
        for bad in ["/", "/a", "..", "a/../b", "a//b", "a/", ".", "a/./b", "a\0b", &long] {
            assert_eq!(check_path("path", bad).expect_err(bad).field, "path");
        }
        for good in ["a", "-rf", "a b", "it's \"x\".iso", "ä"] {
            assert!(check_new_path("path", good).is_ok(), "{good:?}");
        }
        for bad in ["", "a\nb", ".quantix-pool", "a/.quantix/b", "../x"] {
            assert_eq!(check_new_path("path", bad).expect_err(bad).field, "path");
        }
    }

    #[test]
    fn what_is_kept_stays_and_may_be_read() {
        let allowed = |is_regular, kept_for| {
            let actions = allowed_actions(is_regular, kept_for);
            let names = actions.into_iter().filter(|a| a.reason_if_not.is_none()).map(|a| a.verb);
            names.collect::<Vec<_>>().join(" ")
        };
        for (is_regular, kept_for, wanted) in [
            (true, None, "download copy move delete"),
            (false, None, "move delete"),
            (true, Some(KeptFor::Pool), "download copy"),
            (false, Some(KeptFor::Pool), ""),
            (true, Some(KeptFor::Volume), "download"),
            (true, Some(KeptFor::Image), "download copy"),
        ] {
            assert_eq!(allowed(is_regular, kept_for), wanted, "{is_regular} {kept_for:?}");
        }
    }

    #[test]
    fn beneath() {
        for (path, of, yes) in
            [("a", "", true), ("a", "a", true), ("a/b", "a", true), ("ab", "a", false), ("a", "a/b", false)]
        {
            assert_eq!(is_within(path, of), yes, "{path} {of}");
        }
    }
}
