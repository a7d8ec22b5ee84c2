//! A vDC in a process of its own, on a store that was seeded before, and a client that is signed in.

use crate::fleet::seed::{self, Seeded, Size};
use crate::process::{Process, free_port};
use crate::rig::{PASSWORD, STEP_DEADLINE, program};
use prometheus_parse::Scrape;
use quantix_client::{VdcClient, tls};
use quantix_contract::quantix::session::v1 as session;
use quantix_control::clock::Clock;
use quantix_control::pki::Pki;
use quantix_control::seal::Seal;
use quantix_control::services::scraper;
use quantix_control::{Config, serve};
use quantix_model::Fault;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A vDC with a fleet in its store.
pub struct FleetVdc {
    dir: PathBuf,
    port: u16,
    dev_port: u16,
    database_url: Option<String>,
    process: Option<Process>,
    metrics_token: String,
    /// The fleet.
    pub seeded: Seeded,
}

impl FleetVdc {
    /// Seeds a store in `dir`, or in the PostgreSQL database named, and starts a vDC on it.
    pub async fn start(dir: &Path, database_url: Option<String>, size: Size) -> Result<FleetVdc, Fault> {
        let config = Config { database_url: database_url.clone(), ..Config::new(dir.join("vdc")) };
        // On PostgreSQL nothing else makes it.
        std::fs::create_dir_all(&config.data_dir).map_err(Fault::internal)?;
        let store = serve::open_store(&config).await?;
        let clock = Clock::system();
        let seal = Arc::new(Seal::open(&config.seal_key(), true)?);
        let pki = Pki::open(&config.data_dir, &[], &clock, &seal)?;
        let seeded = seed::seed(&store, &pki, size, clock.now()).await?;
        let metrics_token = scraper::make_token(&store).await?;
        store.close().await;
        let (port, dev_port, dir) = (free_port(), free_port(), dir.to_owned());
        let mut vdc = FleetVdc { dir, port, dev_port, database_url, process: None, metrics_token, seeded };
        vdc.start_vdc()?;
        Ok(vdc)
    }

    /// Starts the vDC on what is there; answers how long it took until it served.
    pub fn start_vdc(&mut self) -> Result<Duration, Fault> {
        // The database's address may carry a password: it stands in a file that only we may read.
        let file = self.dir.join("vdc.toml");
        let url = self.database_url.as_ref().map(|url| format!("database_url = {url:?}\n"));
        std::fs::write(&file, url.unwrap_or_default()).map_err(Fault::internal)?;
        let mut command = Command::new(program("quantix-vdc"));
        command.arg("run").arg("--config").arg(&file).arg("--data-dir").arg(self.dir.join("vdc"));
        command.arg("--listen").arg(format!("127.0.0.1:{}", self.port));
        command.arg("--dev-listen").arg(format!("127.0.0.1:{}", self.dev_port));
        let begun = Instant::now();
        let process = Process::start("quantix-vdc", command);
        process.wait_for("Serving", STEP_DEADLINE);
        let took = begun.elapsed();
        self.process = Some(process);
        Ok(took)
    }

    /// Ends the vDC by `kill -9`.
    pub fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
        }
    }

    /// The running vDC.
    ///
    /// # Panics
    /// When it was killed.
    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("the vDC is started")
    }

    /// Where hosts and tools reach it.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Where a browser on this machine reaches it.
    pub fn dev_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.dev_port)
    }

    /// Its figures, read as Prometheus does.
    pub async fn scrape(&self) -> Result<Scrape, Fault> {
        let ask = reqwest::Client::new()
            .get(format!("{}/metrics", self.dev_url()))
            .bearer_auth(&self.metrics_token);
        let answer = ask.timeout(STEP_DEADLINE).send().await.and_then(reqwest::Response::error_for_status);
        let text = answer.map_err(Fault::internal)?.text().await.map_err(Fault::internal)?;
        Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).map_err(Fault::internal)
    }

    /// The password it said at its first start.
    pub fn first_password(&self) -> Option<String> {
        let line = self.process().said("First sign-in:")?;
        line.split_whitespace().last().map(str::to_owned)
    }

    /// Signs in; at the first time with a password of our choice.
    pub async fn sign_in(&self) -> Result<VdcClient, Fault> {
        let client = VdcClient::new(&self.url(), tls::VDC_NAME, tls::client(&self.seeded.ca_pem)?)?;
        let login = async |password: &str| {
            let request = session::LoginRequest {
                user_name: "admin".into(),
                password: password.into(),
                ..Default::default()
            };
            let answer = client.sessions().login(request).await.map_err(|err| client.fault(&err))?;
            Ok::<_, Fault>(answer.into_owned().token)
        };
        let Some(first) = self.first_password() else {
            return Ok(client.clone().with_token(&login(PASSWORD).await?));
        };
        let client = client.clone().with_token(&login(&first).await?);
        let change = session::ChangePasswordRequest {
            current_password: first,
            new_password: PASSWORD.into(),
            ..Default::default()
        };
        client.sessions().change_password(change).await.map_err(|err| client.fault(&err))?;
        Ok(client)
    }
}
