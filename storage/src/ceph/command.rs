//! Running Ceph's own programs: configuration and key in memory files, a timeout inside each and a deadline around it.
//!
//! `ceph.conf` and the keyring are memfds of this worker with mode 0600; programs read them by `/proc/<pid>/fd/<n>`.
//! So the key stands in no argument, no variable and no file system, and is gone with the worker however that ends.

use crate::ceph::fault::{self, Names, Refusal};
use crate::error::Result;
use quantix_host::program::{BlockingRunner, Output, Program};
use quantix_model::pool::CephSpec;
use quantix_model::{Fault, FaultCode};
use rustix::fs::{MemfdFlags, Mode, fchmod, memfd_create};
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// How long the cluster may take to answer one request of a looking program, in whole seconds as Ceph wants it.
const LOOK_SECONDS: u64 = 3;
/// The same for a change: an OSD may be busy recovering.
const CHANGE_SECONDS: u64 = 15;
/// The same for each piece of a copy.
const LONG_SECONDS: u64 = 25;
/// What QEMU takes in one write.
const FILL_BYTES: u64 = 1 << 30;
/// After a silence calls are refused at once for so long, so that they do not queue up behind it.
const SILENCE: Duration = Duration::from_secs(5);

/// How patient a program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Metadata only.
    Look,
    /// Changes metadata, or a bounded number of objects.
    Change,
    /// Rolls back or removes what is there: bounded by how long a caller waits.
    Work,
    /// Moves all the data; progress is watched by the daemon.
    Long,
}

impl Pace {
    fn timeout_seconds(self) -> u64 {
        match self {
            Pace::Look => LOOK_SECONDS,
            Pace::Change => CHANGE_SECONDS,
            Pace::Work | Pace::Long => LONG_SECONDS,
        }
    }

    /// Around the timeouts inside: finding a monitor, then a few requests of which one may be silent.
    fn deadline(self) -> Duration {
        Duration::from_secs(match self {
            Pace::Look => 8,
            Pace::Change => 25,
            Pace::Work => 110,
            Pace::Long => 24 * 3600,
        })
    }
}

/// A Ceph cluster, as one user of it sees one pool.
pub struct Cluster {
    runner: Arc<dyn BlockingRunner>,
    /// For sentences.
    pub names: Names,
    conf: File,
    _keyring: File,
    silent: Mutex<Option<(Instant, Fault)>>,
}

/// A program's end: its output, or why not. Some callers expect some refusals.
pub type Said = Result<std::result::Result<Output, Refusal>>;

fn memory_file(name: &str, text: &str) -> std::io::Result<File> {
    let mut file = File::from(memfd_create(name, MemfdFlags::CLOEXEC)?);
    fchmod(&file, Mode::RUSR | Mode::WUSR)?;
    file.write_all(text.as_bytes())?;
    Ok(file)
}

/// Programs open it anew, so each reads from the start.
fn path_of(file: &File) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd())
}

fn conf_text(monitors: &str, keyring: &str) -> String {
    format!(
        "[global]\n\
         mon host = {monitors}\n\
         keyring = {keyring}\n\
         auth client required = cephx\n\
         client mount timeout = {LOOK_SECONDS}\n\
         mon client hunt parallel = 32\n\
         rados mon op timeout = {LOOK_SECONDS}\n\
         rados osd op timeout = {LOOK_SECONDS}\n\
         rbd default clone format = 2\n\
         admin socket =\n\
         log file = /dev/null\n\
         log to stderr = false\n"
    )
}

impl Cluster {
    /// Prepares for a spec that was checked. Nothing is asked yet.
    pub fn new(spec: &CephSpec, runner: Arc<dyn BlockingRunner>) -> Result<Cluster> {
        let failed = |e: std::io::Error| Fault::internal(e).in_phase("keep Ceph's settings in memory");
        let keyring = format!("[client.{}]\n\tkey = {}\n", spec.user, spec.key.expose());
        let keyring = memory_file("ceph-keyring", &keyring).map_err(failed)?;
        let monitors = spec.monitors.join(",");
        let conf = memory_file("ceph-conf", &conf_text(&monitors, &path_of(&keyring))).map_err(failed)?;
        let names = Names { monitors, pool: spec.pool.clone(), user: spec.user.clone() };
        Ok(Cluster { runner, names, conf, _keyring: keyring, silent: Mutex::default() })
    }

