//! `./x up`: from a clone to a page that works, on this machine.
//!
//! ```text
//!  build ─▶ (sudo) ─▶ lock ─▶ ports ─▶ libvirt ─▶ vDC ─▶ node ─▶ banner ─▶ follow ─▶ Ctrl-C or a death ─▶ stop
//!                                      system's, or one of our own               in the opposite order
//! ```
//! Data lives in `--dir` and outlives every stop; what was started does not. Guests of the system's libvirt go on
//! running, as they would on any host; guests of our own libvirt end with it.

pub mod build;
mod follow;
mod reset;

use crate::args::Args;
use crate::child::{Running, capture, missing, own, tied};
use crate::failure::{Context, Failure, Result};
use crate::libvirt;
use follow::{Follower, Look};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const SYSTEM_LIBVIRT: &str = "/run/libvirt/libvirt-sock";
const READY_WITHIN: Duration = Duration::from_secs(60);
/// libvirt of our own probes QEMU at its first start.
const LIBVIRT_WITHIN: Duration = Duration::from_secs(150);
const STOP_WITHIN: Duration = Duration::from_secs(15);

/// What the caller asked for.
struct Options {
    dir: PathBuf,
    page_port: u16,
    api_port: u16,
    host_port: u16,
    reset: bool,
    yes: bool,
    built: bool,
    libvirt_uri: Option<String>,
    words: Vec<String>,
}

impl Options {
    fn read(words: Vec<String>, root: &Path) -> Result<Self> {
        let mut args = Args::new("up", words.iter().cloned());
        let dir: Option<PathBuf> = args.value("--dir")?;
        let options = Self {
            dir: std::path::absolute(dir.unwrap_or_else(|| root.join(".quantix"))).doing("--dir")?,
            page_port: args.value("--port")?.unwrap_or(8080),
            api_port: args.value("--api-port")?.unwrap_or(8443),
            host_port: args.value("--host-port")?.unwrap_or(9443),
            reset: args.flag("--reset"),
            yes: args.flag("--yes"),
            built: args.flag("--built"),
            libvirt_uri: args.value("--libvirt-uri")?,
            words,
        };
        args.done()?;
        Ok(options)
    }
}

/// Builds, starts everything, and stays until it is told to end.
pub fn run(words: impl Iterator<Item = String>, root: &Path) -> Result<()> {
    let options = Options::read(words.collect(), root)?;
    if !options.built {
        build::run(root)?;
    }
    if !rustix::process::geteuid().is_root() {
        return as_root(&options);
    }
    let began = Instant::now();
    fs::create_dir_all(&options.dir).doing(options.dir.display())?;
    let _lock = lock(&options.dir)?;
    if options.reset {
        reset::run(&options.dir, options.yes)?;
    }
    for (what, flag, port) in [
        ("the page", "--port", options.page_port),
        ("the API", "--api-port", options.api_port),
        ("the host", "--host-port", options.host_port),
    ] {
        check_port(what, flag, port)?;
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, stop.clone()).doing("catching signals")?;
    }
    let mut started = Started::new(&options, root, stop)?;
    let outcome = started.all(began).and_then(|()| started.stay());
    started.stop();
    outcome
}

/// Guests, pools and libvirt's socket need root; only this part does.
fn as_root(options: &Options) -> Result<()> {
    eprintln!("starting guests needs root: asking sudo (everything is built already)");
    let own = own()?;
    let mut sudo = Command::new("sudo");
    sudo.arg("--").arg(own).arg("up").args(&options.words).arg("--built");
    Err(missing("sudo", &sudo.exec()).remedy("run `./x up` as root"))
}

fn lock(dir: &Path) -> Result<File> {
    let path = dir.join("lock");
    let lock = File::create(&path).doing(path.display())?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(_) => Err(Failure::new(format!("{} is in use: Quantix runs there already", dir.display()))
            .remedy("end it with Ctrl-C where it runs, or choose another --dir (with --port, --api-port and --host-port)")),
    }
}

fn check_port(what: &str, flag: &str, port: u16) -> Result<()> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            Err(Failure::new(format!("port {port}, wanted for {what}, is in use by another program"))
                .remedy(format!("end that program (`ss -ltnp 'sport = :{port}'` names it), or choose another port with {flag} PORT")))
        }
        Err(error) => Err(Failure::new(format!("port {port} for {what} cannot be used: {error}"))
            .remedy(format!("choose another with {flag} PORT"))),
    }
}

