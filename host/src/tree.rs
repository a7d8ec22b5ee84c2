//! Reading small files beneath a root. A file that is missing or odd reads as nothing: machines differ.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// No file read here is larger on a sane machine; /proc/cpuinfo of 512 threads is about 700 KB.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// The text of a file; empty when it cannot be read.
pub fn text(root: &Path, path: &str) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(root.join(path)) {
        // Half a file is better than none: what was read before an error counts.
        let _ = file.take(FILE_BYTES_MAX).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The text of a file without space and NUL around it.
pub fn line(root: &Path, path: &str) -> String {
    text(root, path).trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned()
}

/// A number in a file.
pub fn number(root: &Path, path: &str) -> Option<u64> {
    line(root, path).parse().ok()
}

/// Names in a folder, sorted; none when it cannot be read.
pub fn names(root: &Path, path: &str) -> Vec<String> {
    let Ok(dir) = std::fs::read_dir(root.join(path)) else { return Vec::new() };
    let mut names: Vec<String> = dir.flatten().filter_map(|e| e.file_name().into_string().ok()).collect();
    names.sort_by(|a, b| natural(a).cmp(&natural(b)));
    names
}

/// Last part of what a link points to.
pub fn link_name(root: &Path, path: &str) -> String {
    let target: PathBuf = std::fs::read_link(root.join(path)).unwrap_or_default();
    target.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Sorts `eth2` before `eth10`.
fn natural(name: &str) -> (String, u64, &str) {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (stem.to_owned(), name[stem.len()..].parse().unwrap_or(0), name)
}

#[cfg(test)]
mod tests {
    use super::natural;

    #[test]
    fn numbers_sort_as_numbers() {
        assert!(natural("eth2") < natural("eth10"));
        assert!(natural("eth2") < natural("ib0"));
    }
}
