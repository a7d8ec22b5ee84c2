//! What every engine must do alike.

use crate::make;
use quantix_model::UnixMs;
use quantix_model::event::{EventKind, Severity};
use quantix_model::list::{Order, SortBy};
use quantix_model::task::TaskState;
use quantix_model::vm::{Cdrom, PowerState, VmPhase};
use quantix_model::volume::VolumePhase;
use quantix_store::{
    AlertFilter, AlertRecord, EventFilter, JoinUse, PageRequest, PoolStatusRecord, Store, StoreError,
};

/// Every check, on an empty store.
pub async fn run(store: &Store) {
    people(store).await;
    names_and_pages(store).await;
    pools_and_hosts(store).await;
    vms_take_their_volumes_whole_or_not(store).await;
    changes_do_not_get_lost(store).await;
    crate::lists::run(store).await;
    tasks(store).await;
    events(store).await;
    alerts(store).await;
    join_tokens(store).await;
    crate::rights::run(store).await;
    crate::identity::run(store).await;
    store.setting_put("k", "1").await.unwrap();
    store.setting_put("k", "2").await.unwrap();
}

/// What must still be there after the store was opened anew.
pub async fn survived(store: &Store) {
    assert_eq!(store.setting_get("k").await.unwrap().as_deref(), Some("2"));
    assert_eq!(store.user_count().await.unwrap(), 2);
    going_back_in_time(store).await;
}

/// What was under way when a backup was made is neither repeated nor undone after the restore.
async fn going_back_in_time(store: &Store) {
    let host = make::host("back");
    store.host_insert(&host).await.unwrap();
    let (pool, far) = (make::pool("back"), UnixMs(1 << 40));
    store.pool_insert(&pool, &[host.id], &make::task("x")).await.unwrap();
    let vm = make::vm("half-made", host.id, &[]);
    let disk = make::volume("half-made-disk", pool.id, Some(vm.id));
    store.vm_insert(&vm, std::slice::from_ref(&disk), &[], &make::task("y")).await.unwrap();
    let image = make::image("half-here", pool.id);
    store.image_insert(&image, &make::task("z")).await.unwrap();
    let admin = store.user_find("admin").await.unwrap().unwrap();
    let session = make::session(admin.id, 50, 1000);
    store.session_insert(&session).await.unwrap();
    assert!(!store.task_unfinished().await.unwrap().is_empty());

    store.settle_restored("one", far).await.unwrap();
    assert!(store.task_unfinished().await.unwrap().is_empty());
    let after = store.vm_get(vm.id).await.unwrap();
    assert_eq!((after.phase, after.generation), (VmPhase::Lost, 1 << 40));
    assert!(after.fault.unwrap().message.contains("restored"));
    assert_eq!(store.pool_get(pool.id).await.unwrap().generation, 1 << 40);
    assert_eq!(store.volume_get(disk.id).await.unwrap().phase, VolumePhase::Ready);
    assert_eq!(store.image_get(image.id).await.unwrap().phase, quantix_model::image::ImagePhase::Error);
    assert!(store.session_find(&session.token_sha256).await.unwrap().is_none());
    let tokens = store.join_token_page(&PageRequest::default()).await.unwrap().rows;
    assert!(!tokens.is_empty() && tokens.iter().all(|token| token.revoked_at.is_some()));

    store.settle_restored("one", UnixMs(1 << 41)).await.unwrap();
    assert_eq!(store.pool_get(pool.id).await.unwrap().generation, 1 << 40, "once per restore");
    store.settle_restored("two", UnixMs(1)).await.unwrap();
    assert_eq!(store.pool_get(pool.id).await.unwrap().generation, (1 << 40) + 1, "never back");
}

