//! What a pool should be, per backend, and what no host could use.

use super::check_path;
use crate::fault::Fault;
use crate::id::PoolId;
use crate::secret::Secret;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use uuid::Uuid;

/// What a pool should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "backend", rename_all = "snake_case")]
pub enum PoolSpec {
    /// A directory on one host.
    Local {
        /// Absolute and normalised.
        path: String,
        /// UUID of the file system that must be mounted there (an initialised disk); empty for a plain folder.
        #[serde(default)]
        file_system_uuid: String,
    },
    /// An export of an NFS server, mounted by each host's kernel.
    Nfs(NfsSpec),
    /// A pool of a Ceph cluster; volumes are RBD images.
    Ceph(CephSpec),
    /// An LVM volume group on an iSCSI LUN.
    Iscsi(IscsiSpec),
}

/// See [`PoolSpec::Nfs`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NfsSpec {
    /// Name or address.
    pub server: String,
    /// Absolute path on the server.
    pub export: String,
    /// Protocol.
    pub version: NfsVersion,
    /// Mount options from [`NFS_OPTIONS`], comma-separated; empty for ours.
    pub options: String,
    /// Where to mount; empty for `/var/lib/quantix/pools/<pool id>`.
    pub mount_path: String,
}

/// NFS protocol versions a host can mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NfsVersion {
    /// 3, with its mount and lock protocols beside it.
    V3,
    /// 4.0
    V4,
    /// 4.1
    #[default]
    V41,
    /// 4.2: adds holes, copies and allocation on the server.
    V42,
}

impl NfsVersion {
    /// As the mount option `vers=` wants it.
    pub fn as_str(self) -> &'static str {
        match self {
            NfsVersion::V3 => "3",
            NfsVersion::V4 => "4.0",
            NfsVersion::V41 => "4.1",
            NfsVersion::V42 => "4.2",
        }
    }
}

/// Mount options a person may set (nfs(5)). A name that ends with `=` takes a number; the others stand alone.
pub const NFS_OPTIONS: &[&str] = &[
    "hard",
    "soft",
    "timeo=",
    "retrans=",
    "rsize=",
    "wsize=",
    "nconnect=",
    "noatime",
    "nodiratime",
    "noresvport",
    "resvport",
    "acregmin=",
    "acregmax=",
    "acdirmin=",
    "acdirmax=",
    "actimeo=",
    "noac",
    "nolock",
    "lock",
    "nocto",
    "cto",
    "port=",
    "sec=sys",
    "proto=tcp",
    "proto=tcp6",
    "nordirplus",
    "rdirplus",
    "ro",
];

/// See [`PoolSpec::Ceph`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CephSpec {
    /// `host`, `host:port` or `[v6]:port`, at least one.
    pub monitors: Vec<String>,
    /// Name of the Ceph pool.
    pub pool: String,
    /// CephX user without `client.`.
    pub user: String,
    /// CephX key of the user, base64.
    pub key: Secret,
}

/// See [`PoolSpec::Iscsi`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IscsiSpec {
    /// `address`, `address:port` or `[v6]:port`; port 3260 when left out.
    pub portal: String,
    /// The target's qualified name (RFC 7143, 4.2.7).
    pub target: String,
    /// Logical unit.
    pub lun: u32,
    /// Who we are to the target; `None` without CHAP.
    pub chap: Option<Chap>,
    /// Who the target is to us (mutual CHAP).
    pub mutual_chap: Option<Chap>,
    /// LVM volume group on the LUN.
    pub volume_group: String,
    /// A LUN without a volume group gets one, if there is nothing else on it.
    pub create_volume_group: bool,
}

/// A name and its secret (RFC 1994).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chap {
    /// Name.
    pub user: String,
    /// Its secret; 12 to 16 bytes are what every target takes.
    pub password: Secret,
}

