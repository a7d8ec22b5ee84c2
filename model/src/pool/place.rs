//! When two pools would be the same bytes, or would meet on one host.

use super::spec::{CephSpec, PoolSpec};
use std::collections::BTreeSet;

/// Whether one path is the other or lies beneath it.
fn within(inner: &str, outer: &str) -> bool {
    let rest = inner.strip_prefix(outer.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn meet(a: &str, b: &str) -> bool {
    within(a, b) || within(b, a)
}

/// A server's name as it compares: case and a last dot say nothing.
fn server(name: &str) -> String {
    name.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase()
}

/// Addresses of monitors without ports, of which each monitor has several.
fn monitors(ceph: &CephSpec) -> BTreeSet<String> {
    let host = |address: &String| match address.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !host.ends_with(':') => {
            server(host)
        }
        _ => server(address),
    };
    ceph.monitors.iter().map(host).collect()
}

/// The field of `new` by which it is the same bytes as `there`, whatever hosts they are on. Names are compared as
/// written: a server under two names cannot be known to be one here.
pub fn same_bytes(new: &PoolSpec, there: &PoolSpec) -> Option<&'static str> {
    match (new, there) {
        (PoolSpec::Local { file_system_uuid: a, .. }, PoolSpec::Local { file_system_uuid: b, .. }) => {
            (!a.is_empty() && a.eq_ignore_ascii_case(b)).then_some("spec.local.file_system_uuid")
        }
        (PoolSpec::Nfs(a), PoolSpec::Nfs(b)) => (server(&a.server) == server(&b.server)
            && meet(&a.export, &b.export))
        .then_some("spec.nfs.export"),
        (PoolSpec::Ceph(a), PoolSpec::Ceph(b)) => {
            (a.pool == b.pool && !monitors(a).is_disjoint(&monitors(b))).then_some("spec.ceph.pool")
        }
        (PoolSpec::Iscsi(a), PoolSpec::Iscsi(b)) => {
            // The name of a target is unique in the world (RFC 7143, 4.2.7); its portals are many.
            (a.target == b.target && a.lun == b.lun).then_some("spec.iscsi.lun")
        }
        (PoolSpec::Local { .. } | PoolSpec::Nfs(_) | PoolSpec::Ceph(_) | PoolSpec::Iscsi(_), _) => None,
    }
}

/// The field of `new` by which it would meet `there` on a host that has both, and what `there` has in that place.
pub fn meet_on_host<'a>(new: &PoolSpec, there: &'a PoolSpec) -> Option<(&'static str, &'a str)> {
    if let (PoolSpec::Iscsi(a), PoolSpec::Iscsi(b)) = (new, there) {
        return (a.volume_group == b.volume_group)
            .then_some(("spec.iscsi.volume_group", b.volume_group.as_str()));
    }
    let (field, path) = folder(new)?;
    let (_, taken) = folder(there)?;
    meet(path, taken).then_some((field, taken))
}

/// The folder of a host that a pool names.
fn folder(spec: &PoolSpec) -> Option<(&'static str, &str)> {
    match spec {
        PoolSpec::Local { path, .. } => Some(("spec.local.path", path)),
        PoolSpec::Nfs(nfs) if !nfs.mount_path.is_empty() => Some(("spec.nfs.mount_path", &nfs.mount_path)),
        PoolSpec::Nfs(_) | PoolSpec::Ceph(_) | PoolSpec::Iscsi(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::spec::{IscsiSpec, NfsSpec, NfsVersion};
    use crate::secret::Secret;

    fn nfs(server: &str, export: &str, mount_path: &str) -> PoolSpec {
        PoolSpec::Nfs(NfsSpec {
            server: server.into(),
            export: export.into(),
            version: NfsVersion::V41,
            options: String::new(),
            mount_path: mount_path.into(),
        })
    }

    fn ceph(monitors: &[&str], pool: &str) -> PoolSpec {
        PoolSpec::Ceph(CephSpec {
            monitors: monitors.iter().map(|m| (*m).to_owned()).collect(),
            pool: pool.into(),
            user: "u".into(),
            key: Secret::default(),
        })
    }

    fn iscsi(target: &str, lun: u32, group: &str) -> PoolSpec {
        PoolSpec::Iscsi(IscsiSpec {
            portal: "192.0.2.1".into(),
            target: target.into(),
            lun,
            chap: None,
            mutual_chap: None,
            volume_group: group.into(),
            create_volume_group: false,
        })
    }

    #[test]
    fn the_same_bytes() {
        for (new, there, same) in [
            (nfs("nas", "/a", ""), nfs("NAS.", "/a", ""), true),
            (nfs("nas", "/a/b", ""), nfs("nas", "/a", ""), true),
            (nfs("nas", "/", ""), nfs("nas", "/a", ""), true),
            (nfs("nas", "/ab", ""), nfs("nas", "/a", ""), false),
            (nfs("nas2", "/a", ""), nfs("nas", "/a", ""), false),
            (ceph(&["m1:6789", "m2"], "vms"), ceph(&["M2:3300"], "vms"), true),
            (ceph(&["[2001:db8::1]:3300"], "vms"), ceph(&["2001:db8::1"], "vms"), true),
            (ceph(&["m1"], "vms"), ceph(&["m1"], "other"), false),
            (ceph(&["m1"], "vms"), ceph(&["m2"], "vms"), false),
            (iscsi("iqn.x:a", 1, "vg1"), iscsi("iqn.x:a", 1, "vg2"), true),
            (iscsi("iqn.x:a", 1, "vg1"), iscsi("iqn.x:a", 2, "vg1"), false),
            (nfs("nas", "/a", ""), PoolSpec::local("/a"), false),
        ] {
            assert_eq!(same_bytes(&new, &there).is_some(), same, "{new:?} {there:?}");
            assert_eq!(same_bytes(&there, &new).is_some(), same, "{there:?} {new:?}");
        }
    }

    #[test]
    fn one_disk_is_one_pool() {
        let disk = PoolSpec::disk(crate::id::PoolId(uuid::Uuid::nil()));
        assert_eq!(same_bytes(&disk, &disk), Some("spec.local.file_system_uuid"));
        assert_eq!(same_bytes(&PoolSpec::local("/a"), &PoolSpec::local("/a")), None, "hosts may differ");
    }

    #[test]
    fn meeting_on_a_host() {
        for (new, there, met) in [
            (PoolSpec::local("/data/a"), PoolSpec::local("/data"), true),
            (PoolSpec::local("/data"), PoolSpec::local("/data/a"), true),
            (PoolSpec::local("/data2"), PoolSpec::local("/data"), false),
            (nfs("n", "/x", "/data/nfs"), PoolSpec::local("/data"), true),
            (nfs("n", "/x", ""), PoolSpec::local("/data"), false),
            (iscsi("iqn.x:a", 1, "vg1"), iscsi("iqn.x:b", 1, "vg1"), true),
            (iscsi("iqn.x:a", 1, "vg1"), iscsi("iqn.x:b", 1, "vg2"), false),
        ] {
            assert_eq!(meet_on_host(&new, &there).is_some(), met, "{new:?} {there:?}");
        }
    }
}