async fn people(store: &Store) {
    let admin = make::user("Admin");
    store.user_insert(&admin).await.unwrap();
    assert_eq!(store.user_find("aDMIN").await.unwrap().unwrap(), admin);
    let twice = store.user_insert(&make::user("ADMIN")).await.unwrap_err();
    assert!(matches!(twice, StoreError::Taken { field: "name", .. }), "{twice}");

    let sessions = [
        make::session(admin.id, 50, 1000),
        make::session(admin.id, 50, 60),
        make::session(admin.id, 5, 1000),
        make::session(admin.id, 50, 1000),
    ];
    for session in &sessions {
        store.session_insert(session).await.unwrap();
    }
    let found = store.session_find(&sessions[0].token_sha256).await.unwrap().unwrap();
    assert_eq!(found, sessions[0]);
    assert_eq!(store.session_sweep(UnixMs(60), UnixMs(10)).await.unwrap(), 2);
    store.session_touch(sessions[0].id, UnixMs(70)).await.unwrap();
    assert_eq!(store.session_get(sessions[0].id).await.unwrap().used_at, UnixMs(70));
    let keep = Some(sessions[0].id);
    let user = store.user_set_password(admin.id, "new", false, UnixMs(80), keep).await.unwrap();
    assert_eq!((user.password_hash.as_str(), user.must_change_password), ("new", false));
    assert!(store.session_find(&sessions[3].token_sha256).await.unwrap().is_none());
    assert!(store.session_delete(sessions[0].id).await.unwrap());
    assert!(!store.session_delete(sessions[0].id).await.unwrap());
}

async fn names_and_pages(store: &Store) {
    for name in ["b", "a_1", "a%2", "Zed", "zed-2", "ä"] {
        store.host_insert(&make::host(name)).await.unwrap();
    }
    let taken = store.host_insert(&make::host("B")).await.unwrap_err();
    assert_eq!(taken, StoreError::Taken { kind: "host", field: "name", value: "B".into() });
    let known = store.host_page(&PageRequest::default()).await.unwrap().rows.remove(0);
    let same_key = quantix_store::HostRecord { key_sha256: known.key_sha256, ..make::host("new") };
    let taken = store.host_insert(&same_key).await.unwrap_err();
    assert!(matches!(taken, StoreError::Taken { field: "key", .. }), "{taken}");

    let mut names = Vec::new();
    let mut token = String::new();
    loop {
        let page = store.host_page(&PageRequest { limit: 4, token, ..Default::default() }).await.unwrap();
        assert_eq!(page.total, 6);
        names.extend(page.rows.into_iter().map(|h| h.name));
        token = page.next_token;
        if token.is_empty() {
            break;
        }
    }
    // By bytes of the lower-case name, on every engine.
    assert_eq!(names, ["a%2", "a_1", "b", "Zed", "zed-2", "ä"]);

    for (filter, wanted) in [
        ("ZED", vec!["Zed", "zed-2"]),
        ("%", vec!["a%2"]),
        ("_", vec!["a_1"]),
        ("Ä", vec!["ä"]),
        ("\\", vec![]),
    ] {
        let page = store.host_page(&PageRequest { filter: filter.into(), ..Default::default() }).await;
        let page = page.unwrap();
        let names: Vec<&str> = page.rows.iter().map(|h| h.name.as_str()).collect();
        assert_eq!(names, wanted, "{filter}");
        assert_eq!(page.total, wanted.len() as u64, "{filter}");
    }
    for token in ["x", "00", "é", "5b5d", "ffff"] {
        let page = store.host_page(&PageRequest { token: token.into(), ..Default::default() }).await;
        assert_eq!(page.unwrap_err(), StoreError::BadPageToken, "{token}");
    }
    orders(store, names).await;
}

/// The six hosts of [`names_and_pages`], in other orders.
async fn orders(store: &Store, mut names: Vec<String>) {
    let order = |by, descending| Some(Order { by, descending });
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let order = order(SortBy::Name, true);
        let page =
            store.host_page(&PageRequest { limit: 4, token, order, ..Default::default() }).await.unwrap();
        seen.extend(page.rows.into_iter().map(|h| h.name));
        token = page.next_token;
        if token.is_empty() {
            break;
        }
    }
    names.reverse();
    assert_eq!(seen, names, "the other way round");
    // All were added at the same moment: the id decides, and none is lost or doubled.
    let first = PageRequest { limit: 4, order: order(SortBy::Created, true), ..Default::default() };
    let page = store.host_page(&first).await.unwrap();
    let next = PageRequest { token: page.next_token.clone(), ..first.clone() };
    let rest = store.host_page(&next).await.unwrap();
    let ids: std::collections::BTreeSet<_> = page.rows.iter().chain(&rest.rows).map(|h| h.id).collect();
    assert_eq!((page.rows.len(), rest.rows.len(), ids.len()), (4, 2, 6));
    for other in [order(SortBy::Created, false), order(SortBy::Name, true), None] {
        let crossed = PageRequest { order: other, ..next.clone() };
        let refused = store.host_page(&crossed).await.unwrap_err();
        assert_eq!(refused, StoreError::BadPageToken, "a token is good for one order");
    }
    let by_size = PageRequest { order: order(SortBy::Size, false), ..Default::default() };
    assert_eq!(store.host_page(&by_size).await.unwrap_err(), StoreError::CannotOrder { kind: "host" });
    for host in store.host_all().await.unwrap() {
        assert_eq!(store.host_find_by_key(&host.key_sha256).await.unwrap().unwrap().id, host.id);
        store.host_delete(host.id, false).await.unwrap();
    }
}