impl PoolSpec {
    /// A plain folder.
    pub fn local(path: impl Into<String>) -> PoolSpec {
        PoolSpec::Local { path: path.into(), file_system_uuid: String::new() }
    }

    /// The pool on a disk that was initialised for it.
    pub fn disk(pool: PoolId) -> PoolSpec {
        PoolSpec::Local {
            path: format!("/var/lib/quantix/pools/{pool}"),
            file_system_uuid: file_system_uuid(pool).to_string(),
        }
    }

    /// Word for the backend.
    pub fn backend(&self) -> &'static str {
        match self {
            PoolSpec::Local { .. } => "local",
            PoolSpec::Nfs(_) => "nfs",
            PoolSpec::Ceph(_) => "ceph",
            PoolSpec::Iscsi(_) => "iscsi",
        }
    }

    /// Whether several hosts may see the same bytes.
    pub fn is_shared(&self) -> bool {
        match self {
            PoolSpec::Local { .. } => false,
            PoolSpec::Nfs(_) | PoolSpec::Ceph(_) | PoolSpec::Iscsi(_) => true,
        }
    }

    /// Whether one host makes it on the storage for all: two that make a volume group at once spoil it.
    pub fn is_made_once(&self) -> bool {
        matches!(self, PoolSpec::Iscsi(_))
    }

    /// The same without its secrets: what people, lists and logs may see.
    pub fn without_secrets(&self) -> PoolSpec {
        let mut spec = self.clone();
        spec.secrets_mut().into_iter().for_each(|(_, secret)| *secret = Secret::default());
        spec
    }

    /// Every secret in it, by its field.
    pub fn secrets_mut(&mut self) -> Vec<(&'static str, &mut Secret)> {
        match self {
            PoolSpec::Local { .. } | PoolSpec::Nfs(_) => Vec::new(),
            PoolSpec::Ceph(ceph) => vec![("key", &mut ceph.key)],
            PoolSpec::Iscsi(IscsiSpec { chap, mutual_chap, .. }) => {
                let own = chap.iter_mut().map(|chap| ("chap", &mut chap.password));
                own.chain(mutual_chap.iter_mut().map(|chap| ("mutual_chap", &mut chap.password))).collect()
            }
        }
    }

    /// Refuses what no host could use.
    pub fn check(&self) -> Result<(), Fault> {
        match self {
            PoolSpec::Local { path, file_system_uuid } => {
                check_path("spec.local.path", path)?;
                check_uuid("spec.local.file_system_uuid", file_system_uuid)
            }
            PoolSpec::Nfs(nfs) => nfs.check(),
            PoolSpec::Ceph(ceph) => ceph.check(),
            PoolSpec::Iscsi(iscsi) => iscsi.check(),
        }
    }
}

/// The UUID of the file system on a disk that was initialised for a pool: made from the pool's id, so that a disk that
/// carries it is recognised, whoever asks again.
pub fn file_system_uuid(pool: PoolId) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("quantix-pool-file-system:{pool}").as_bytes())
}

/// The UUID under which libvirt keeps the key of a Ceph pool: the same on every host, made from the pool's id.
pub fn secret_uuid(pool: PoolId) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("quantix-pool-secret:{pool}").as_bytes())
}

impl NfsSpec {
    fn check(&self) -> Result<(), Fault> {
        check_server("spec.nfs.server", &self.server)?;
        check_export("spec.nfs.export", &self.export)?;
        if !self.mount_path.is_empty() {
            check_path("spec.nfs.mount_path", &self.mount_path)?;
        }
        self.options.split(',').filter(|o| !o.is_empty()).try_for_each(check_nfs_option)
    }
}

