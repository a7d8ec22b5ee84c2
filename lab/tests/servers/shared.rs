//! One export and one LUN on two hosts: made at the same moment, the same on both, and nobody takes what the other has.

use super::*;
use quantix_contract::quantix::node::v1 as node;
use quantix_lab::rig;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hosts_share_an_export_and_a_lun() {
    let folder = rig::folder();
    let rig = Rig::without_host(folder.path(), HOST_ADDRESS).await;
    let (a, b) = (LabHost::start("host-a"), LabHost::start("host-b"));
    let ids = vec![a.join(&rig).await, b.join(&rig).await];
    a.vm.ok(&["mkdir", EXPORT]);
    let began = Instant::now();
    let (export, group) = tokio::join!(
        rig.pool_on("export", nfs(&a), ids.clone()),
        rig.pool_on("group", lun(&a), ids.clone()),
    );
    eprintln!("servers | shared | both pools on both hosts after {:.1?}", began.elapsed());
    // Made once: one group, and each host is a member of it.
    assert_eq!(a.vm.ok(&["vgs", "--noheadings", "-o", "vg_name"]).trim(), GROUP);
    assert_eq!(group_uuid(&a), group_uuid(&b));

    let iso = counter(&rig, &export).await;
    let on_a = rig.vm(wish("on-a", &ids[0], &group, &iso)).await;
    let on_b = rig.vm(wish("on-b", &ids[1], &group, &iso)).await;
    let disk = volume_of(&rig, &on_a.id).await.id;
    let (line_a, line_b) = (a.line(&rig, &ids[0]), b.line(&rig, &ids[1]));
    for pool in [&export, &group] {
        let seen_by_a = volumes(&line_a, pool).await;
        assert_eq!(seen_by_a, volumes(&line_b, pool).await);
        assert_eq!(seen_by_a.len(), if *pool == group { 2 } else { 0 });
    }
    // Both guests run on one LUN at the same time, each on its host.
    run(&rig, &a, &on_a.id).await;
    run(&rig, &b, &on_b.id).await;
    writes_on(&a, &on_a.id).await;
    nobody_takes(&line_b, &group, &disk, a.name()).await;
    writes_on(&a, &on_a.id).await;
    grow(&rig, &disk, AFTER).await;
    assert_eq!(capacity(&a, &on_a.id), AFTER, "its own host may");

    force_off(&rig, &on_a.id).await;
    force_off(&rig, &on_b.id).await;
    rig.delete_vm(&on_a.id).await;
    rig.delete_vm(&on_b.id).await;
    rig.delete_image(&iso).await;
    delete_pool(&rig, &group).await;
    delete_pool(&rig, &export).await;
    for host in [&a, &b] {
        assert_eq!(left(host), Vec::<String>::new(), "{}", host.name());
    }
}

/// What a host sees on the pool. It answers at once, and with a list once there is one.
async fn volumes(line: &quantix_client::HostClient, pool: &str) -> Vec<String> {
    let listed = until("the volumes are listed", STEP_DEADLINE, async || {
        let request = node::ListVolumesRequest { pool_id: pool.to_owned(), ..Default::default() };
        match line.list_volumes(request).await {
            Ok(list) => Some(list.volumes),
            Err(fault) if fault.code == FaultCode::PoolStalled => None,
            Err(fault) => panic!("{fault:?}"),
        }
    });
    let mut ids: Vec<String> = listed.await.into_iter().map(|volume| volume.volume_id).collect();
    ids.sort();
    ids
}

fn group_uuid(host: &LabHost) -> String {
    host.vm.ok(&["vgs", "--noheadings", "-o", "vg_uuid", GROUP]).trim().to_owned()
}

/// Whatever a host is asked to do with a volume that another one has, past the vDC, it refuses and says who has it.
async fn nobody_takes(line: &quantix_client::HostClient, pool: &str, volume: &str, holder: &str) {
    let (pool_id, volume_id) = (pool.to_owned(), volume.to_owned());
    let delete = node::DeleteVolumeRequest {
        pool_id: pool_id.clone(),
        volume_id: volume_id.clone(),
        ..Default::default()
    };
    let grow = node::GrowVolumeRequest {
        pool_id: pool_id.clone(),
        volume_id: volume_id.clone(),
        size_bytes: AFTER,
        ..Default::default()
    };
    let snapshot = node::SnapshotRequest { pool_id, volume_id, name: "s".into(), ..Default::default() };
    for (what, refused) in [
        ("delete", line.delete_volume(delete).await.err()),
        ("grow", line.grow_volume(grow).await.err()),
        ("snapshot", line.create_snapshot(snapshot).await.err()),
    ] {
        let fault = refused.unwrap_or_else(|| panic!("{what} was done"));
        eprintln!("servers | shared | {what} by the other host: {fault}");
        assert_eq!(fault.code, FaultCode::VolumeHeldElsewhere, "{what}: {fault:?}");
        assert!(fault.cause.contains(holder) || fault.message.contains(holder), "{what}: {fault:?}");
    }
}