async fn pools_and_hosts(store: &Store) {
    let (one, two) = (make::host("one"), make::host("two"));
    store.host_insert(&one).await.unwrap();
    store.host_insert(&two).await.unwrap();
    let pool = make::pool("main");
    let task = make::task(&pool.id.to_string());
    store.pool_insert(&pool, &[one.id], &task).await.unwrap();
    let ghost = make::pool("ghost");
    let nobody = quantix_model::id::HostId(make::uuid());
    let refused = store.pool_insert(&ghost, &[nobody], &make::task("x")).await.unwrap_err();
    assert!(matches!(refused, StoreError::Conflict { .. }), "{refused}");
    assert!(matches!(store.pool_get(ghost.id).await, Err(StoreError::NotFound { .. })));

    let after = store.pool_assign(pool.id, two.id, UnixMs(5), &make::task("x")).await.unwrap();
    assert_eq!((after.generation, after.changed_at), (2, UnixMs(5)));
    assert_eq!(store.pool_assignments(pool.id).await.unwrap().len(), 2);

    let status = |host| PoolStatusRecord { pool_id: pool.id, host_id: host, report: make::report() };
    let stray = PoolStatusRecord { pool_id: ghost.id, ..status(one.id) };
    store.pool_status_put(&[status(one.id), stray, status(two.id)]).await.unwrap();
    store.pool_status_put(&[status(one.id)]).await.unwrap();
    let kept = store.pool_status_all().await.unwrap();
    assert_eq!(kept, [status(one.id), status(two.id)]);

    let in_use = store.host_delete(two.id, false).await.unwrap_err();
    assert!(matches!(&in_use, StoreError::InUse { by, .. } if by == "pool main"), "{in_use}");
    let volume = make::volume("v", pool.id, None);
    store.volume_insert(&volume, &make::task("x")).await.unwrap();
    let in_use = store.pool_mark_deleting(pool.id, false, UnixMs(6), &make::task("x")).await.unwrap_err();
    assert!(matches!(&in_use, StoreError::InUse { by, .. } if by == "volume v"), "{in_use}");
    assert_eq!(store.pool_get(pool.id).await.unwrap().generation, 2, "a refusal changes nothing");

    store.pool_release(pool.id, two.id, UnixMs(7), &make::task("x")).await.unwrap();
    assert!(store.pool_of_host(two.id).await.unwrap()[0].1.releasing);
    store.pool_unassign(pool.id, two.id).await.unwrap();
    assert!(store.pool_of_host(two.id).await.unwrap().is_empty());
    store.pool_mark_deleting(pool.id, true, UnixMs(8), &make::task("x")).await.unwrap();
    let late = store.pool_assign(pool.id, two.id, UnixMs(9), &make::task("x")).await.unwrap_err();
    assert!(matches!(late, StoreError::Conflict { .. }), "{late}");
    assert!(store.pool_delete(pool.id).await.unwrap());
    assert!(store.volume_all().await.unwrap().is_empty());
    store.host_delete(one.id, false).await.unwrap();
    store.host_delete(two.id, false).await.unwrap();
}

