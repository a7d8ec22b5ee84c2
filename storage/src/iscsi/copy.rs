//! Copying one block device into another that reads as zeros: what is zero is passed over and stays unallocated.

use crate::error::{Result, io};
use std::fs::File;
use std::os::unix::fs::FileExt;

const PIECE_BYTES: usize = 1 << 20;
/// Written back so often, so that a stall is seen when it happens.
const SYNC_EVERY_BYTES: u64 = 64 << 20;

/// Copies `length` bytes. `progress` is told the bytes passed, and may end the copy.
pub fn copy(from: &File, to: &File, length: u64, progress: &mut dyn FnMut(u64) -> Result<()>) -> Result<()> {
    let failed = |e: std::io::Error| io("copy", &e);
    let mut piece = vec![0; PIECE_BYTES];
    let (mut at, mut unsynced) = (0, 0);
    while at < length {
        let want = usize::try_from(length - at).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        from.read_exact_at(&mut piece[..want], at).map_err(failed)?;
        if piece[..want].iter().any(|byte| *byte != 0) {
            to.write_all_at(&piece[..want], at).map_err(failed)?;
            unsynced += want as u64;
        }
        if unsynced >= SYNC_EVERY_BYTES {
            to.sync_data().map_err(failed)?;
            unsynced = 0;
        }
        at += want as u64;
        progress(at)?;
    }
    to.sync_all().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn zeros_are_passed_over() {
        let (from, to) = (tempfile::tempfile().expect("a file"), tempfile::tempfile().expect("a file"));
        from.set_len(8 << 20).expect("a size");
        to.set_len(8 << 20).expect("a size");
        from.write_all_at(b"something", (5 << 20) + 7).expect("written");
        let mut seen = 0;
        copy(&from, &to, 8 << 20, &mut |at| {
            seen = at;
            Ok(())
        })
        .expect("copied");
        let mut word = [0; 9];
        to.read_exact_at(&mut word, (5 << 20) + 7).expect("read");
        assert_eq!((&word, seen), (b"something", 8 << 20));
        assert!(to.metadata().expect("a file").blocks() * 512 <= 2 << 20, "zeros were written");
        let stop = || quantix_model::Fault::internal("stop");
        assert_eq!(copy(&from, &to, 8 << 20, &mut |_| Err(stop())).expect_err("an end"), stop());
    }
}
