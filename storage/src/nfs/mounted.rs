//! Whether what is mounted is the export a pool wants: read from the mount table, nothing mounted is touched.

use crate::error::Result;
use crate::nfs::classify::{printable, read_only};
use crate::nfs::options::{canonical, protocol, source};
use quantix_host::mount::Line;
use quantix_model::pool::{Fact, NfsSpec, NfsVersion};
use quantix_model::{Fault, FaultCode};
use std::net::IpAddr;
use std::path::Path;

/// The mount table of this process.
pub fn table() -> Result<Vec<Line>> {
    let lines = quantix_host::mount::lines(Path::new("/"));
    if lines.is_empty() {
        // Taken for "nothing is mounted", it would hide what is there.
        return Err(Fault::internal("/proc/self/mountinfo cannot be read"));
    }
    Ok(lines)
}

/// What is seen at a folder: of several mounts on it, the last.
pub fn at<'a>(table: &'a [Line], path: &str) -> Option<&'a Line> {
    table.iter().rev().find(|line| line.mount.target == path)
}

/// `[2001:db8::1]:/x` → (`2001:db8::1`, `/x`).
fn parts(source: &str) -> Option<(&str, &str)> {
    let (server, export) = source.split_at(source.find(":/")?);
    let server = server.strip_prefix('[').and_then(|s| s.strip_suffix(']')).unwrap_or(server);
    let export = &export[1..];
    Some((server, if export.len() > 1 { export.trim_end_matches('/') } else { export }))
}

fn is_nfs(line: &Line) -> bool {
    matches!(line.mount.fs_type.as_str(), "nfs" | "nfs4")
}

/// Whether it is an NFS mount of that path, from whatever server.
pub fn is_export(line: &Line, spec: &NfsSpec) -> bool {
    is_nfs(line) && line.root == "/" && parts(&line.mount.source).is_some_and(|(_, path)| path == spec.export)
}

/// Whether it comes from that server, under its name or one of its addresses.
fn is_server(line: &Line, spec: &NfsSpec, addresses: &[IpAddr]) -> bool {
    let address = |text: &str| text.parse::<IpAddr>().ok();
    let named = parts(&line.mount.source).map(|(server, _)| server);
    let reached = line.option("addr").and_then(address).or_else(|| named.and_then(address));
    named.is_some_and(|server| server.eq_ignore_ascii_case(&spec.server))
        || reached
            .is_some_and(|reached| address(&spec.server) == Some(reached) || addresses.contains(&reached))
}

/// Whether it is the export the pool wants, in whatever version. `addresses`: of the server, as far as known.
pub fn is_ours(line: &Line, spec: &NfsSpec, addresses: &[IpAddr]) -> bool {
    is_export(line, spec) && is_server(line, spec, addresses)
}

/// Refuses a mount that is not what the pool wants.
pub fn check(line: &Line, spec: &NfsSpec, addresses: &[IpAddr]) -> Result<()> {
    let target = &line.mount.target;
    let free =
        format!("Unmount it on the host (`umount {target}`), or choose another mount point for the pool.");
    if !is_ours(line, spec, addresses) {
        return Err(foreign(line, spec));
    }
    let (wanted, there) = (spec.version.as_str(), canonical(line.option("vers").unwrap_or("?")));
    if there != wanted {
        let message = format!(
            "{} is mounted on {target} already, with {} instead of {}.",
            source(spec),
            protocol(there),
            protocol(wanted)
        );
        return Err(Fault::new(FaultCode::PoolForeignMount, message, free));
    }
    if line.has_option("ro") {
        let message = format!("{} is mounted read-only on {target}.", source(spec));
        return Err(Fault { message, remedy: free, ..read_only(spec) });
    }
    Ok(())
}

/// Something else is mounted at the pool's place.
pub fn foreign(line: &Line, spec: &NfsSpec) -> Fault {
    let target = &line.mount.target;
    let there = printable(&line.mount.source);
    let part =
        if line.root == "/" { String::new() } else { format!(", its folder {}", printable(&line.root)) };
    let message = format!("On {target} something else is mounted: {there} ({}{part}).", line.mount.fs_type);
    Fault::new(
        FaultCode::PoolForeignMount,
        message,
        format!("Unmount it on the host (`umount {target}`), or choose another mount point for the pool."),
    )
    .because(format!("wanted {}", source(spec)))
}

/// What the mount table tells people.
pub fn facts(line: &Line, spec: &NfsSpec) -> Vec<Fact> {
    let kib = |name| {
        line.option(name).and_then(|n| n.parse::<u64>().ok()).map(|bytes| format!("{} KiB", bytes >> 10))
    };
    let holes = match spec.version {
        NfsVersion::V42 => "seen by the host",
        NfsVersion::V3 | NfsVersion::V4 | NfsVersion::V41 => "seen by the server only; NFS 4.2 shows them",
    };
    let waits = if line.has_option("soft") { "fails (soft)" } else { "waits (hard)" };
    let all = [
        ("protocol", line.option("vers").map(protocol)),
        ("server", line.option("addr").map(str::to_owned)),
        ("read_size", kib("rsize")),
        ("write_size", kib("wsize")),
        ("holes", Some(holes.to_owned())),
        ("when_server_is_gone", Some(waits.to_owned())),
    ];
    let fact = |(name, value): (&str, Option<String>)| Some(Fact { name: name.to_owned(), value: value? });
    all.into_iter().filter_map(fact).collect()
}