async fn vms_take_their_volumes_whole_or_not(store: &Store) {
    let host = make::host("h");
    store.host_insert(&host).await.unwrap();
    let pool = make::pool("p");
    store.pool_insert(&pool, &[host.id], &make::task("x")).await.unwrap();
    let free = make::volume("free", pool.id, None);
    store.volume_insert(&free, &make::task("x")).await.unwrap();

    let mut first = make::vm("first", host.id, &[&free]);
    let disk = make::volume("first-disk", pool.id, Some(first.id));
    first.spec.disks.push(quantix_model::vm::Disk { volume_id: disk.id, pool_id: pool.id });
    let task = make::task(&first.id.to_string());
    store.vm_insert(&first, std::slice::from_ref(&disk), &[free.id], &task).await.unwrap();
    assert_eq!(store.vm_get(first.id).await.unwrap(), first);
    assert_eq!(store.volume_of_vm(first.id).await.unwrap().len(), 2);
    assert_eq!(store.task_get(task.id).await.unwrap(), task);

    let elsewhere = make::pool("elsewhere");
    store.pool_insert(&elsewhere, &[], &make::task("x")).await.unwrap();
    let stray = make::vm("stray", host.id, &[&make::volume("v", elsewhere.id, None)]);
    let refused = store.vm_insert(&stray, &[], &[], &make::task("x")).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Conflict { kind: "pool", .. }), "{refused}");
    store.pool_mark_deleting(elsewhere.id, false, UnixMs(1), &make::task("x")).await.unwrap();
    let late = make::volume("late", elsewhere.id, None);
    let refused = store.volume_insert(&late, &make::task("x")).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Conflict { kind: "pool", .. }), "{refused}");
    let late = make::image("late", elsewhere.id);
    let refused = store.image_insert(&late, &make::task("x")).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Conflict { kind: "pool", .. }), "{refused}");
    store.pool_delete(elsewhere.id).await.unwrap();

    let second = make::vm("second", host.id, &[]);
    let own = make::volume("second-disk", pool.id, Some(second.id));
    let orphan = make::task("orphan");
    let refused =
        store.vm_insert(&second, std::slice::from_ref(&own), &[free.id], &orphan).await.unwrap_err();
    assert!(matches!(&refused, StoreError::InUse { by, .. } if by == "VM first"), "{refused}");
    assert!(store.vm_get(second.id).await.is_err() && store.volume_get(own.id).await.is_err());
    assert!(store.task_get(orphan.id).await.is_err());

    for refused in [
        store.volume_mark_deleting(free.id, &make::task("x")).await.map(drop).unwrap_err(),
        store.pool_release(pool.id, host.id, UnixMs(1), &make::task("x")).await.map(drop).unwrap_err(),
        store.pool_mark_deleting(pool.id, true, UnixMs(1), &make::task("x")).await.map(drop).unwrap_err(),
        store.host_delete(host.id, false).await.unwrap_err(),
    ] {
        assert!(matches!(&refused, StoreError::InUse { by, .. } if by == "VM first"), "{refused}");
    }
    let image = make::image("iso", pool.id);
    store.image_insert(&image, &make::task("x")).await.unwrap();
    let insert = |vm: &mut quantix_store::VmRecord| {
        vm.spec.cdrom = Some(Cdrom { image_id: image.id, pool_id: pool.id });
        Ok::<(), StoreError>(())
    };
    store.vm_update(first.id, insert).await.unwrap();
    let in_use = store.image_mark_deleting(image.id, None).await.unwrap_err();
    assert!(matches!(in_use, StoreError::InUse { kind: "image", .. }), "{in_use}");

    let had = store.vm_delete(first.id, false).await.unwrap();
    assert_eq!(had.len(), 2);
    assert!(store.volume_all().await.unwrap().iter().all(|v| v.vm_id.is_none()));
    let marked = store.volume_mark_deleting(free.id, &make::task("x")).await.unwrap();
    assert_eq!(marked.phase, VolumePhase::Deleting);
    store.image_mark_deleting(image.id, Some(&make::task("x"))).await.unwrap();
    let copy =
        quantix_store::VolumeRecord { image_id: Some(image.id), ..make::volume("copy", pool.id, None) };
    let refused = store.volume_insert(&copy, &make::task("x")).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Conflict { kind: "image", .. }), "{refused}");
    assert!(store.image_delete(image.id).await.unwrap());
}

