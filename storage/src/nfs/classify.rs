//! What went wrong with a mount, read from the words of `mount.nfs` (nfs-utils, `utils/mount/error.c`).
//!
//! Its exit status is 32 whatever happened, so only the words tell causes apart. They repeat the export's name and the
//! folder, which people choose: those are taken out before a word is looked for.

use quantix_host::program::Output;
use quantix_model::pool::{NfsSpec, NfsVersion};
use quantix_model::{Fault, FaultCode};

/// More of a program's words than this helps nobody.
const CAUSE_CHARS_MAX: usize = 600;

/// A cause that can be told from words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    NameUnknown,
    NoRoute,
    Refused,
    TimedOut,
    ExportMissing,
    Denied,
    VersionUnsupported,
    OptionRefused,
    Stale,
    ReadOnly,
    NotPermitted,
    LockDaemonMissing,
    ClientMissing,
    NotAFolder,
    Busy,
    Unknown,
}

/// Words and what they mean; the first that is found counts, so the more exact stand first.
const WORDS: &[(&str, Cause)] = &[
    ("failed to resolve server", Cause::NameUnknown),
    ("name or service not known", Cause::NameUnknown),
    ("temporary failure in name resolution", Cause::NameUnknown),
    ("unknown host", Cause::NameUnknown),
    ("rpc.statd is not running", Cause::LockDaemonMissing),
    ("either use '-o nolock'", Cause::LockDaemonMissing),
    ("no route to host", Cause::NoRoute),
    ("network is unreachable", Cause::NoRoute),
    ("host is down", Cause::NoRoute),
    ("connection refused", Cause::Refused),
    ("timed out", Cause::TimedOut),
    ("unable to receive", Cause::TimedOut),
    ("access denied by server", Cause::Denied),
    ("permission denied", Cause::Denied),
    ("stale file handle", Cause::Stale),
    ("stale nfs file handle", Cause::Stale),
    ("read-only file system", Cause::ReadOnly),
    ("reason given by server: no such file or directory", Cause::ExportMissing),
    ("no such file or directory", Cause::ExportMissing),
    ("requested nfs version or transport protocol is not supported", Cause::VersionUnsupported),
    ("protocol not supported", Cause::VersionUnsupported),
    ("program not registered", Cause::VersionUnsupported),
    ("program/version mismatch", Cause::VersionUnsupported),
    ("version mismatch", Cause::VersionUnsupported),
    ("an incorrect mount option was specified", Cause::OptionRefused),
    ("invalid argument", Cause::OptionRefused),
    ("operation not permitted", Cause::NotPermitted),
    ("must be root", Cause::NotPermitted),
    ("no such device", Cause::ClientMissing),
    ("unknown filesystem type", Cause::ClientMissing),
    ("is not a directory", Cause::NotAFolder),
    ("not a directory", Cause::NotAFolder),
    ("busy or already mounted", Cause::Busy),
    ("device or resource busy", Cause::Busy),
];

/// Text of others for people: one paragraph without control characters, of bounded length.
pub fn printable(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let words: Vec<&str> = clean.split_whitespace().collect();
    words.join(" ").chars().take(CAUSE_CHARS_MAX).collect()
}

fn cause(said: &str, ours: &[&str]) -> Cause {
    let mut text = said.to_owned();
    let mut ours: Vec<&str> = ours.iter().copied().filter(|word| word.len() > 1).collect();
    // The longest first: the export's path is a part of the whole name.
    ours.sort_by_key(|word| std::cmp::Reverse(word.len()));
    for word in ours {
        text = text.replace(word, "\u{1}");
    }
    let text = text.to_lowercase();
    WORDS.iter().find(|(words, _)| text.contains(words)).map_or(Cause::Unknown, |(_, cause)| *cause)
}

