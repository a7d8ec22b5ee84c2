//! What of a pool can be changed while hosts have it and VMs use it: how it is reached, never where it is.

use super::spec::{CephSpec, Chap, IscsiSpec, NfsSpec, PoolSpec};
use crate::fault::Fault;

const ANOTHER_POOL: &str =
    "Create a pool for the other place; volumes get there by cloning them or as images.";
const ANOTHER_WAY: &str = "Shut down its VMs and detach their disks, delete the pool (its files stay), create it anew with \
                           the other setting, and adopt the volumes it lists as orphans.";

/// The field by which `wanted` would be another place than `there`, or something that hosts have open.
pub fn moved(there: &PoolSpec, wanted: &PoolSpec) -> Option<&'static str> {
    let fields: &[(bool, &'static str)] = match (there, wanted) {
        (
            PoolSpec::Local { path, file_system_uuid },
            PoolSpec::Local { path: new_path, file_system_uuid: new_uuid },
        ) => &[
            (path == new_path, "spec.local.path"),
            (file_system_uuid == new_uuid, "spec.local.file_system_uuid"),
        ],
        (PoolSpec::Nfs(a), PoolSpec::Nfs(b)) => &[
            (a.server == b.server, "spec.nfs.server"),
            (a.export == b.export, "spec.nfs.export"),
            (a.version == b.version, "spec.nfs.version"),
            (a.mount_path == b.mount_path, "spec.nfs.mount_path"),
        ],
        (PoolSpec::Ceph(a), PoolSpec::Ceph(b)) => &[(a.pool == b.pool, "spec.ceph.pool")],
        (PoolSpec::Iscsi(a), PoolSpec::Iscsi(b)) => &[
            (a.target == b.target, "spec.iscsi.target"),
            (a.lun == b.lun, "spec.iscsi.lun"),
            (a.volume_group == b.volume_group, "spec.iscsi.volume_group"),
            (a.create_volume_group == b.create_volume_group, "spec.iscsi.create_volume_group"),
        ],
        (PoolSpec::Local { .. } | PoolSpec::Nfs(_) | PoolSpec::Ceph(_) | PoolSpec::Iscsi(_), _) => {
            &[(false, "spec")]
        }
    };
    fields.iter().find(|(same, _)| !same).map(|(_, field)| *field)
}

/// What a pool is to be from now on: `wanted`, with the secrets that it leaves out as they are. Refuses what would be
/// another place, and what no host could use.
pub fn changed(there: &PoolSpec, wanted: PoolSpec) -> Result<PoolSpec, Fault> {
    if let Some(field) = moved(there, &wanted) {
        return Err(refuse(field));
    }
    let mut wanted = wanted;
    match (there, &mut wanted) {
        (PoolSpec::Ceph(there), PoolSpec::Ceph(wanted)) => keep_key(there, wanted)?,
        (PoolSpec::Iscsi(there), PoolSpec::Iscsi(wanted)) => keep_passwords(there, wanted)?,
        (PoolSpec::Nfs(_), PoolSpec::Nfs(wanted)) => tidy(wanted),
        _ => {}
    }
    wanted.check()?;
    Ok(wanted)
}

fn refuse(field: &'static str) -> Fault {
    let (message, cause, remedy) = match field {
        "spec.nfs.version" | "spec.nfs.mount_path" => (
            "The NFS version and the mount point of a pool cannot be changed.",
            "Hosts have it mounted so, with the files of VMs open in it.",
            ANOTHER_WAY,
        ),
        "spec.iscsi.create_volume_group" => (
            "Whether the volume group is made was said when the pool was created.",
            "It is there, or not, by now.",
            "Leave it as it is.",
        ),
        "spec" => {
            ("A pool cannot become one of another kind.", "Its volumes are where it is now.", ANOTHER_POOL)
        }
        _ => ("The place of a pool cannot be changed.", "Its volumes are where it is now.", ANOTHER_POOL),
    };
    Fault::invalid(field, message, remedy).because(cause)
}

fn keep_key(there: &CephSpec, wanted: &mut CephSpec) -> Result<(), Fault> {
    if !wanted.key.is_empty() {
        return Ok(());
    }
    if wanted.user != there.user {
        let message = format!("The key of {} is missing.", wanted.user);
        return Err(Fault::invalid("spec.ceph.key", message, "Another user has another key: give it, too."));
    }
    wanted.key = there.key.clone();
    Ok(())
}

fn keep_passwords(there: &IscsiSpec, wanted: &mut IscsiSpec) -> Result<(), Fault> {
    let keep = |field: &str, there: &Option<Chap>, wanted: &mut Option<Chap>| {
        let Some(new) = wanted.as_mut().filter(|new| new.password.is_empty()) else { return Ok(()) };
        let old = there.as_ref().filter(|old| old.user == new.user).ok_or_else(|| {
            let message = format!("The CHAP password of {} is missing.", new.user);
            Fault::invalid(field, message, "Another user has another password: give it, too.")
        })?;
        new.password = old.password.clone();
        Ok(())
    };
    keep("spec.iscsi.chap", &there.chap, &mut wanted.chap)?;
    keep("spec.iscsi.mutual_chap", &there.mutual_chap, &mut wanted.mutual_chap)
}