/// Admin's password, as the vDC tells of it.
#[derive(Debug, PartialEq, Eq)]
enum Password {
    /// Just made.
    New(String),
    /// Made at an earlier start and never changed.
    OneTime,
    /// Chosen by a person.
    Own,
}

impl Password {
    fn read(said: &[String]) -> Password {
        let new = said.iter().find_map(|line| line.split("one-time password ").nth(1));
        match new {
            Some(word) => Password::New(word.trim().to_owned()),
            None if said.iter().any(|line| line.contains("one-time password, as")) => Password::OneTime,
            None => Password::Own,
        }
    }
}

/// What runs, in the order it was started.
struct Started<'a> {
    options: &'a Options,
    target: PathBuf,
    web: PathBuf,
    stop: Arc<AtomicBool>,
    follower: Follower,
    running: Vec<Running>,
}

impl<'a> Started<'a> {
    fn new(options: &'a Options, root: &Path, stop: Arc<AtomicBool>) -> Result<Self> {
        let (target, web) = (build::target()?, root.join("web/dist"));
        Ok(Self { options, target, web, stop, follower: Follower::new(), running: Vec::new() })
    }

    fn all(&mut self, began: Instant) -> Result<()> {
        let (uri, whose) = self.libvirt()?;
        let vdc = self.vdc()?;
        self.node(&uri)?;
        if self.stopping() {
            return Ok(());
        }
        let banner = self.banner(whose, vdc, began)?;
        self.follower.say(&banner);
        Ok(())
    }

    /// The system's libvirt when it answers, else one of our own.
    fn libvirt(&mut self) -> Result<(String, &'static str)> {
        if let Some(uri) = &self.options.libvirt_uri {
            return Ok((uri.clone(), "the one at --libvirt-uri"));
        }
        if UnixStream::connect(SYSTEM_LIBVIRT).is_ok() {
            return Ok(("qemu:///system".to_owned(), "the system's"));
        }
        let dir = self.options.dir.join("libvirt");
        let own = own()?;
        let mut command = tied(own);
        command.arg("libvirt").arg("--stop-guests").arg("--dir").arg(&dir);
        self.start("libvirt", Look::Libvirt, command, "READY", LIBVIRT_WITHIN)?;
        Ok((libvirt::uri(&libvirt::socket(&dir)), "one of its own (no system libvirt answers)"))
    }

    /// Starts the vDC; answers what it says of admin's password.
    fn vdc(&mut self) -> Result<Password> {
        let options = self.options;
        let mut command = tied(self.target.join("quantix-vdc"));
        command.arg("run").arg("--data-dir").arg(options.dir.join("vdc"));
        command.args(["--listen", &format!("127.0.0.1:{}", options.api_port)]);
        command.args(["--dev-listen", &format!("127.0.0.1:{}", options.page_port)]);
        command.args(["--host-facing-url", &format!("https://127.0.0.1:{}", options.api_port)]);
        command.args(["--host-offer-url", &format!("https://127.0.0.1:{}", options.host_port)]);
        command.arg("--web-dir").arg(&self.web);
        let said = self.start("vdc", Look::Vdc, command, "Serving", READY_WITHIN)?;
        Ok(Password::read(&said))
    }

    fn node(&mut self, libvirt_uri: &str) -> Result<()> {
        let options = self.options;
        let mut command = tied(self.target.join("quantix-node"));
        command.arg("run").arg("--state-dir").arg(options.dir.join("node"));
        command.args(["--listen", &format!("127.0.0.1:{}", options.host_port)]);
        command.args(["--libvirt-uri", libvirt_uri, "--accelerator", "auto"]);
        self.start("node", Look::Node, command, "Serving", READY_WITHIN).map(drop)
    }

    /// Starts one program and waits for the line that begins with `ready`; returns what it said until then.
    fn start(
        &mut self,
        name: &'static str,
        look: Look,
        mut command: Command,
        ready: &str,
        within: Duration,
    ) -> Result<Vec<String>> {
        // Its own process group: Ctrl-C reaches us alone, and we end the others in order.
        command.process_group(0);
        self.follower.pipes(&mut command);
        let mut running = Running::start(name, &mut command)?;
        self.follower.attach(look, running.child());
        self.running.push(running);
        let end = Instant::now() + within;
        loop {
            let said = self.follower.said(look);
            if self.stopping() || said.iter().any(|line| line.starts_with(ready)) {
                return Ok(said);
            }
            self.check_alive()?;
            if Instant::now() > end {
                let words = self.follower.last_words(look);
                return Err(Failure::new(format!(
                    "{name} was not ready after {} s; its last lines:\n{words}",
                    within.as_secs()
                )));
            }
            self.follower.wait(Duration::from_millis(20));
        }
    }

