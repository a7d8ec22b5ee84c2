//! The line to the vDC: for hosts (mutual TLS, reports) and for tools and tests (bearer token, everything).

use crate::dial::{Dial, HostUrl};
use crate::transport::{Transport, reports, rpc, rpc_fault};
use connectrpc::ConnectError;
use connectrpc::client::{CallOptions, ClientConfig};
use quantix_contract::quantix::alert::v1::AlertServiceClient;
use quantix_contract::quantix::certificate::v1::CertificateServiceClient;
use quantix_contract::quantix::event::v1::EventServiceClient;
use quantix_contract::quantix::file::v1::FileServiceClient;
use quantix_contract::quantix::host::v1::HostServiceClient;
use quantix_contract::quantix::identity::v1::IdentityServiceClient;
use quantix_contract::quantix::image::v1::ImageServiceClient;
use quantix_contract::quantix::join_token::v1::{JoinRequest, JoinResponse, JoinTokenServiceClient};
use quantix_contract::quantix::node::v1::{
    BeatRequest, BeatResponse, RenewCertificateRequest, RenewCertificateResponse, ReportServiceClient,
};
use quantix_contract::quantix::pool::v1::PoolServiceClient;
use quantix_contract::quantix::session::v1::SessionServiceClient;
use quantix_contract::quantix::system::v1::SystemServiceClient;
use quantix_contract::quantix::task::v1::TaskServiceClient;
use quantix_contract::quantix::vm::v1::VmServiceClient;
use quantix_contract::quantix::volume::v1::VolumeServiceClient;
use quantix_contract::quantix::watch::v1::WatchServiceClient;
use quantix_model::{Fault, FaultCode};
use std::sync::Arc;
use std::time::Duration;

/// A beat that is not answered by then is lost; the next one tells the same.
const BEAT_DEADLINE: Duration = Duration::from_secs(10);
/// For tools, unless a call says otherwise.
const CALL_DEADLINE: Duration = Duration::from_secs(60);

/// A line to the vDC. Cheap to clone.
#[derive(Clone)]
pub struct VdcClient {
    dial: Dial,
    transport: Transport,
    config: ClientConfig,
}

macro_rules! services {
    ($($(#[$doc:meta])* $name:ident: $client:ident;)*) => {$(
        $(#[$doc])*
        pub fn $name(&self) -> $client<Transport> {
            $client::new(self.transport.clone(), self.config.clone())
        }
    )*};
}

impl VdcClient {
    /// A tool's line to the vDC at `url`, which must prove to be `server_name`; `tls` is [`crate::tls::client`].
    pub fn new(url: &str, server_name: &str, tls: Arc<rustls::ClientConfig>) -> Result<VdcClient, Fault> {
        VdcClient::over(url, server_name, tls, rpc)
    }

    /// A host's line to its vDC, for its beats; `tls` is mutual.
    pub fn for_host(url: &str, tls: Arc<rustls::ClientConfig>) -> Result<VdcClient, Fault> {
        VdcClient::over(url, crate::tls::VDC_NAME, tls, reports)
    }

    fn over(
        url: &str,
        server_name: &str,
        tls: Arc<rustls::ClientConfig>,
        transport: fn(Dial) -> Transport,
    ) -> Result<VdcClient, Fault> {
        let url: HostUrl = url.parse()?;
        let dial = Dial::new(url, server_name, tls)?;
        let base = format!("https://{server_name}").parse().map_err(Fault::internal)?;
        let config = ClientConfig::new(base)
            .with_default_timeout(CALL_DEADLINE)
            .with_default_max_message_size(16 << 20);
        Ok(VdcClient { transport: transport(dial.clone()), dial, config })
    }

    /// The same line under a signed-in session's token.
    pub fn with_token(mut self, token: &str) -> VdcClient {
        self.config = self.config.with_default_header("authorization", format!("Bearer {token}"));
        self
    }

    /// How the vDC is dialled, for what is no RPC (uploads, consoles).
    pub fn dial(&self) -> &Dial {
        &self.dial
    }

    /// Reports this host's state; answers what it should have.
    pub async fn beat(&self, beat: BeatRequest) -> Result<BeatResponse, Fault> {
        let client = ReportServiceClient::new(self.transport.clone(), self.config.clone());
        let options = CallOptions::default().with_timeout(BEAT_DEADLINE);
        match client.beat_with_options(beat, options).await {
            Ok(answer) => Ok(answer.into_owned()),
            Err(err) => Err(self.fault(&err)),
        }
    }

    /// Has this host's key certified anew.
    pub async fn renew_certificate(
        &self,
        request: RenewCertificateRequest,
    ) -> Result<RenewCertificateResponse, Fault> {
        let client = ReportServiceClient::new(self.transport.clone(), self.config.clone());
        let options = CallOptions::default().with_timeout(BEAT_DEADLINE);
        match client.renew_certificate_with_options(request, options).await {
            Ok(answer) => Ok(answer.into_owned()),
            Err(err) => Err(self.fault(&err)),
        }
    }

    /// Connects once and says what is in the way, in words for whoever sits at the host.
    pub async fn try_dial(&self, url: &str) -> Result<(), Fault> {
        let Err(err) = self.dial.connect(&[b"h2"]).await else { return Ok(()) };
        let fault = err.fault(&self.dial.url);
        match fault.code {
            FaultCode::TlsError => Err(fault),
            code => {
                let remedy = "Check the vDC's address and port, and that no firewall closes it.";
                Err(Fault::new(code, format!("The vDC at {url} cannot be reached."), remedy)
                    .because(fault.cause))
            }
        }
    }

    /// Asks a vDC that this host does not belong to yet to take it up; `self` is pinned by the token.
    pub async fn join(&self, request: JoinRequest) -> Result<JoinResponse, Fault> {
        match self.join_tokens().join(request).await {
            Ok(answer) => Ok(answer.into_owned()),
            Err(err) => Err(self.fault(&err)),
        }
    }

    /// The fault behind a failed call of one of the services below.
    pub fn fault(&self, err: &ConnectError) -> Fault {
        rpc_fault(err, "The vDC")
    }

    services! {
        /// What somebody should look at.
        alerts: AlertServiceClient;
        /// Who vouches for whom.
        certificates: CertificateServiceClient;
        /// What happened.
        events: EventServiceClient;
        /// Files of pools.
        files: FileServiceClient;
        /// Hosts.
        hosts: HostServiceClient;
        /// Who says who people are.
        identity: IdentityServiceClient;
        /// Images.
        images: ImageServiceClient;
        /// Tokens that hosts join by.
        join_tokens: JoinTokenServiceClient;
        /// Pools.
        pools: PoolServiceClient;
        /// Signing in and out.
        sessions: SessionServiceClient;
        /// The vDC itself.
        system: SystemServiceClient;
        /// Tasks.
        tasks: TaskServiceClient;
        /// Virtual machines.
        vms: VmServiceClient;
        /// Volumes.
        volumes: VolumeServiceClient;
        /// What changes.
        watch: WatchServiceClient;
    }
}