fn check_nfs_option(option: &str) -> Result<(), Fault> {
    let number =
        |value: &str| !value.is_empty() && value.len() <= 9 && value.bytes().all(|b| b.is_ascii_digit());
    let known = NFS_OPTIONS.iter().any(|legal| match legal.strip_suffix('=') {
        Some(_) => option.strip_prefix(legal).is_some_and(number),
        None => *legal == option,
    });
    if known {
        return Ok(());
    }
    let remedy = format!("Use only: {}. The version has its own field.", NFS_OPTIONS.join(" "));
    Err(Fault::invalid(
        "spec.nfs.options",
        format!("The mount option {option:?} is not one of ours."),
        remedy,
    ))
}

impl CephSpec {
    fn check(&self) -> Result<(), Fault> {
        if self.monitors.is_empty() || self.monitors.len() > 16 {
            return Err(Fault::invalid(
                "spec.ceph.monitors",
                format!("{} monitors were given.", self.monitors.len()),
                "Give the address of 1 to 16 monitors.",
            ));
        }
        self.monitors.iter().try_for_each(|monitor| check_address("spec.ceph.monitors", monitor))?;
        check_word("spec.ceph.pool", &self.pool)?;
        check_word("spec.ceph.user", &self.user)?;
        let key = self.key.expose();
        if key.len() > 128 || !key.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b)) {
            return Err(Fault::invalid(
                "spec.ceph.key",
                "The key is not a CephX key.",
                "Copy what `ceph auth print-key client.<user>` prints.",
            ));
        }
        Ok(())
    }
}

impl IscsiSpec {
    fn check(&self) -> Result<(), Fault> {
        check_address("spec.iscsi.portal", &self.portal)?;
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.:".contains(&b);
        let known = ["iqn.", "eui.", "naa."].iter().any(|start| self.target.starts_with(start));
        if !known || self.target.len() > 223 || !self.target.bytes().all(legal) {
            return Err(Fault::invalid(
                "spec.iscsi.target",
                format!("{:?} is not a target's name.", self.target),
                "Give its qualified name, for example iqn.2026-01.org.example:disks.",
            ));
        }
        if self.lun > 16_383 {
            return Err(Fault::invalid("spec.iscsi.lun", "The LUN is too large.", "Choose from 0 to 16383."));
        }
        check_volume_group("spec.iscsi.volume_group", &self.volume_group)?;
        if self.chap.is_none() && self.mutual_chap.is_some() {
            return Err(Fault::invalid(
                "spec.iscsi.mutual_chap",
                "Mutual CHAP needs CHAP.",
                "Give the user and password we sign in with, too.",
            ));
        }
        let pairs = [("spec.iscsi.chap", &self.chap), ("spec.iscsi.mutual_chap", &self.mutual_chap)];
        pairs
            .into_iter()
            .try_for_each(|(field, chap)| chap.as_ref().map_or(Ok(()), |chap| check_chap(field, chap)))
    }
}

fn check_chap(field: &str, chap: &Chap) -> Result<(), Fault> {
    let printable = |text: &str| text.len() <= 255 && text.chars().all(|c| c.is_ascii_graphic());
    if chap.user.is_empty() || !printable(&chap.user) || !printable(chap.password.expose()) {
        return Err(Fault::invalid(
            field,
            "The CHAP user or password holds characters no target takes.",
            "Use printable ASCII without spaces, 255 characters at most.",
        ));
    }
    Ok(())
}

/// LVM's own rules (lvm(8), VALID NAMES), minus the hyphen that device-mapper names double.
fn check_volume_group(field: &str, name: &str) -> Result<(), Fault> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"_.+".contains(&b);
    if name.is_empty() || name.len() > 63 || name.starts_with('.') || !name.bytes().all(legal) {
        return Err(Fault::invalid(
            field,
            format!("{name:?} cannot be a volume group."),
            "Use 1 to 63 characters: letters, digits, `_`, `.` and `+`.",
        ));
    }
    Ok(())
}