/// The fault for a `mount.nfs` that failed. `place` is the folder it was to mount on.
pub fn classify(spec: &NfsSpec, place: &str, output: &Output) -> Fault {
    let said = output.complaint();
    let source = super::options::source(spec);
    let found = cause(&said, &[&source, &spec.export, &spec.server, place]);
    fault(found, spec, place).because(printable(&said)).in_phase("mount")
}

fn fault(cause: Cause, spec: &NfsSpec, place: &str) -> Fault {
    let (server, export) = (&spec.server, &spec.export);
    let version = spec.version.as_str();
    match cause {
        Cause::NameUnknown => name_unknown(server),
        Cause::NoRoute => no_route(server),
        Cause::Refused => refused(server, super::options::port(spec)),
        Cause::TimedOut => silent(server),
        Cause::ExportMissing | Cause::Denied => refused_export(cause, spec),
        Cause::VersionUnsupported => Fault::new(
            FaultCode::PoolProtocolUnsupported,
            format!("The server {server} does not serve NFS {version}, or its NFS service is not running."),
            format!("See what it serves with `rpcinfo {server}`, and choose that version for the pool."),
        ),
        Cause::OptionRefused => Fault {
            field: "spec.nfs.options".into(),
            ..Fault::new(
                FaultCode::PoolProtocolUnsupported,
                format!("The host's kernel takes neither these mount options nor NFS {version} with them."),
                "Remove mount options until it works, or choose another version.",
            )
        },
        Cause::Stale => stale(spec),
        Cause::ReadOnly => read_only(spec),
        Cause::NotPermitted => Fault::new(
            FaultCode::PoolAccessDenied,
            "The host may not mount NFS exports.",
            "Run quantix-node as root. If the server wants a privileged port, remove the option noresvport.",
        ),
        Cause::LockDaemonMissing => Fault::new(
            FaultCode::PoolMountFailed,
            "NFS 3 needs the lock service rpc.statd, which does not run on the host.",
            "Run `systemctl start rpc-statd` on the host, or choose NFS 4.1, which needs no such service.",
        ),
        Cause::ClientMissing => Fault::new(
            FaultCode::PoolProtocolUnsupported,
            "The host's kernel has no NFS client.",
            "Install a kernel with the modules nfs, nfsv3 and nfsv4, for example Debian's linux-image-amd64.",
        ),
        Cause::NotAFolder => Fault::new(
            FaultCode::PoolPathInvalid,
            format!("Either {export} on the server or {place} on the host is not a folder."),
            "Export a folder; a pool cannot live in a file.",
        ),
        Cause::Busy => Fault::new(
            FaultCode::PoolForeignMount,
            format!("The folder {place} is in use on the host."),
            format!("See what is there with `findmnt {place}` and `fuser -vm {place}`."),
        ),
        Cause::Unknown => Fault::new(
            FaultCode::PoolMountFailed,
            format!("The host could not mount {export} of {server}."),
            "The words of mount.nfs stand in the details; the host's kernel log may say more.",
        ),
    }
}

/// Version 3 answers the same for an export that is not there and one that is not for us; version 4 hides the latter.
fn refused_export(cause: Cause, spec: &NfsSpec) -> Fault {
    let (server, export) = (&spec.server, &spec.export);
    let list = match spec.version {
        NfsVersion::V3 => format!("`showmount -e {server}` lists what it exports, and to whom"),
        NfsVersion::V4 | NfsVersion::V41 | NfsVersion::V42 => {
            "`exportfs -v` on the server lists what it exports, and to whom".to_owned()
        }
    };
    let remedy = format!(
        "Check the path, and that this host's address may mount it: {list}. After a change of /etc/exports run \
         `exportfs -ra` there."
    );
    let (code, message) = match (cause, spec.version) {
        (Cause::Denied, NfsVersion::V3) => (
            FaultCode::PoolAccessDenied,
            format!(
                "The server {server} refuses {export}: it is not exported to this host, or not exported at all."
            ),
        ),
        (Cause::Denied, _) => {
            (FaultCode::PoolAccessDenied, format!("The server {server} refuses {export} to this host."))
        }
        (_, _) => (
            FaultCode::PoolExportMissing,
            format!(
                "The server {server} shows no {export} to this host: it is not there, or not exported to it."
            ),
        ),
    };
    Fault { field: "spec.nfs.export".into(), ..Fault::new(code, message, remedy) }
}

