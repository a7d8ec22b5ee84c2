//! Lists that are searched in memory show what the store holds, after every kind of write.

use crate::make;
use quantix_model::UnixMs;
use quantix_model::id::{HostId, PoolId};
use quantix_model::list::{Order, SortBy};
use quantix_store::{Bulk, PageRequest, Store, StoreError, VmRecord};

async fn names(store: &Store, filter: &str, host: Option<HostId>, by: SortBy) -> (Vec<String>, u64) {
    let order = Some(Order { by, descending: true });
    let mut request = PageRequest { filter: filter.into(), limit: 2, order, ..Default::default() };
    let mut names = Vec::new();
    loop {
        let page = store.vm_page(&request, host).await.unwrap();
        names.extend(page.rows.into_iter().map(|vm| vm.name));
        if page.next_token.is_empty() {
            return (names, page.total);
        }
        request.token = page.next_token;
    }
}

async fn volumes(store: &Store, pool: PoolId) -> Vec<String> {
    let page = store.volume_page(&PageRequest::default(), Some(pool)).await.unwrap();
    assert_eq!(page.total, page.rows.len() as u64);
    page.rows.into_iter().map(|volume| volume.name).collect()
}

/// VMs and volumes that come, change and go.
pub async fn run(store: &Store) {
    let (host, other, pool) = (make::host("lists"), make::host("lists-too"), make::pool("lists"));
    let some = Bulk { hosts: vec![host.clone(), other.clone()], ..Default::default() };
    store.bulk_insert(&some).await.unwrap();
    store.pool_insert(&pool, &[host.id], &make::task("x")).await.unwrap();
    assert_eq!(names(store, "Lists", None, SortBy::Name).await, (vec![], 0));

    let vms: Vec<VmRecord> = (0..5_u32)
        .map(|n| {
            let mut vm = make::vm(&format!("Lists-{n}"), host.id, &[]);
            vm.spec.vcpus = n % 2 + 1;
            vm
        })
        .collect();
    for vm in &vms {
        let disk = make::volume(&format!("{}-disk", vm.name), pool.id, Some(vm.id));
        store.vm_insert(vm, &[disk], &[], &make::task("x")).await.unwrap();
    }
    let all = ["Lists-4", "Lists-3", "Lists-2", "Lists-1", "Lists-0"].map(String::from).to_vec();
    assert_eq!(names(store, " lISTS-", Some(host.id), SortBy::Name).await, (all.clone(), 5));
    let by_vcpus = names(store, "lists", None, SortBy::Vcpus).await.0;
    assert!(
        by_vcpus[..2].contains(&"Lists-1".into()) && by_vcpus[..2].contains(&"Lists-3".into()),
        "{by_vcpus:?}"
    );
    assert_eq!(names(store, "ts-3", None, SortBy::Name).await, (vec!["Lists-3".into()], 1));
    assert_eq!(names(store, "lists", Some(other.id), SortBy::Name).await.1, 0);
    assert_eq!(volumes(store, pool.id).await.len(), 5);

    let grow = |vm: &mut VmRecord| {
        (vm.spec.vcpus, vm.spec.memory_bytes) = (64, 1 << 40);
        Ok::<(), StoreError>(())
    };
    store.vm_update(vms[2].id, grow).await.unwrap();
    assert_eq!(names(store, "lists", None, SortBy::Vcpus).await.0[0], "Lists-2");
    store.vm_update_many(&[vms[4].id], |vm| vm.spec.vcpus = 128).await.unwrap();
    assert_eq!(names(store, "lists", None, SortBy::Vcpus).await.0[0], "Lists-4");
    store
        .vm_update_with_task(vms[0].id, &make::task("x"), |vm: &mut VmRecord| {
            vm.host_id = other.id;
            Ok::<(), StoreError>(())
        })
        .await
        .unwrap();
    assert_eq!(names(store, "", Some(other.id), SortBy::Name).await, (vec!["Lists-0".into()], 1));

    // What failed half way shows nothing of itself.
    let taken = make::vm("Lists-1", host.id, &[]);
    assert!(store.vm_insert(&taken, &[], &[], &make::task("x")).await.is_err());
    assert_eq!(names(store, "lists", None, SortBy::Memory).await.1, 5);

    goes_away(store, &vms, (host.id, other.id), pool.id).await;
}

/// Rows, and then hosts and a pool with what is left on them.
async fn goes_away(store: &Store, vms: &[VmRecord], (host, other): (HostId, HostId), pool: PoolId) {
    store.vm_delete(vms[1].id, true).await.unwrap();
    store.vm_delete(vms[3].id, false).await.unwrap();
    assert_eq!(names(store, "lists", None, SortBy::Created).await.1, 3);
    assert_eq!(volumes(store, pool).await, ["Lists-0-disk", "Lists-2-disk", "Lists-3-disk", "Lists-4-disk"]);
    let free = store.volume_ids_free().await.unwrap().into_iter().map(|id| id.0).collect();
    let free = store.volume_page_among(&PageRequest::default(), Some(pool), Some(free)).await.unwrap();
    assert_eq!((free.rows[0].name.as_str(), free.total), ("Lists-3-disk", 1), "what its VM left behind");

    let first = PageRequest { filter: "lists".into(), limit: 1, ..Default::default() };
    let token = store.vm_page(&first, None).await.unwrap().next_token;
    let turned = Some(Order { by: SortBy::Name, descending: true });
    let crossed = PageRequest { token: token.clone(), order: turned, ..first.clone() };
    assert_eq!(store.vm_page(&crossed, None).await.unwrap_err(), StoreError::BadPageToken);
    // The row that a page ended with may be gone when the next one is asked for.
    store.host_delete(other, true).await.unwrap();
    let next = store.vm_page(&PageRequest { token, ..first }, None).await.unwrap();
    assert_eq!((next.rows[0].name.as_str(), next.total), ("Lists-2", 2));
    let by_size =
        PageRequest { order: Some(Order { by: SortBy::Size, descending: false }), ..Default::default() };
    assert_eq!(store.vm_page(&by_size, None).await.unwrap_err(), StoreError::CannotOrder { kind: "VM" });

    store.host_delete(host, true).await.unwrap();
    assert_eq!(names(store, "lists", None, SortBy::Name).await, (vec![], 0));
    store.pool_mark_deleting(pool, true, UnixMs(1), &make::task("x")).await.unwrap();
    store.pool_delete(pool).await.unwrap();
    assert!(volumes(store, pool).await.is_empty());
}