    /// `pool/image`, as `rbd` wants it.
    pub fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.names.pool)
    }

    fn program(&self, name: &str, pace: Pace) -> Program {
        let program = match pace {
            // A copy of an hour must not go on after a killed worker; short ones may end what they began.
            Pace::Long => Program::new("setpriv").args(["--pdeathsig", "KILL", "--", name]),
            Pace::Look | Pace::Change | Pace::Work => Program::new(name),
        };
        let program = program.args(["-c", &path_of(&self.conf), "--id", &self.names.user]);
        let program = match pace {
            Pace::Look => program,
            _ => program.args(["--rados-osd-op-timeout".to_owned(), pace.timeout_seconds().to_string()]),
        };
        // Times are printed in the local zone, and CEPH_ARGS would be read behind our back.
        let mut program = program.env("TZ", "UTC").env("CEPH_ARGS", "").deadline(pace.deadline());
        program.output_bytes_max = 64 << 20;
        program
    }

    /// Runs `rbd`.
    pub fn rbd(&self, step: &'static str, pace: Pace, args: &[&str]) -> Said {
        let said = self.run(step, self.program("rbd", pace).args(args.iter().copied()))?;
        Ok(said.map_err(|refusal| Refusal { patient: pace != Pace::Look, ..refusal }))
    }

    /// Runs `rados`, with bytes for its standard input.
    pub fn rados(&self, step: &'static str, pace: Pace, args: &[&str], stdin: &[u8]) -> Said {
        // Otherwise it asks the monitors for settings first, and hides why they let nobody in.
        let program = self.program("rados", pace).args(["--no-mon-config", "-p", self.names.pool.as_str()]);
        self.run(step, program.args(args.iter().copied()).stdin(stdin))
    }

    /// Runs `ceph` with a line per command; answers the JSON of each. Also while the pool is silent: it asks monitors.
    pub fn ceph(&self, step: &'static str, lines: &str) -> Said {
        let program = self.program("ceph", Pace::Look).args(["--format", "json"]).stdin(lines);
        judge(step, self.runner.run_blocking(&program, &mut || Ok(()))?)
    }

    /// Runs `rbd` for long, telling how far it is as parts of a hundred.
    pub fn rbd_long(&self, step: &'static str, args: &[&str], tell: &mut dyn FnMut(u64)) -> Said {
        self.refuse_while_silent()?;
        let (sender, pieces) = mpsc::channel();
        let program = self.program("rbd", Pace::Long).args(args.iter().copied()).follow(sender);
        let mut tick = || {
            let seen: Vec<u8> = pieces.try_iter().flatten().collect();
            if let Some(hundredths) = last_percentage(&String::from_utf8_lossy(&seen)) {
                tell(hundredths);
            }
            Ok(())
        };
        let said = judge(step, self.runner.run_blocking(&program, &mut tick)?)?;
        self.hear(&said);
        Ok(said.map_err(|refusal| Refusal { patient: true, ..refusal }))
    }

    /// Writes zeroes over a part of an image, so that its space is taken: growing does not do that.
    pub fn fill(&self, step: &'static str, image: &str, from_bytes: u64, to_bytes: u64) -> Said {
        let (pool, user, conf) = (&self.names.pool, &self.names.user, path_of(&self.conf));
        let mut program = Program::new("qemu-io").args(["-f", "raw"]).deadline(Pace::Work.deadline());
        let mut at = from_bytes;
        while at < to_bytes {
            let length = (to_bytes - at).min(FILL_BYTES);
            program = program.args(["-c".to_owned(), format!("write -q -P 0 {at} {length}")]);
            at += length;
        }
        self.run(step, program.arg(format!("rbd:{pool}/{image}:id={user}:conf={conf}")))
    }

    /// Runs `rbd` and reads its JSON.
    pub fn rbd_json<T: DeserializeOwned>(
        &self,
        step: &'static str,
        args: &[&str],
    ) -> Result<std::result::Result<T, Refusal>> {
        let args = [args, &["--format", "json"]].concat();
        Ok(match self.rbd(step, Pace::Look, &args)? {
            Ok(output) => Ok(read_json(step, &output.stdout)?),
            Err(refusal) => Err(refusal),
        })
    }

    fn run(&self, step: &'static str, program: Program) -> Said {
        self.refuse_while_silent()?;
        match self.runner.run_blocking(&program, &mut || Ok(())) {
            Ok(output) => {
                let said = judge(step, output)?;
                self.hear(&said);
                Ok(said)
            }
            Err(fault) if fault.code == FaultCode::DeadlineExceeded => {
                let fault = fault::silent(step).because(fault.message).in_phase(step);
                self.note(Some(fault.clone()));
                Err(fault)
            }
            Err(fault) => Err(fault),
        }
    }

    /// An answer of the data path, even a refusal, ends a silence.
    fn hear(&self, said: &std::result::Result<Output, Refusal>) {
        if said.as_ref().map_or_else(|refusal| !refusal.is_silence(), |_| true) {
            self.note(None);
        }
    }

    /// The fault of a refusal. A silence is asked about at the monitors, and remembered.
    pub fn fault(&self, refusal: &Refusal) -> Fault {
        let mut fault = fault::classify(refusal, &self.names);
        if refusal.is_silence() {
            // Only writers wait because a pool is full; and who only looks is not to wait twice.
            if refusal.patient
                && !refusal.is_unconnected()
                && let Some(why) = self.why_silent()
            {
                fault = why.in_phase(refusal.step);
            }
            self.note(Some(fault.clone()));
        }
        fault
    }

    /// Forgets a silence: whoever looks after the pool tries anew.
    pub fn listen_again(&self) {
        self.note(None);
    }

    fn note(&self, fault: Option<Fault>) {
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        *silent = fault.map(|fault| (Instant::now(), fault));
    }

    fn refuse_while_silent(&self) -> Result<()> {
        let silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        match &*silent {
            Some((since, fault)) if since.elapsed() < SILENCE => Err(fault.clone()),
            _ => Ok(()),
        }
    }
}

