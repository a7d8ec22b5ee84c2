//! Removing in the background what no volume needs any more. One thread per pool; it sleeps until it is woken.

use crate::ceph::command::Pace;
use crate::ceph::fault::{Refusal, errno};
use crate::ceph::{Shared, locked, names};
use crate::error::Result;
use quantix_model::Fault;
use serde::Deserialize;
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// What is still watched (by a client that died less than 30 s ago) is tried again after this.
const AGAIN: Duration = Duration::from_secs(35);

/// The thread's handle; it ends when this goes.
pub struct Sweeper {
    alarm: mpsc::Sender<()>,
}

impl Sweeper {
    /// Starts the thread.
    pub(super) fn start(shared: &Arc<Shared>) -> Result<Sweeper> {
        let (alarm, bell) = mpsc::channel();
        let shared = Arc::clone(shared);
        let work = move || {
            let mut nap = None;
            while wait(&bell, nap) {
                // What it cannot do now it does later; what the cluster says is told by those who look after the pool.
                nap = (shared.sweep() != Ok(0)).then_some(AGAIN);
            }
        };
        std::thread::Builder::new().name("ceph-sweeper".into()).spawn(work).map_err(Fault::internal)?;
        Ok(Sweeper { alarm })
    }

    /// Makes it look soon.
    pub fn wake(&self) {
        // Its thread lives as long as we do.
        let _ = self.alarm.send(());
    }
}

/// Waits for the bell, or for the end of a nap; `false` when nobody can ring any more.
fn wait(bell: &mpsc::Receiver<()>, nap: Option<Duration>) -> bool {
    let rang = match nap {
        Some(nap) => !matches!(bell.recv_timeout(nap), Err(mpsc::RecvTimeoutError::Disconnected)),
        None => bell.recv().is_ok(),
    };
    // Several rings are one.
    while bell.try_recv().is_ok() {}
    rang
}

#[derive(Deserialize)]
struct Snapshot {
    name: String,
    #[serde(default)]
    protected: String,
}

impl Shared {
    /// Removes what is left of volumes; answers how much it could not remove yet.
    pub(super) fn sweep(&self) -> Result<usize> {
        let listed = self.cluster.rbd_json::<Vec<String>>("sweeping", &["ls", &self.cluster.names.pool])?;
        let images = listed.map_err(|refusal| self.cluster.fault(&refusal))?;
        let ours = |image: &String| {
            names::is_gone(image)
                || (names::is_new_of_this_host(image) && !locked(&self.making).contains(image))
        };
        let mut left = 0;
        for image in images.iter().filter(|image| ours(image)) {
            if let Err(refusal) = self.clear(image)? {
                tracing::debug!(image, said = refusal.said, "not swept yet");
                left += 1;
            }
        }
        Ok(left)
    }

    /// Removes one image with its snapshots.
    pub(super) fn clear(&self, image: &str) -> Result<std::result::Result<(), Refusal>> {
        let cluster = &self.cluster;
        let path = cluster.image(image);
        let remove = || {
            let removed = cluster.rbd_long("removing an image", &["rm", &path], &mut |_| {})?;
            Ok(match removed {
                Err(refusal) if refusal.errno != errno::NOENT => Err(refusal),
                _ => Ok(()),
            })
        };
        match remove()? {
            Err(refusal) if refusal.errno == errno::NOTEMPTY => {}
            other => return Ok(other),
        }
        let listed = cluster.rbd_json::<Vec<Snapshot>>("listing snapshots", &["snap", "ls", &path])?;
        for snapshot in listed.unwrap_or_default().iter().filter(|s| s.protected == "true") {
            let snapshot = format!("{path}@{}", snapshot.name);
            if let Err(refusal) =
                cluster.rbd("freeing a snapshot", Pace::Change, &["snap", "unprotect", &snapshot])?
            {
                return Ok(Err(refusal));
            }
        }
        let purge = ["snap", "purge", "--no-progress", &path];
        if let Err(refusal) = cluster.rbd("removing snapshots", Pace::Work, &purge)? {
            return Ok(Err(refusal));
        }
        remove()
    }
}
