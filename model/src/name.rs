//! What a name may look like.

use crate::fault::Fault;

/// Longest name of anything, in characters. The limit of a DNS label (RFC 1035, 2.3.4).
pub const NAME_CHARS_MAX: usize = 63;

/// Checks a host, pool or VM name: a DNS label, so that it can serve as one everywhere.
pub fn check_label(field: &str, name: &str) -> Result<(), Fault> {
    let remedy = "Use 1 to 63 characters: a-z, 0-9 and `-`, starting and ending with a letter or digit.";
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() {
        return Err(Fault::invalid(field, "A name is needed.", remedy));
    }
    if name.chars().count() > NAME_CHARS_MAX {
        return Err(Fault::invalid(
            field,
            format!("The name is longer than {NAME_CHARS_MAX} characters."),
            remedy,
        ));
    }
    if let Some(bad) = name.chars().find(|c| !legal(*c)) {
        return Err(Fault::invalid(
            field,
            format!("The name {name:?} holds {bad:?}, which is not allowed."),
            remedy,
        ));
    }
    if name.starts_with('-') || name.ends_with('-') {
        return Err(Fault::invalid(field, format!("The name {name:?} starts or ends with `-`."), remedy));
    }
    Ok(())
}

/// Checks a title such as an image's or a volume's: any printable text in one line.
pub fn check_title(field: &str, title: &str) -> Result<(), Fault> {
    let remedy = "Use 1 to 128 printable characters in one line, with no space at either end.";
    let count = title.chars().count();
    if count == 0 || count > 128 {
        return Err(Fault::invalid(field, format!("The name has {count} characters."), remedy));
    }
    if title.trim() != title || title.chars().any(char::is_control) {
        return Err(Fault::invalid(
            field,
            format!("The name {title:?} holds control characters or outer spaces."),
            remedy,
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        for good in ["a", "web-1", "0", &"x".repeat(63)] {
            assert!(check_label("name", good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a b", "a\nb", "ä", "..", "a/b", &"x".repeat(64)] {
            let fault = check_label("name", bad).expect_err(bad);
            assert_eq!(fault.field, "name");
            assert!(!fault.remedy.is_empty());
        }
    }

    #[test]
    fn titles() {
        assert!(check_title("name", "Debian 12 (cloud).qcow2").is_ok());
        assert!(check_title("name", "日本語.iso").is_ok());
        for bad in ["", " a", "a ", "a\nb", "\u{0}"] {
            assert!(check_title("name", bad).is_err(), "{bad:?}");
        }
    }
}