    fn banner(&self, whose: &str, password: Password, began: Instant) -> Result<String> {
        let options = self.options;
        let reset = format!(
            "{} reset-password --data-dir {}",
            self.target.join("quantix-vdc").display(),
            options.dir.join("vdc").display()
        );
        let mut lines = vec![
            String::new(),
            format!("  Page      http://127.0.0.1:{}", options.page_port),
            "  User      admin".into(),
        ];
        lines.push(match password {
            Password::New(word) => format!("  Password  {word}   (one-time: the page asks for your own)"),
            Password::OneTime => {
                format!("  Password  the one-time one of the first start, still; forgotten: {reset}")
            }
            Password::Own => format!("  Password  yours; forgotten: {reset}"),
        });
        if !self.registered() {
            lines.push(String::new());
            lines.push("  Add this machine on the page, under Hosts, Add host:".into());
            lines.push(format!("  Host URL  https://127.0.0.1:{}", options.host_port));
            lines.push(format!("  Token     {}", self.token()?));
        }
        lines.push(String::new());
        lines.push(format!("  libvirt   {whose}"));
        lines.push(format!("  Data      {}", options.dir.display()));
        lines.push(format!(
            "  Ready in {:.1} s. Ctrl-C ends what was started and keeps the data.",
            began.elapsed().as_secs_f64()
        ));
        lines.push(String::new());
        Ok(lines.join("\n"))
    }

    /// Whether the host belongs to a vDC, as its own ledger says.
    fn registered(&self) -> bool {
        let ledger = fs::read(self.options.dir.join("node/ledger.json")).unwrap_or_default();
        let ledger: serde_json::Value = serde_json::from_slice(&ledger).unwrap_or_default();
        ["/registration", "/book/registration"]
            .iter()
            .any(|place| ledger.pointer(place).is_some_and(|found| !found.is_null()))
    }

    fn token(&self) -> Result<String> {
        let mut command = Command::new(self.target.join("quantix-node"));
        command.arg("token").arg("--state-dir").arg(self.options.dir.join("node"));
        let output = capture(&mut command, Duration::from_secs(20))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let token = text.split_whitespace().find(|word| word.starts_with("qxh1."));
        let said = String::from_utf8_lossy(&output.stderr);
        token
            .map(str::to_owned)
            .ok_or_else(|| Failure::new(format!("the host makes no token: {}", said.trim())))
    }

    /// Prints what the programs say until a signal comes or one of them dies.
    fn stay(&mut self) -> Result<()> {
        self.follower.speak();
        while !self.stopping() {
            self.follower.wait(Duration::from_millis(100));
            self.check_alive()?;
        }
        Ok(())
    }

    fn check_alive(&mut self) -> Result<()> {
        let dead = self.running.iter_mut().find_map(|running| Some((running.name, running.ended()?)));
        let Some((name, status)) = dead else { return Ok(()) };
        self.follower.wait(Duration::from_millis(100));
        let words = self.follower.last_words(Look::of(name));
        Err(Failure::new(format!(
            "{name} ended with {}; its last lines:\n{words}",
            crate::child::ending(status)
        )))
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Ends everything, the last first.
    fn stop(&mut self) {
        while let Some(mut running) = self.running.pop() {
            self.follower.say(&format!("ending {}", running.name));
            running.stop(STOP_WITHIN);
        }
        self.follower.wait(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::Password;

    #[test]
    fn the_password_is_called_what_it_is() {
        let read = |line: &str| Password::read(&[line.to_owned(), "Serving https://127.0.0.1:1".to_owned()]);
        let new = read("First sign-in: user admin, one-time password abcd-efgh");
        assert_eq!(new, Password::New("abcd-efgh".into()));
        assert_eq!(read("Sign-in: user admin, one-time password, as printed before"), Password::OneTime);
        assert_eq!(read("something else"), Password::Own);
    }
}