fn judge(step: &'static str, output: Output) -> Said {
    match output.signal {
        Some(signal) => Err(Fault::internal(format!("signal {signal}")).in_phase(step)),
        None if output.succeeded() => Ok(Ok(output)),
        None => Ok(Err(Refusal::new(step, output.code, &output.stderr))),
    }
}

/// Reads what a program printed.
pub fn read_json<T: DeserializeOwned>(step: &'static str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| {
        Fault::new(
            FaultCode::PoolIoFailed,
            "Ceph gave an answer nobody can read.",
            "Check that ceph-common on the host is version 16 or later.",
        )
        .because(e)
        .in_phase(step)
    })
}

/// From `Image copy: 12% complete...`, the last one of several.
fn last_percentage(text: &str) -> Option<u64> {
    let before = text.rsplit_once("% complete").or_else(|| text.rsplit_once('%'))?.0;
    before.rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use quantix_host::program::SystemRunner;
    use quantix_model::secret::Secret;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn percentages() {
        let text = "Image copy: 9% complete...\rImage copy: 12% complete...\rImage co";
        assert_eq!(last_percentage(text), Some(12));
        assert_eq!(last_percentage("Image copy: 100% complete...done."), Some(100));
        assert_eq!(last_percentage("Imag"), None);
    }

    #[test]
    fn the_key_is_in_a_closed_file_and_nowhere_else() {
        let spec = CephSpec {
            monitors: vec!["192.0.2.1".into(), "[2001:db8::1]:3300".into()],
            pool: "vms".into(),
            user: "quantix".into(),
            key: Secret::new("AQSECRET=="),
        };
        let cluster = Cluster::new(&spec, Arc::new(SystemRunner)).expect("memory files");
        for pace in [Pace::Look, Pace::Long] {
            let program = cluster.program("rbd", pace);
            let shown = format!("{program:?} {:?} {:?}", program.env, program.args);
            assert!(!shown.contains("AQSECRET") && !shown.contains("192.0.2.1"), "{shown}");
        }
        let conf = std::fs::read_to_string(path_of(&cluster.conf)).expect("conf");
        assert!(
            conf.contains("mon host = 192.0.2.1,[2001:db8::1]:3300") && !conf.contains("AQSECRET"),
            "{conf}"
        );
        let keyring = path_of(&cluster._keyring);
        assert!(conf.contains(&keyring));
        assert!(std::fs::read_to_string(&keyring).expect("keyring").contains("key = AQSECRET=="));
        let mode = std::fs::metadata(&keyring).expect("keyring").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