/// A word that is safe in a configuration file and as an argument.
fn check_word(field: &str, word: &str) -> Result<(), Fault> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    if word.is_empty() || word.len() > 63 || word.starts_with(['-', '.']) || !word.bytes().all(legal) {
        return Err(Fault::invalid(
            field,
            format!("{word:?} is not a name we can use."),
            "Use 1 to 63 characters: letters, digits, `_`, `.` and `-`.",
        ));
    }
    Ok(())
}

fn check_uuid(field: &str, uuid: &str) -> Result<(), Fault> {
    if uuid.is_empty() || (Uuid::parse_str(uuid).is_ok() && uuid.len() == 36) {
        return Ok(());
    }
    Err(Fault::invalid(field, format!("{uuid:?} is not a UUID."), "Copy it from `blkid`."))
}

/// A host name (RFC 1123) or an address.
fn check_server(field: &str, server: &str) -> Result<(), Fault> {
    let label = |part: &str| {
        (1..=63).contains(&part.len())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !part.starts_with('-')
    };
    let name = server.len() <= 253 && server.split('.').all(label);
    if name || server.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    let message = format!("{server:?} is neither a host name nor an address.");
    Err(Fault::invalid(field, message, "For example nas.example.org, 192.0.2.10 or 2001:db8::10."))
}

/// A server with an optional port; IPv6 in brackets when a port follows.
fn check_address(field: &str, address: &str) -> Result<(), Fault> {
    let (server, port) = match address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((server, rest)) => (server, rest.strip_prefix(':')),
        None if address.matches(':').count() > 1 => (address, None),
        None => address.split_once(':').map_or((address, None), |(server, port)| (server, Some(port))),
    };
    check_server(field, server)?;
    if port.is_some_and(|port| !port.parse::<u16>().is_ok_and(|n| n > 0)) {
        return Err(Fault::invalid(field, format!("{address:?} has no usable port."), "Use 1 to 65535."));
    }
    Ok(())
}

