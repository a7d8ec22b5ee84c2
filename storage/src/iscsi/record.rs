//! The node record of a target and portal: how the host signs in there.
//!
//! `iscsiadm` would take a secret only as an argument, where every user of the host can read it. So it makes the record
//! (`-o new`), and we put names and secrets into the file ourselves: written beside the database with mode 0600, synced,
//! renamed into place.

use crate::error::{Result, io};
use quantix_model::Fault;
use quantix_model::pool::{Chap, IscsiSpec};
use rustix::fs::{Mode, OFlags};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Where open-iscsi keeps records: Debian's place, then everybody else's.
const DATABASES: [&str; 2] = ["/etc/iscsi", "/var/lib/iscsi"];
/// A record has some 80 lines.
const RECORD_BYTES_MAX: u64 = 64 << 10;

/// How a host waits for a target.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// How long I/O queues when the target is gone, before it fails.
    pub replacement_seconds: u32,
}

/// Lines of ours for a record.
fn lines(spec: &IscsiSpec, patience: Patience) -> Vec<(&'static str, String)> {
    let mut lines = vec![
        ("node.startup", "manual".to_owned()),
        ("node.conn[0].startup", "manual".to_owned()),
        // Only our LUN is looked for; a target may have thousands.
        ("node.session.scan", "manual".to_owned()),
        ("node.session.initial_login_retry_max", "1".to_owned()),
        ("node.conn[0].timeo.login_timeout", "5".to_owned()),
        ("node.conn[0].timeo.logout_timeout", "5".to_owned()),
        ("node.session.timeo.replacement_timeout", patience.replacement_seconds.to_string()),
        ("node.session.auth.authmethod", if spec.chap.is_some() { "CHAP" } else { "None" }.to_owned()),
    ];
    let mut chap = |chap: &Option<Chap>, user, password| {
        if let Some(chap) = chap {
            lines.push((user, chap.user.clone()));
            lines.push((password, chap.password.expose().to_owned()));
        }
    };
    chap(&spec.chap, "node.session.auth.username", "node.session.auth.password");
    chap(&spec.mutual_chap, "node.session.auth.username_in", "node.session.auth.password_in");
    lines
}

/// The record with our lines instead of what it said there.
fn edited(record: &str, spec: &IscsiSpec, patience: Patience) -> String {
    let ours = lines(spec, patience);
    let ends = |line: &str| line.starts_with("# END RECORD");
    let stale = |line: &str| {
        let name = line.split_once('=').map_or(line, |(name, _)| name).trim();
        let secret =
            name.starts_with("node.session.auth.username") || name.starts_with("node.session.auth.password");
        secret || ours.iter().any(|(our, _)| *our == name)
    };
    let kept = record.lines().filter(|line| !ends(line) && !stale(line));
    let mut text: String = kept.flat_map(|line| [line, "\n"]).collect();
    for (name, value) in &ours {
        text.extend([name, " = ", value.as_str(), "\n"]);
    }
    text + "# END RECORD\n"
}

/// The folder of a target's records, wherever this host keeps them.
fn folders(target: &str) -> impl Iterator<Item = PathBuf> {
    DATABASES.into_iter().map(move |database| Path::new(database).join("nodes").join(target))
}

/// The file of a record; `portal` is `address,port`.
fn find(target: &str, portal: &str) -> Option<PathBuf> {
    for folder in folders(target) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().into_string().unwrap_or_default();
            let of_portal =
                name == portal || name.strip_prefix(portal).is_some_and(|tag| tag.starts_with(','));
            let path = entry.path();
            match (of_portal, path.is_dir()) {
                (true, true) if path.join("default").is_file() => return Some(path.join("default")),
                // Without a portal group the record is a file itself.
                (true, false) => return Some(path),
                _ => {}
            }
        }
    }
    None
}