async fn changes_do_not_get_lost(store: &Store) {
    let host = store.host_all().await.unwrap().remove(0);
    let vm = make::vm("busy", host.id, &[]);
    store.vm_insert(&vm, &[], &[], &make::task("x")).await.unwrap();
    // Tasks change one VM at a time, beats several: neither may overwrite the other.
    let reported = (0..40).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            store.vm_update_many(&[vm.id], |vm| vm.generation += 1).await.unwrap();
        })
    });
    let reported: Vec<_> = reported.collect();
    let counting = (0..40).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let count = |vm: &mut quantix_store::VmRecord| {
                vm.generation += 1;
                Ok::<(), StoreError>(())
            };
            store.vm_update(vm.id, count).await.unwrap();
        })
    });
    for one in counting.collect::<Vec<_>>() {
        one.await.unwrap();
    }
    for one in reported {
        one.await.unwrap();
    }
    assert_eq!(store.vm_get(vm.id).await.unwrap().generation, 81);

    let refuse = |vm: &mut quantix_store::VmRecord| {
        vm.phase = VmPhase::Lost;
        Err(StoreError::Conflict { kind: "VM", id: vm.name.clone(), why: "no".into() })
    };
    assert!(store.vm_update(vm.id, refuse).await.is_err());
    assert_eq!(store.vm_get(vm.id).await.unwrap().phase, VmPhase::Creating);

    let gone = quantix_model::id::VmId(make::uuid());
    let run = |vm: &mut quantix_store::VmRecord| vm.power_state = PowerState::Running;
    assert_eq!(store.vm_update_many(&[vm.id, gone], run).await.unwrap().len(), 1);
    assert!(store.vm_update_many(&[vm.id], run).await.unwrap().is_empty(), "nothing changed");
    let page = store.vm_page(&PageRequest::default(), Some(host.id)).await.unwrap();
    assert_eq!(page.rows.len(), 1);
    store.host_delete(host.id, true).await.unwrap();
    assert!(store.vm_all().await.unwrap().is_empty());
}

async fn tasks(store: &Store) {
    let open = store.task_unfinished().await.unwrap();
    for task in &open {
        let end = |task: &mut quantix_store::TaskRecord| {
            task.state = TaskState::Done;
            Ok::<(), StoreError>(())
        };
        store.task_update(task.id, end).await.unwrap();
    }
    assert!(store.task_unfinished().await.unwrap().is_empty());
    let mine = [make::task("o"), make::task("o"), make::task("o")];
    for task in &mine {
        store.task_insert(task).await.unwrap();
    }
    let unfinished = store.task_unfinished().await.unwrap();
    assert_eq!(unfinished, mine, "oldest first");
    let first = store.task_page(&PageRequest { limit: 2, ..Default::default() }, "o").await.unwrap();
    assert_eq!((first.rows[0].id, first.rows[1].id, first.total), (mine[2].id, mine[1].id, 3));
    let request = PageRequest { limit: 2, token: first.next_token, ..Default::default() };
    let second = store.task_page(&request, "o").await.unwrap();
    assert_eq!((second.rows[0].id, second.next_token.as_str()), (mine[0].id, ""));

    let oldest = Some(Order { by: SortBy::Created, descending: false });
    let request = PageRequest { order: oldest, ..Default::default() };
    let all = store.task_page(&request, "o").await.unwrap();
    assert_eq!(all.rows.iter().map(|t| t.id).collect::<Vec<_>>(), mine.each_ref().map(|t| t.id));
    let word = mine[0].title.split(' ').next().unwrap().to_uppercase();
    for (filter, wanted) in [(word.as_str(), 3), ("%", 0)] {
        let request = PageRequest { filter: filter.into(), ..Default::default() };
        assert_eq!(store.task_page(&request, "o").await.unwrap().total, wanted, "{filter}");
    }

    let pruned = store.task_prune(2).await.unwrap();
    assert_eq!(pruned as usize, open.len() - 2, "what is unfinished stays");
    assert_eq!(store.task_unfinished().await.unwrap().len(), 3);
    assert_eq!(store.task_prune(2).await.unwrap(), 0);
}

