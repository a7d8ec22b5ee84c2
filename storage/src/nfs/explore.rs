//! The exports of a server. NFS 3 has a service that tells them (mountd); NFS 4 has none: there everything hangs below
//! one root, and only a mount shows what.

use crate::backend::Explore;
use crate::error::Result;
use crate::explore::{Export, Exports, Found};
use crate::nfs::classify::printable;
use crate::nfs::{NfsPool, reach};
use quantix_host::program::Program;
use quantix_model::FaultCode;
use std::time::Duration;

/// showmount asks the portmapper, then mountd.
const ASK: Duration = Duration::from_secs(6);
/// More than a person can choose from.
const EXPORTS_MAX: usize = 1000;

/// From `showmount --no-headers -e`: a path, then who may mount it.
fn exports(text: &str) -> Vec<Export> {
    let export = |line: &str| {
        // Paths may hold blanks; the list of clients holds none.
        let (path, clients) = line.trim().rsplit_once([' ', '\t'])?;
        let (path, clients) = (path.trim_end(), clients.trim());
        let legal = path.starts_with('/') && !path.chars().any(char::is_control);
        legal.then(|| Export { path: path.to_owned(), clients: clients.to_owned() })
    };
    text.lines().filter_map(export).take(EXPORTS_MAX).collect()
}

impl Explore for NfsPool {
    fn explore(&self) -> Result<Found> {
        reach::reach(&self.spec)?;
        let server = self.spec.server.as_str();
        let program = Program::new("showmount").args(["--no-headers", "-e", server]).deadline(ASK);
        let said = match self.runner.run_blocking(&program, &mut || Ok(())) {
            Ok(output) if output.succeeded() => {
                let exports = exports(&String::from_utf8_lossy(&output.stdout));
                let note = if exports.is_empty() { "The server exports nothing." } else { "" };
                return Ok(Found::Exports(Exports { exports, note: note.to_owned() }));
            }
            Ok(output) => output.complaint(),
            Err(fault) if fault.code == FaultCode::DeadlineExceeded => fault.message,
            Err(fault) => return Err(fault),
        };
        let note = format!(
            "The server does not tell its exports: it serves NFS 4 only, or keeps its list closed. With NFS 4 all of \
             them hang below /; ask its administrator for the path. It said: {}",
            printable(&said)
        );
        let root = Export { path: "/".to_owned(), clients: String::new() };
        Ok(Found::Exports(Exports { exports: vec![root], note }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exports_are_read() {
        let found = exports("/srv/nfs/rw   127.0.0.0/8\n/srv/my disks  *\nnonsense\n/srv/x (everyone)\n");
        let shown: Vec<_> = found.iter().map(|e| (e.path.as_str(), e.clients.as_str())).collect();
        assert_eq!(shown, [("/srv/nfs/rw", "127.0.0.0/8"), ("/srv/my disks", "*"), ("/srv/x", "(everyone)")]);
        assert_eq!(exports(&"/a *\n".repeat(5000)).len(), EXPORTS_MAX);
    }
}