/// Puts names, secrets and times into the record `iscsiadm -o new` made.
pub fn fill(spec: &IscsiSpec, portal: &str, patience: Patience) -> Result<()> {
    let failed = |e: std::io::Error| io("write the node record", &e);
    let path = find(&spec.target, portal).ok_or_else(|| {
        Fault::internal(format!("iscsiadm made no node record for {} at {portal}", spec.target))
    })?;
    let size = fs::metadata(&path).map_err(failed)?.len();
    if size > RECORD_BYTES_MAX {
        return Err(Fault::internal(format!("the node record {} has {size} bytes", path.display())));
    }
    let record = fs::read_to_string(&path).map_err(failed)?;
    // Beside the database: iscsiadm takes every file in it for a record.
    let database = DATABASES.into_iter().map(Path::new).find(|database| path.starts_with(database));
    let beside =
        database.unwrap_or(Path::new("/etc/iscsi")).join(format!(".quantix-record-{}", std::process::id()));
    let written = write(&beside, &edited(&record, spec, patience)).and_then(|()| fs::rename(&beside, &path));
    if written.is_err() {
        // It holds the secret: it must not stay.
        let _ = fs::remove_file(&beside);
    }
    written.map_err(failed)
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let _ = fs::remove_file(path);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::open(path, flags, Mode::from_raw_mode(0o600))?);
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// A line of ours in a discovery record: it may go at any time.
const EXPLORED: &str = "# Quantix: for one question\n";

/// A discovery record with secrets, gone with this value.
pub struct Discovery(PathBuf, Option<String>);

impl Discovery {
    /// Has `make` (iscsiadm) make the record of a portal (`address,port`), and puts names and secrets into it. What an
    /// administrator kept there comes back afterwards.
    pub fn fill(spec: &IscsiSpec, portal: &str, make: impl FnOnce() -> Result<()>) -> Result<Discovery> {
        let failed = |e: std::io::Error| io("write the discovery record", &e);
        let places =
            || DATABASES.into_iter().map(|database| Path::new(database).join("send_targets").join(portal));
        let before = places().find_map(|folder| fs::read_to_string(folder.join("st_config")).ok());
        let before = before.filter(|text| !text.contains(EXPLORED));
        make()?;
        let folder = places().find(|folder| folder.join("st_config").is_file());
        let folder = folder
            .ok_or_else(|| Fault::internal(format!("iscsiadm made no discovery record of {portal}")))?;
        let kept = Discovery(folder, before);
        let path = kept.0.join("st_config");
        let text = fs::read_to_string(&path).map_err(failed)?;
        let ends = |line: &str| line.starts_with("# END RECORD");
        let mut text: String = text
            .lines()
            .filter(|line| !ends(line) && !line.starts_with("discovery.sendtargets.auth."))
            .flat_map(|line| [line, "\n"])
            .collect();
        text.push_str(EXPLORED);
        text.push_str("discovery.sendtargets.auth.authmethod = CHAP\n");
        for (chap, end) in [(&spec.chap, ""), (&spec.mutual_chap, "_in")] {
            if let Some(chap) = chap {
                let (user, password) = (&chap.user, chap.password.expose());
                text.push_str(&format!("discovery.sendtargets.auth.username{end} = {user}\n"));
                text.push_str(&format!("discovery.sendtargets.auth.password{end} = {password}\n"));
            }
        }
        text.push_str("# END RECORD\n");
        write(&path, &text).map_err(failed)?;
        Ok(kept)
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        let path = self.0.join("st_config");
        // What cannot be removed now is removed before the next question.
        let _ = match &self.1 {
            Some(text) => write(&path, text),
            None => fs::remove_dir_all(&self.0),
        };
    }
}