/// What is to be said when the pool's options were changed after it was mounted. `mounted`: its options then.
pub fn change(mounted: Option<String>, spec: &NfsSpec) -> Option<Fact> {
    let mounted = mounted.filter(|mounted| *mounted != spec.options)?;
    let before = if mounted.is_empty() { "the usual ones".to_owned() } else { printable(&mounted) };
    let value = format!(
        "still {before}: the changed ones count from the next mount on, when the pool is unassigned and assigned again or the \
         host restarts"
    );
    Some(Fact { name: "mount_options".to_owned(), value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use quantix_host::mount::parse;

    const V41: &str = "107 29 0:52 / /var/lib/quantix/pools/p rw,nosuid,nodev,noexec,noatime shared:60 - nfs4 \
                       127.0.0.1:/srv/nfs/rw rw,vers=4.1,rsize=262144,wsize=262144,namlen=255,hard,proto=tcp,\
                       timeo=600,retrans=2,sec=sys,clientaddr=127.0.0.1,local_lock=none,addr=127.0.0.1";
    const V3: &str = "108 29 0:53 / /mnt/a\\040b ro,noatime - nfs nas:/srv/nfs/rw/ rw,vers=3,rsize=1048576,hard,\
                      mountaddr=192.0.2.1,mountvers=3,addr=192.0.2.1";

    fn spec(server: &str, export: &str, version: NfsVersion) -> NfsSpec {
        NfsSpec {
            server: server.into(),
            export: export.into(),
            version,
            options: String::new(),
            mount_path: String::new(),
        }
    }

    fn line(text: &str) -> Line {
        parse(text).expect("a line of mountinfo")
    }

    #[test]
    fn the_wanted_export_passes() {
        let loopback = [IpAddr::from([127, 0, 0, 1])];
        for (server, addresses) in
            [("127.0.0.1", &loopback[..]), ("127.0.0.1", &[][..]), ("localhost", &loopback[..])]
        {
            let spec = spec(server, "/srv/nfs/rw", NfsVersion::V41);
            check(&line(V41), &spec, addresses).unwrap_or_else(|f| panic!("{server}: {f}"));
        }
        let v6 = V41.replace("127.0.0.1:/", "[2001:db8::1]:/").replace("addr=127.0.0.1", "addr=2001:db8::1");
        check(&line(&v6), &spec("2001:db8:0::1", "/srv/nfs/rw", NfsVersion::V41), &[]).expect("one address");
        let v4 = V41.replace("vers=4.1", "vers=4");
        check(&line(&v4), &spec("127.0.0.1", "/srv/nfs/rw", NfsVersion::V4), &[])
            .expect("an older kernel's 4.0");
    }

    #[test]
    fn anything_else_is_refused_with_what_is_there() {
        use FaultCode as C;
        let wanted = spec("127.0.0.1", "/srv/nfs/rw", NfsVersion::V41);
        let bind = V41.replacen(" / ", " /deep ", 1);
        for (text, spec, code, word) in [
            (
                V41.to_owned(),
                spec("127.0.0.1", "/srv/nfs/other", NfsVersion::V41),
                C::PoolForeignMount,
                "/srv/nfs/rw",
            ),
            (V41.to_owned(), spec("nas", "/srv/nfs/rw", NfsVersion::V41), C::PoolForeignMount, "127.0.0.1:"),
            (V41.replace("nfs4", "ext4"), wanted.clone(), C::PoolForeignMount, "ext4"),
            (bind, wanted.clone(), C::PoolForeignMount, "/deep"),
            (
                V41.to_owned(),
                spec("127.0.0.1", "/srv/nfs/rw", NfsVersion::V42),
                C::PoolForeignMount,
                "NFS 4.1 instead of NFS 4.2",
            ),
            (
                V3.to_owned(),
                spec("nas", "/srv/nfs/rw", NfsVersion::V3),
                C::PoolReadOnly,
                "read-only on /mnt/a b",
            ),
        ] {
            let fault = check(&line(&text), &spec, &[]).expect_err(word);
            assert_eq!(fault.code, code, "{fault}");
            assert!(fault.message.contains(word) && fault.remedy.contains("umount"), "{fault}");
        }
    }

    #[test]
    fn the_last_mount_hides_the_others() {
        let tmpfs = "109 107 0:60 / /var/lib/quantix/pools/p rw - tmpfs none rw";
        let table = [line(V41), line(tmpfs)];
        let seen = at(&table, "/var/lib/quantix/pools/p").expect("something is mounted");
        assert_eq!(seen.mount.fs_type, "tmpfs");
        assert_eq!(at(&table, "/var/lib/quantix/pools"), None);
    }

    #[test]
    fn facts_for_people() {
        let facts = facts(&line(V41), &spec("127.0.0.1", "/srv/nfs/rw", NfsVersion::V41));
        let value = |name: &str| facts.iter().find(|f| f.name == name).map(|f| f.value.as_str());
        assert_eq!(value("protocol"), Some("NFS 4.1"));
        assert_eq!((value("server"), value("read_size")), (Some("127.0.0.1"), Some("256 KiB")));
        assert_eq!(value("when_server_is_gone"), Some("waits (hard)"));
    }

    proptest! {
        #[test]
        fn hostile_sources_never_pass_nor_panic(source in "[^ ]{0,40}", root in "/[^ ]{0,10}") {
            let text = format!("1 2 0:5 {root} /m rw - nfs4 {source} rw,vers=4.1,addr=192.0.2.9");
            let Some(line) = parse(&text) else { return Ok(()) };
            let wanted = spec("nas", "/srv/nfs/rw", NfsVersion::V41);
            if line.mount.source != "nas:/srv/nfs/rw" {
                let fault = check(&line, &wanted, &[]).expect_err("not ours");
                prop_assert!(!fault.message.chars().any(char::is_control));
            }
            let _ = facts(&line, &wanted);
        }
    }
}