/// The same options written otherwise are no change.
fn tidy(wanted: &mut NfsSpec) {
    let options: Vec<&str> = wanted.options.split(',').filter(|option| !option.is_empty()).collect();
    wanted.options = options.join(",");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::FaultCode;
    use crate::pool::spec::NfsVersion;
    use crate::secret::Secret;

    fn nfs(change: impl FnOnce(&mut NfsSpec)) -> PoolSpec {
        let mut spec = NfsSpec {
            server: "nas".into(),
            export: "/srv/vms".into(),
            version: NfsVersion::V41,
            options: "nconnect=2".into(),
            mount_path: String::new(),
        };
        change(&mut spec);
        PoolSpec::Nfs(spec)
    }

    fn ceph(monitor: &str, user: &str, key: &str) -> PoolSpec {
        PoolSpec::Ceph(CephSpec {
            monitors: vec![monitor.into()],
            pool: "vms".into(),
            user: user.into(),
            key: Secret::new(key),
        })
    }

    fn chap(user: &str, password: &str) -> Option<Chap> {
        Some(Chap { user: user.into(), password: Secret::new(password) })
    }

    fn iscsi(portal: &str, chap: Option<Chap>, mutual_chap: Option<Chap>) -> PoolSpec {
        PoolSpec::Iscsi(IscsiSpec {
            portal: portal.into(),
            target: "iqn.2026-01.org.example:vms".into(),
            lun: 1,
            chap,
            mutual_chap,
            volume_group: "vms".into(),
            create_volume_group: false,
        })
    }

    #[test]
    fn how_a_pool_is_reached_can_change() {
        let done = changed(&nfs(|_| {}), nfs(|s| s.options = ",nconnect=4,,hard".into())).unwrap();
        assert_eq!(done, nfs(|s| s.options = "nconnect=4,hard".into()));
        let there = ceph("192.0.2.1", "quantix", "AQ==");
        assert_eq!(
            changed(&there, ceph("192.0.2.2", "quantix", "")),
            Ok(ceph("192.0.2.2", "quantix", "AQ=="))
        );
        assert_eq!(
            changed(&there, ceph("192.0.2.1", "other", "BQ==")),
            Ok(ceph("192.0.2.1", "other", "BQ=="))
        );
        let there = iscsi("192.0.2.1", chap("u", "old-password"), chap("t", "their-password"));
        let wanted = iscsi("192.0.2.2", chap("u", ""), chap("t", "new-password"));
        let done = changed(&there, wanted).unwrap();
        assert_eq!(done, iscsi("192.0.2.2", chap("u", "old-password"), chap("t", "new-password")));
        assert_eq!(changed(&there, iscsi("192.0.2.1", None, None)), Ok(iscsi("192.0.2.1", None, None)));
    }

    #[test]
    fn where_it_is_cannot() {
        let there = nfs(|_| {});
        let other = iscsi("192.0.2.1", None, None);
        let PoolSpec::Iscsi(other_lun) = other.clone() else { unreachable!("made above") };
        for (there, wanted, field) in [
            (&there, nfs(|s| s.server = "nas2".into()), "spec.nfs.server"),
            (&there, nfs(|s| s.export = "/srv".into()), "spec.nfs.export"),
            (&there, nfs(|s| s.version = NfsVersion::V42), "spec.nfs.version"),
            (&there, nfs(|s| s.mount_path = "/mnt/x".into()), "spec.nfs.mount_path"),
            (&there, PoolSpec::local("/srv"), "spec"),
            (&PoolSpec::local("/a"), PoolSpec::local("/b"), "spec.local.path"),
            (&other, PoolSpec::Iscsi(IscsiSpec { lun: 2, ..other_lun }), "spec.iscsi.lun"),
        ] {
            let fault = changed(there, wanted).expect_err(field);
            assert_eq!((fault.code, fault.field.as_str()), (FaultCode::InvalidArgument, field));
            assert!(!fault.cause.is_empty() && !fault.remedy.is_empty(), "{fault:?}");
        }
    }

    #[test]
    fn what_no_host_could_use_and_whose_secret_is_missing() {
        let field = |there: &PoolSpec, wanted| changed(there, wanted).expect_err("refused").field;
        assert_eq!(field(&nfs(|_| {}), nfs(|s| s.options = "exec".into())), "spec.nfs.options");
        let there = ceph("192.0.2.1", "quantix", "AQ==");
        assert_eq!(field(&there, ceph("192.0.2.1", "other", "")), "spec.ceph.key");
        let there = iscsi("192.0.2.1", chap("u", "old-password"), None);
        assert_eq!(field(&there, iscsi("192.0.2.1", chap("v", ""), None)), "spec.iscsi.chap");
        assert_eq!(field(&there, iscsi("192.0.2.1", chap("u", ""), chap("t", ""))), "spec.iscsi.mutual_chap");
    }
}