/// Removes discovery records that a killed worker left. One question is asked at a time, so none is in use.
pub fn sweep_discoveries() {
    let places = DATABASES.into_iter().map(|database| Path::new(database).join("send_targets"));
    for entry in places.filter_map(|place| fs::read_dir(place).ok()).flatten().flatten() {
        let text = fs::read_to_string(entry.path().join("st_config")).unwrap_or_default();
        if text.contains(EXPLORED) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Removes what a killed worker left beside the databases.
pub fn sweep() {
    for database in DATABASES {
        for entry in fs::read_dir(database).into_iter().flatten().flatten() {
            let name = entry.file_name().into_string().unwrap_or_default();
            let Some(pid) = name.strip_prefix(".quantix-record-") else { continue };
            if !Path::new("/proc").join(pid).exists() || pid == std::process::id().to_string() {
                // The next start tries again.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// How many portals of the target this host has records of.
pub fn count(target: &str) -> usize {
    folders(target).map(|folder| fs::read_dir(folder).into_iter().flatten().flatten().count()).sum()
}

/// Whether any record of the target is left.
pub fn any(target: &str) -> bool {
    folders(target).any(|folder| folder.exists())
}

/// The initiator name: who this host is to every target, and the owner of what it holds in a volume group.
pub fn initiator(etc: &Path) -> Result<String> {
    let path = etc.join("iscsi/initiatorname.iscsi");
    let text = fs::read_to_string(&path).unwrap_or_default();
    let name = text.lines().find_map(|line| line.trim().strip_prefix("InitiatorName=")).unwrap_or_default();
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-.:_".contains(&b);
    if !name.is_empty() && name.len() <= 223 && name.bytes().all(legal) {
        return Ok(name.to_owned());
    }
    Err(Fault::new(
        quantix_model::FaultCode::PoolMountFailed,
        "The host has no iSCSI initiator name.",
        format!(
            "On the host: apt-get install open-iscsi; {} must hold one line InitiatorName=iqn.….",
            path.display()
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use quantix_model::secret::Secret;

    fn spec(mutual: bool) -> IscsiSpec {
        let chap =
            |user: &str, password: &str| Some(Chap { user: user.into(), password: Secret::new(password) });
        IscsiSpec {
            portal: "192.0.2.1".into(),
            target: "iqn.2026-01.org.lab:t1".into(),
            lun: 0,
            chap: chap("u1", "secret-one-12"),
            mutual_chap: if mutual { chap("t1", "secret-two-34") } else { None },
            volume_group: "vg".into(),
            create_volume_group: false,
        }
    }

    const RECORD: &str = "# BEGIN RECORD 2.1.8\nnode.name = iqn.2026-01.org.lab:t1\nnode.tpgt = 1\n\
        node.session.auth.authmethod = None\nnode.session.auth.password_in = old\nnode.session.auth.chap_algs = MD5\n\
        node.conn[0].timeo.login_timeout = 15\nnode.conn[0].address = 127.0.0.1\n# END RECORD\n";

    #[test]
    fn our_lines_replace_what_was_there() {
        let patience = Patience { replacement_seconds: 120 };
        let text = edited(RECORD, &spec(true), patience);
        assert!(text.starts_with("# BEGIN RECORD 2.1.8\n") && text.ends_with("\n# END RECORD\n"));
        for line in [
            "node.name = iqn.2026-01.org.lab:t1",
            "node.session.auth.authmethod = CHAP",
            "node.session.auth.chap_algs = MD5",
            "node.session.auth.username = u1",
            "node.session.auth.password = secret-one-12",
            "node.session.auth.username_in = t1",
            "node.session.auth.password_in = secret-two-34",
            "node.session.timeo.replacement_timeout = 120",
            "node.conn[0].timeo.login_timeout = 5",
            "node.conn[0].address = 127.0.0.1",
        ] {
            assert_eq!(text.lines().filter(|l| *l == line).count(), 1, "{line} in {text}");
        }
        assert!(!text.contains("None") && !text.contains("= old") && !text.contains("= 15"));
        let again = edited(&text, &IscsiSpec { chap: None, ..spec(false) }, patience);
        assert!(!again.contains("secret") && again.contains("authmethod = None"), "{again}");
        assert_eq!(again.matches("END RECORD").count(), 1);
    }

    #[test]
    fn the_initiator_name_is_found() {
        let etc = tempfile::tempdir().expect("a folder");
        assert!(initiator(etc.path()).is_err());
        fs::create_dir(etc.path().join("iscsi")).expect("a folder");
        let put = |text: &str| fs::write(etc.path().join("iscsi/initiatorname.iscsi"), text).expect("a file");
        put("## comment\nInitiatorName=iqn.1993-08.org.debian:01:ab\n");
        assert_eq!(initiator(etc.path()).expect("a name"), "iqn.1993-08.org.debian:01:ab");
        put("GenerateName=yes\n");
        assert!(initiator(etc.path()).is_err());
        put("InitiatorName=a,b\n");
        assert!(initiator(etc.path()).is_err(), "a comma would split an LVM tag");
    }
}
