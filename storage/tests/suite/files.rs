//! Listing what is in a pool.

use super::{Bench, cannot};
use crate::pools::*;
use quantix_model::FaultCode;
use quantix_model::file::KeptFor;
use quantix_model::volume::VolumeSource;
use quantix_storage::backend::*;
use std::time::{Duration, Instant};

/// Whether volumes are files beneath a root.
pub fn is_file_pool(bench: &Bench) -> bool {
    let wish = bench.wish(4 * MIB, VolumeSource::Blank);
    bench.make(&wish);
    let attachment = bench.pool.volume_attach(wish.id).unwrap();
    if let Some(exclusive) = bench.pool.abilities().exclusive {
        exclusive.volume_detach(wish.id).unwrap();
    }
    bench.delete(&wish);
    matches!(attachment, Attachment::File { .. })
}

pub fn files(bench: &Bench) {
    let able = bench.pool.abilities().files;
    if !bench.can.files {
        return cannot(able.map(|files| files.list(&FileQuery { limit: 10, ..FileQuery::default() })));
    }
    let files = able.unwrap();
    let folder = if is_file_pool(bench) { "volumes" } else { "" };
    let mut wishes: Vec<_> = (0..5).map(|_| bench.wish(4 * MIB, VolumeSource::Blank)).collect();
    wishes.sort_by_key(|wish| wish.id);
    for wish in &wishes {
        bench.make(wish);
    }
    let query = FileQuery { path: folder.into(), offset: 1, limit: 2, ..FileQuery::default() };
    // On NFS a file that was deleted while somebody had it open stays under another name until it is closed.
    let end = Instant::now() + Duration::from_secs(10);
    let page = loop {
        let page = files.list(&query).unwrap();
        if page.total == 5 || Instant::now() > end {
            break page;
        }
        std::thread::sleep(Duration::from_millis(200));
    };
    assert_eq!(page.total, 5, "{:?}", files.list(&FileQuery { offset: 0, limit: 100, ..query.clone() }));
    for (entry, wish) in page.entries.iter().zip(&wishes[1..3]) {
        assert!(entry.name.contains(&wish.id.to_string()), "{entry:?}");
    }
    assert_eq!(page.entries.len(), 2);
    let backwards = FileQuery { descending: true, offset: 0, limit: 1, ..query.clone() };
    assert!(files.list(&backwards).unwrap().entries[0].name.contains(&wishes[4].id.to_string()));
    let filter = wishes[3].id.to_string().to_uppercase();
    assert_eq!(files.list(&FileQuery { filter, offset: 0, ..query.clone() }).unwrap().total, 1);
    assert!(files.list(&FileQuery { offset: 99, ..query }).unwrap().entries.is_empty());
    if folder == "volumes" {
        folders(bench, files);
    }
    for wish in &wishes {
        bench.delete(wish);
    }
}

fn folders(bench: &Bench, files: &dyn Files) {
    let list = |path: &str| files.list(&FileQuery { path: path.into(), limit: 100, ..FileQuery::default() });
    let root = list("").unwrap();
    let names: Vec<&str> = root.entries.iter().map(|e| e.name.as_str()).collect();
    for ours in ["images", "volumes", ".quantix-pool"] {
        assert!(names.contains(&ours), "{names:?}");
    }
    assert_eq!(root.entries[0].kind, FileKind::Directory);
    let kept = |page: &FilePage, wanted| page.entries.iter().all(|e| e.kept_for == Some(wanted));
    assert!(kept(&root, KeptFor::Pool), "{root:?}");
    let volumes = list("volumes").unwrap();
    let format = bench.format().as_str();
    let like = |e: &FileEntry| e.kind == FileKind::Regular && e.name.ends_with(format);
    assert!(volumes.entries.iter().all(like), "{volumes:?}");
    assert!(kept(&volumes, KeptFor::Volume), "{volumes:?}");
    for bad in ["..", "volumes/../..", "/", "/etc"] {
        assert_eq!(code(list(bad)), FaultCode::PathOutsidePool, "{bad}");
    }
    for bad in ["nothing", "volumes/nothing", ".quantix-pool"] {
        assert_eq!(code(list(bad)), FaultCode::FileNotFound, "{bad}");
    }
}