/// Nobody knows the server's name.
pub fn name_unknown(server: &str) -> Fault {
    Fault {
        field: "spec.nfs.server".into(),
        ..Fault::new(
            FaultCode::PoolServerUnreachable,
            format!("The host does not know the server {server}."),
            "Check the name, and the host's DNS with `getent hosts`; or give the server's address.",
        )
    }
}

/// No way to the server.
pub fn no_route(server: &str) -> Fault {
    Fault::new(
        FaultCode::PoolServerUnreachable,
        format!("The host has no way to the server {server}."),
        "Check the server's address, its power, and the host's network and routes.",
    )
}

/// The machine is there, the service is not.
pub fn refused(server: &str, port: u16) -> Fault {
    Fault::new(
        FaultCode::PoolServerUnreachable,
        format!("The machine {server} answers, but nothing serves NFS on its port {port}."),
        "Start the NFS service on the server (`systemctl start nfs-server`), or check address and port.",
    )
}

/// No answer at all.
pub fn silent(server: &str) -> Fault {
    Fault::new(
        FaultCode::PoolServerUnreachable,
        format!("The server {server} does not answer."),
        "Check that it runs, and that no firewall between this host and it drops TCP port 2049 (NFS 3: 111 too).",
    )
}

/// The server has forgotten what the host has open.
pub fn stale(spec: &NfsSpec) -> Fault {
    Fault::new(
        FaultCode::PoolMountFailed,
        format!("The server {} has forgotten the folder the host has mounted.", spec.server),
        format!(
            "Check that {} on the server still holds the pool. It is mounted again by itself once no VM uses it.",
            spec.export
        ),
    )
}

/// Mounted, and only for reading.
pub fn read_only(spec: &NfsSpec) -> Fault {
    Fault::new(
        FaultCode::PoolReadOnly,
        format!("The server {} exports {} read-only to this host.", spec.server, spec.export),
        "Export it with `rw` and run `exportfs -ra` on the server; the pool then comes by itself.",
    )
}

/// Mounted, and root may not write.
pub fn squashed(spec: &NfsSpec) -> Fault {
    let export = &spec.export;
    Fault::new(
        FaultCode::PoolAccessDenied,
        format!("The host's root may not write into {export} of {}.", spec.server),
        format!(
            "Export it with `no_root_squash` and run `exportfs -ra` on the server, or give the folder to the user root \
             becomes there: chown nobody:nogroup {export}"
        ),
    )
}