async fn events(store: &Store) {
    let kinds =
        [EventKind::HostReady, EventKind::HostDisconnected, EventKind::TaskFailed, EventKind::HostReady];
    let made: Vec<_> = kinds.iter().map(|kind| make::event("h1", *kind)).collect();
    store.event_insert(&made).await.unwrap();
    store.event_insert(&[make::event("h2", EventKind::HostDegraded)]).await.unwrap();
    let twice = store.event_insert(&[make::event("h3", EventKind::HostReady), made[0].clone()]).await;
    assert!(matches!(twice, Err(StoreError::Taken { .. })), "{twice:?}");
    assert_eq!(store.event_get(made[1].id).await.unwrap(), made[1]);
    assert_eq!(store.event_last("h1", "host").await.unwrap().unwrap(), made[3]);
    assert_eq!(store.event_last("h1", "task").await.unwrap().unwrap(), made[2]);
    assert_eq!(store.event_last("h3", "host").await.unwrap(), None, "all or none");

    let of = |object_id: &str, severity| EventFilter { object_id: object_id.into(), severity };
    let first = PageRequest { limit: 3, ..PageRequest::default() };
    let page = store.event_page(&first, &of("h1", None)).await.unwrap();
    assert_eq!((page.rows.len(), page.total, &page.rows[0]), (3, 4, &made[3]));
    let next = PageRequest { token: page.next_token, ..first };
    let page = store.event_page(&next, &of("h1", None)).await.unwrap();
    assert_eq!((page.rows, page.next_token.as_str()), (vec![made[0].clone()], ""));
    let bad = store.event_page(&PageRequest::default(), &of("", Some(Severity::Warning))).await.unwrap();
    assert_eq!(bad.total, 3);
    let found = PageRequest { filter: "rack-7 IS SILENT".into(), ..PageRequest::default() };
    assert_eq!(store.event_page(&found, &of("", None)).await.unwrap().rows, vec![made[1].clone()]);

    assert_eq!(store.event_prune(2).await.unwrap(), 3);
    assert_eq!(store.event_page(&PageRequest::default(), &of("", None)).await.unwrap().total, 2);
    assert_eq!(store.event_prune(2).await.unwrap(), 0);
}

async fn alerts(store: &Store) {
    let (a, b) = (make::alert("p1"), make::alert("p2"));
    store.alert_settle(&[a.clone(), b.clone()], &[]).await.unwrap();
    assert_eq!(store.alert_of("p1").await.unwrap(), vec![a.clone()]);
    let seen = store
        .alert_update(a.id, |alert| {
            alert.acknowledged_at = Some(UnixMs(9));
            alert.acknowledged_by = "admin".into();
            Ok::<(), StoreError>(())
        })
        .await
        .unwrap();
    assert_eq!(store.alert_get(a.id).await.unwrap(), seen);
    // A rule that read it before somebody said so, and writes after: they still look after it.
    let renamed = AlertRecord { object_name: "q".into(), ..a.clone() };
    store.alert_settle(std::slice::from_ref(&renamed), &[]).await.unwrap();
    let kept = AlertRecord { object_name: "q".into(), ..seen.clone() };
    assert_eq!(store.alert_get(a.id).await.unwrap(), kept);
    // Worse than what they said it of is news to them, too.
    let worse = AlertRecord { severity: Severity::Error, ..a };
    let over = [b.id];
    let (one, two) = tokio::join!(
        store.alert_settle(std::slice::from_ref(&worse), &over),
        store.alert_settle(std::slice::from_ref(&worse), &[]),
    );
    assert_eq!((one, two), (Ok(()), Ok(())));
    assert_eq!(store.alert_all().await.unwrap(), vec![worse.clone()]);
    // Found by two at the same moment it is one.
    let fresh = make::alert("p3");
    let (one, two) = tokio::join!(
        store.alert_settle(std::slice::from_ref(&fresh), &[]),
        store.alert_settle(std::slice::from_ref(&fresh), &[]),
    );
    assert_eq!((one, two), (Ok(()), Ok(())));
    assert_eq!(store.alert_of("p3").await.unwrap(), vec![fresh.clone()]);
    store.alert_settle(&[], &[fresh.id]).await.unwrap();
    let kept = store.alert_update(worse.id, |alert| {
        (alert.acknowledged_at, alert.acknowledged_by) = (Some(UnixMs(9)), "admin".into());
        Ok::<(), StoreError>(())
    });
    alert_pages(store, kept.await.unwrap()).await;
}

