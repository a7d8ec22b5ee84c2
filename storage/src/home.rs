//! Our own folder on a host, `/var/lib/quantix/pools`: where pools stand when nobody chose another place. The only
//! folder a pool makes above its own.

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, chmodat, mkdirat, openat2, statat};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};

/// Ours, with more than pools in it.
pub const OUR_FOLDER: &str = "/var/lib/quantix";
const POOLS: &str = "pools";
/// Everybody may pass, only root changes.
const MODE: u32 = 0o755;

/// Whether `path` stands right below our folder for pools.
pub fn holds(path: &str) -> bool {
    let above = path.rsplit_once('/').and_then(|(above, _)| above.strip_prefix(OUR_FOLDER));
    above.and_then(|rest| rest.strip_prefix('/')) == Some(POOLS)
}

/// Opens the folder for pools; with `make`, makes it when it is missing.
pub fn open(make: bool) -> rustix::io::Result<OwnedFd> {
    let mode = Mode::from_raw_mode(MODE);
    let or_there = |made: rustix::io::Result<()>| match made {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    };
    if make {
        or_there(mkdirat(CWD, OUR_FOLDER, mode))?;
    }
    let ours = folder(CWD, OUR_FOLDER, ResolveFlags::empty())?;
    if make {
        // QEMU's user passes through here too; a daemon of an older release made it for root alone.
        let has = statat(&ours, "", AtFlags::EMPTY_PATH)?.st_mode;
        if has & 0o011 != 0o011 {
            chmodat(&ours, ".", Mode::from_raw_mode(has & 0o7777 | 0o011), AtFlags::empty())?;
        }
        or_there(mkdirat(&ours, POOLS, mode))?;
    }
    folder(&ours, POOLS, ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH)
}

/// Opens a folder without reading it.
pub fn folder(at: impl AsFd, path: &str, resolve: ResolveFlags) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat2(at, path, flags, Mode::empty(), resolve | ResolveFlags::NO_MAGICLINKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_right_below_is_held() {
        assert!(holds("/var/lib/quantix/pools/main"));
        for other in
            ["/var/lib/quantix/pools", "/var/lib/quantix/pools/a/b", "/var/lib/quantixx/pools/a", "/srv/a"]
        {
            assert!(!holds(other), "{other}");
        }
    }
}