/// Root writes, but becomes somebody else.
pub fn renamed_owner(spec: &NfsSpec, owner: u32) -> Fault {
    let maps = match spec.version {
        NfsVersion::V3 => "",
        NfsVersion::V4 | NfsVersion::V41 | NfsVersion::V42 => {
            " If it has that already, the domains in /etc/idmapd.conf differ between server and host."
        }
    };
    Fault::new(
        FaultCode::PoolAccessDenied,
        format!(
            "Files the host's root makes in {} belong to user {owner} on the server {}, so VMs may not reach their disks.",
            spec.export, spec.server
        ),
        format!("Export it with `no_root_squash` and run `exportfs -ra` on the server.{maps}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spec(version: NfsVersion, export: &str) -> NfsSpec {
        NfsSpec {
            server: "nas".into(),
            export: export.into(),
            version,
            options: String::new(),
            mount_path: String::new(),
        }
    }

    fn said(text: &str) -> Output {
        Output { code: Some(32), stderr: text.to_owned(), ..Output::default() }
    }

    /// The words of nfs-utils 2.6.2 with a kernel 6.1, as they were met.
    #[test]
    fn real_words() {
        use FaultCode as C;
        let (v3, v41) = (NfsVersion::V3, NfsVersion::V41);
        for (version, text, code, word) in [
            (
                v3,
                "mount.nfs: access denied by server while mounting nas:/x",
                C::PoolAccessDenied,
                "not exported at all",
            ),
            (
                v41,
                "mount.nfs: access denied by server while mounting nas:/x",
                C::PoolAccessDenied,
                "refuses /x",
            ),
            (
                v41,
                "mount.nfs: mounting nas:/x failed, reason given by server: No such file or directory",
                C::PoolExportMissing,
                "not exported to it",
            ),
            (v41, "mount.nfs: an incorrect mount option was specified", C::PoolProtocolUnsupported, "4.1"),
            (v41, "mount.nfs: Network is unreachable", C::PoolServerUnreachable, "no way"),
            (v41, "mount.nfs: No route to host for nas:/x on /m", C::PoolServerUnreachable, "no way"),
            (v41, "mount.nfs: Connection refused", C::PoolServerUnreachable, "2049"),
            (v3, "mount.nfs: Connection timed out", C::PoolServerUnreachable, "not answer"),
            (
                v3,
                "mount.nfs: requested NFS version or transport protocol is not supported",
                C::PoolProtocolUnsupported,
                "NFS 3",
            ),
            (v41, "mount.nfs: Protocol not supported", C::PoolProtocolUnsupported, "NFS 4.1"),
            (
                v41,
                "mount.nfs: Failed to resolve server nas: Name or service not known",
                C::PoolServerUnreachable,
                "does not know",
            ),
            (v41, "mount.nfs: Stale file handle", C::PoolMountFailed, "forgotten"),
            (v41, "mount.nfs: Operation not permitted", C::PoolAccessDenied, "may not mount"),
            (
                v3,
                "mount.nfs: rpc.statd is not running but is required for remote locking.\n\
                 mount.nfs: Either use '-o nolock' to keep locks local, or start statd.",
                C::PoolMountFailed,
                "rpc.statd",
            ),
            (v41, "mount.nfs: No such device", C::PoolProtocolUnsupported, "no NFS client"),
            (v41, "mount.nfs: /m is busy or already mounted", C::PoolForeignMount, "in use"),
            (v41, "mount.nfs: Input/output error", C::PoolMountFailed, "could not mount"),
            (v41, "", C::PoolMountFailed, "could not mount"),
        ] {
            let fault = classify(&spec(version, "/x"), "/m", &said(text));
            assert_eq!(fault.code, code, "{text}: {fault}");
            assert!(fault.message.contains(word), "{text}: {fault}");
            assert!(!fault.remedy.is_empty() && !fault.cause.is_empty() && !fault.cause.contains('\n'));
            assert!(text.is_empty() || fault.cause.starts_with("mount.nfs:"), "{fault}");
        }
    }

    #[test]
    fn names_people_chose_mislead_nobody() {
        for export in ["/access denied by server", "/Connection refused", "/is not a directory/x"] {
            let text = format!(
                "mount.nfs: mounting nas:{export} failed, reason given by server: No such file or directory"
            );
            let fault = classify(&spec(NfsVersion::V42, export), "/m", &said(&text));
            assert_eq!(fault.code, FaultCode::PoolExportMissing, "{fault}");
            let text = format!("mount.nfs: Input/output error for nas:{export} on /m");
            let fault = classify(&spec(NfsVersion::V42, export), "/m", &said(&text));
            assert_eq!(fault.code, FaultCode::PoolMountFailed, "{fault}");
        }
    }

    proptest! {
        #[test]
        fn hostile_words_become_one_bounded_line(text in "(?s).{0,2000}", export in "/(?s).{0,40}") {
            let fault = classify(&spec(NfsVersion::V3, &export), "/m", &said(&text));
            prop_assert!(fault.cause.chars().count() <= CAUSE_CHARS_MAX);
            prop_assert!(!fault.cause.chars().any(char::is_control));
            prop_assert!(!fault.remedy.is_empty());
        }
    }
}