/// `kept` is an error that somebody looks after.
async fn alert_pages(store: &Store, kept: AlertRecord) {
    let (old, new) = (make::alert("p3"), AlertRecord { raised_at: UnixMs(8), ..make::alert("p4") });
    let bad = AlertRecord {
        severity: Severity::Error,
        message: "Host RACK-7 is silent.".into(),
        raised_at: UnixMs(1),
        ..make::alert("h1")
    };
    store.alert_settle(&[old.clone(), new.clone(), bad.clone()], &[]).await.unwrap();
    let all = AlertFilter::default();
    let first = PageRequest { limit: 3, ..PageRequest::default() };
    let page = store.alert_page(&first, all).await.unwrap();
    assert_eq!((page.rows, page.total), (vec![bad.clone(), new.clone(), old.clone()], 4));
    let next = PageRequest { token: page.next_token, ..first };
    let page = store.alert_page(&next, all).await.unwrap();
    assert_eq!((page.rows, page.next_token.as_str()), (vec![kept.clone()], ""));
    let oldest = Some(Order { by: SortBy::Created, descending: false });
    let page = store.alert_page(&PageRequest { order: oldest, ..PageRequest::default() }, all).await.unwrap();
    assert_eq!(page.rows.first(), Some(&bad));
    let errors = AlertFilter { severity: Some(Severity::Error), open: true };
    assert_eq!(store.alert_page(&PageRequest::default(), errors).await.unwrap().rows, vec![bad.clone()]);
    let found = PageRequest { filter: "rack-7 IS".into(), ..PageRequest::default() };
    assert_eq!(store.alert_page(&found, all).await.unwrap().rows, vec![bad]);
    assert_eq!(store.alert_count_looked_after().await.unwrap(), 1);
}

async fn join_tokens(store: &Store) {
    let token = make::join_token(2, UnixMs(100));
    store.join_token_insert(&token).await.unwrap();
    assert_eq!(store.join_token_find(&token.secret_sha256).await.unwrap().as_ref(), Some(&token));
    assert!(store.join_token_find(&[9; 32]).await.unwrap().is_none());
    // Two at the same moment, and one of them again: two uses.
    let (one, two) = tokio::join!(
        store.join_token_use(token.id, &[1; 32], UnixMs(10)),
        store.join_token_use(token.id, &[2; 32], UnixMs(10)),
    );
    assert_eq!((one.unwrap(), two.unwrap()), (JoinUse::Taken, JoinUse::Taken));
    assert_eq!(store.join_token_use(token.id, &[1; 32], UnixMs(11)).await.unwrap(), JoinUse::Had);
    assert_eq!(store.join_token_use(token.id, &[3; 32], UnixMs(11)).await.unwrap(), JoinUse::None);
    let seen = store.join_token_get(token.id).await.unwrap();
    assert_eq!((seen.used, seen.used_at), (2, Some(UnixMs(10))));
    // One that came to nothing is there again, once.
    store.join_token_give_back(token.id, &[2; 32]).await.unwrap();
    store.join_token_give_back(token.id, &[2; 32]).await.unwrap();
    assert_eq!(store.join_token_use(token.id, &[3; 32], UnixMs(12)).await.unwrap(), JoinUse::Taken);
    assert_eq!(store.join_token_use(token.id, &[2; 32], UnixMs(12)).await.unwrap(), JoinUse::None);
    assert_eq!(store.join_token_use(token.id, &[1; 32], UnixMs(101)).await.unwrap(), JoinUse::Expired);
    let revoked = store.join_token_revoke(token.id, UnixMs(20)).await.unwrap();
    assert_eq!(revoked.revoked_at, Some(UnixMs(20)));
    assert_eq!(store.join_token_revoke(token.id, UnixMs(30)).await.unwrap(), revoked);
    assert_eq!(store.join_token_use(token.id, &[1; 32], UnixMs(21)).await.unwrap(), JoinUse::Revoked);
    // Listed newest first.
    let later = make::join_token(1, UnixMs(1000));
    store.join_token_insert(&later).await.unwrap();
    let page = store.join_token_page(&PageRequest::default()).await.unwrap();
    assert_eq!(page.rows.iter().map(|t| t.id).collect::<Vec<_>>(), [later.id, token.id]);
    // None of a time that went back is accepted: see `going_back_in_time`.
    let ends = store.host_certificates(1000).await.unwrap();
    assert!(ends.is_sorted_by_key(|(_, _, at)| *at));
    assert_eq!(ends.len(), store.host_all().await.unwrap().len());
}