/// A path on a server: absolute, normalised, and without what /etc/fstab and mount(8) would take apart.
fn check_export(field: &str, export: &str) -> Result<(), Fault> {
    let odd = |c: char| c.is_control() || c == '\\' || c == ',' || c == '"';
    let parts_bad = export.len() > 1 && export[1..].split('/').any(|part| matches!(part, "" | "." | ".."));
    if !export.starts_with('/') || export.len() > 1024 || export.chars().any(odd) || parts_bad {
        return Err(Fault::invalid(
            field,
            format!("{export:?} is not a path a server could export."),
            "Give it as `showmount -e` lists it: absolute, without `..`, commas, quotes or backslashes.",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nfs(server: &str, export: &str, options: &str) -> PoolSpec {
        PoolSpec::Nfs(NfsSpec {
            server: server.into(),
            export: export.into(),
            version: NfsVersion::V41,
            options: options.into(),
            mount_path: String::new(),
        })
    }

    fn iscsi() -> IscsiSpec {
        IscsiSpec {
            portal: "192.0.2.1:3260".into(),
            target: "iqn.2026-01.org.example:a".into(),
            lun: 0,
            chap: Some(Chap { user: "u1".into(), password: Secret::new("hunter2hunter2") }),
            mutual_chap: None,
            volume_group: "vg_1".into(),
            create_volume_group: false,
        }
    }

    #[test]
    fn nfs_specs() {
        for (server, export, options) in [
            ("nas", "/srv/nfs", ""),
            ("nas.example.org", "/", "soft,timeo=30,retrans=2"),
            ("192.0.2.1", "/a b", "nconnect=4,ro"),
            ("2001:db8::1", "/x", "hard"),
        ] {
            nfs(server, export, options).check().unwrap_or_else(|fault| panic!("{server} {export}: {fault}"));
        }
        for (server, export, options, field) in [
            ("", "/x", "", "spec.nfs.server"),
            ("-o", "/x", "", "spec.nfs.server"),
            ("a b", "/x", "", "spec.nfs.server"),
            ("nas", "x", "", "spec.nfs.export"),
            ("nas", "/x/../y", "", "spec.nfs.export"),
            ("nas", "/x\ny", "", "spec.nfs.export"),
            ("nas", "/x", "vers=3", "spec.nfs.options"),
            ("nas", "/x", "timeo=", "spec.nfs.options"),
            ("nas", "/x", "exec", "spec.nfs.options"),
            ("nas", "/x", "rsize=1;reboot", "spec.nfs.options"),
        ] {
            assert_eq!(nfs(server, export, options).check().expect_err(export).field, field);
        }
    }

    #[test]
    fn ceph_specs() {
        let good = CephSpec {
            monitors: vec!["192.0.2.1".into(), "mon.example.org:6789".into(), "[2001:db8::1]:3300".into()],
            pool: "vms".into(),
            user: "quantix".into(),
            key: Secret::new("AQBx+/=="),
        };
        good.check().expect("a good spec");
        for (change, field) in [
            (CephSpec { monitors: vec![], ..good.clone() }, "spec.ceph.monitors"),
            (CephSpec { monitors: vec!["a:0".into()], ..good.clone() }, "spec.ceph.monitors"),
            (CephSpec { pool: "-x".into(), ..good.clone() }, "spec.ceph.pool"),
            (CephSpec { user: "a\nb".into(), ..good.clone() }, "spec.ceph.user"),
            (CephSpec { key: Secret::new("a\n[global]"), ..good.clone() }, "spec.ceph.key"),
        ] {
            let fault = change.check().expect_err(field);
            assert_eq!(fault.field, field);
            assert!(!format!("{fault:?}").contains("[global]"), "a key is never told");
        }
    }

    #[test]
    fn iscsi_specs() {
        iscsi().check().expect("a good spec");
        for (change, field) in [
            (IscsiSpec { portal: "x:y".into(), ..iscsi() }, "spec.iscsi.portal"),
            (IscsiSpec { target: "disks".into(), ..iscsi() }, "spec.iscsi.target"),
            (IscsiSpec { target: "iqn.2026-01.org.example:A;b".into(), ..iscsi() }, "spec.iscsi.target"),
            (IscsiSpec { lun: 16_384, ..iscsi() }, "spec.iscsi.lun"),
            (IscsiSpec { volume_group: "a-b".into(), ..iscsi() }, "spec.iscsi.volume_group"),
            (IscsiSpec { mutual_chap: iscsi().chap, chap: None, ..iscsi() }, "spec.iscsi.mutual_chap"),
        ] {
            assert_eq!(change.check().expect_err(field).field, field);
        }
    }

    #[test]
    fn secrets_leave_no_trace() {
        let spec = PoolSpec::Iscsi(iscsi());
        assert!(!format!("{spec:?}").contains("hunter2"));
        let PoolSpec::Iscsi(shown) = spec.without_secrets() else { panic!("the same backend") };
        assert!(shown.chap.is_some_and(|chap| chap.user == "u1" && chap.password.is_empty()));
    }

    #[test]
    fn one_secret_uuid_per_pool() {
        let id = PoolId(Uuid::from_u128(7));
        assert_eq!(secret_uuid(id), secret_uuid(id));
        assert_ne!(secret_uuid(id), secret_uuid(PoolId(Uuid::from_u128(8))));
    }

    #[test]
    fn one_file_system_per_pool() {
        let (id, other) = (PoolId(Uuid::from_u128(7)), PoolId(Uuid::from_u128(8)));
        assert_ne!(file_system_uuid(id), file_system_uuid(other));
        assert_ne!(file_system_uuid(id), secret_uuid(id));
        PoolSpec::disk(id).check().expect("a spec every host takes");
    }

    #[test]
    fn specs_written_before_disks_could_be_initialised_are_still_read() {
        let old: PoolSpec = serde_json::from_str(r#"{"backend":"local","path":"/data"}"#).expect("old JSON");
        assert_eq!(old, PoolSpec::local("/data"));
    }
}
