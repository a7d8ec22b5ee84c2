//! The vDC's end of the wire: its CA, its certificate, and a ReportService that writes down what it hears.

use crate::yard::pool_intent;
use connectrpc::{ConnectError, RequestContext, Response, ServiceRequest, ServiceResult};
use quantix_client::registration::Completion;
use quantix_client::tls::{self, CertificateFacts, Identity, VDC_NAME};
use quantix_contract::fault::to_connect;
use quantix_contract::quantix::node::v1::{
    BeatRequest, BeatResponse, PoolIntent, PoolRelease, RenewCertificateRequest, RenewCertificateResponse,
    ReportService, ReportServiceExt as _,
};
use quantix_model::id::HostId;
use quantix_model::{Fault, FaultCode};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    PublicKeyData, SubjectPublicKeyInfo,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Says things with a CA of its own.
pub struct TestVdc {
    ca_key: String,
    pub ca_pem: String,
    chain: String,
    key: String,
    pub url: String,
    heard: Arc<Heard>,
    stop: CancellationToken,
}

struct Heard {
    ca_pem: String,
    ca_key: String,
    beats: watch::Sender<Vec<BeatRequest>>,
    /// What it wants; until it is said, whatever the host has.
    pools: Mutex<Option<Vec<PoolIntent>>>,
    /// It says nothing of pools it does not want, as one whose time went back.
    forgetful: AtomicBool,
    refused: watch::Sender<u32>,
    down: AtomicBool,
    interval_ms: u64,
    /// The last whole beat, which later ones stand for.
    whole: Mutex<Option<BeatRequest>>,
    /// Answers are lost after this.
    deaf: AtomicBool,
}

impl Drop for TestVdc {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl TestVdc {
    /// A vDC that wants a beat every 300 ms.
    pub async fn start() -> TestVdc {
        TestVdc::with_interval(300).await
    }

    pub async fn with_interval(interval_ms: u64) -> TestVdc {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let ca = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Test CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let ca_pem = params.self_signed(&ca).unwrap().pem();
        let ca_key = ca.serialize_pem();
        let key = KeyPair::generate().unwrap();
        let chain = sign(&ca_pem, &ca_key, &key, VDC_NAME);
        let key = key.serialize_pem();
        let heard = Arc::new(Heard {
            ca_pem: ca_pem.clone(),
            ca_key: ca_key.clone(),
            beats: watch::channel(Vec::new()).0,
            pools: Mutex::default(),
            forgetful: AtomicBool::new(false),
            refused: watch::channel(0).0,
            down: AtomicBool::new(false),
            interval_ms,
            whole: Mutex::default(),
            deaf: AtomicBool::new(false),
        });
        let config = tls::server(&Identity::from_pem(&chain, &key).unwrap(), Some(&ca_pem)).unwrap();
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let app = Arc::clone(&heard).register(connectrpc::Router::new()).into_axum_router();
        let stop = CancellationToken::new();
        let server = connectrpc::axum::serve_tls(listener, app, config)
            .with_graceful_shutdown(stop.clone().cancelled_owned());
        tokio::spawn(async move { server.await });
        TestVdc { ca_key, ca_pem, chain, key, url, heard, stop }
    }

    /// What a registration hands over to the owner of the key in `certificate`.
    pub fn completion(&self, id: HostId, certificate: &[u8]) -> Completion {
        let spki = CertificateFacts::read(certificate).unwrap().spki_der;
        let key = SubjectPublicKeyInfo::from_der(&spki).unwrap();
        Completion {
            host_id: id.to_string(),
            host_name: "host-1".into(),
            vdc_url: self.url.clone(),
            vdc_ca_pem: self.ca_pem.clone(),
            certificate_pem: sign(&self.ca_pem, &self.ca_key, &key, &tls::host_name(id)),
        }
    }

    /// How it calls hosts.
    pub fn client_config(&self) -> Arc<rustls::ClientConfig> {
        tls::mutual_client(&Identity::from_pem(&self.chain, &self.key).unwrap(), &self.ca_pem).unwrap()
    }

    /// A client of its CA that is not the vDC, such as another host.
    pub fn other_client_config(&self) -> Arc<rustls::ClientConfig> {
        let key = KeyPair::generate().unwrap();
        let name = tls::host_name(HostId(uuid::Uuid::from_u128(77)));
        let chain = sign(&self.ca_pem, &self.ca_key, &key, &name);
        let identity = Identity::from_pem(&chain, &key.serialize_pem()).unwrap();
        tls::mutual_client(&identity, &self.ca_pem).unwrap()
    }

    /// What it answers to beats from now on.
    pub fn want_pools(&self, pools: Vec<PoolIntent>) {
        *self.heard.pools.lock().unwrap() = Some(pools);
    }

    /// Knows nothing of the host's pools from now on, as one that was restored from an old backup.
    pub fn forget_pools(&self) {
        self.heard.forgetful.store(true, Ordering::SeqCst);
        self.want_pools(Vec::new());
    }

    /// Refuses beats, or takes them again.
    pub fn set_down(&self, down: bool) {
        self.heard.down.store(down, Ordering::SeqCst);
    }

    /// Forgets what it was told, as a restart does, or as if its state had drifted.
    pub fn forget(&self) {
        *self.heard.whole.lock().unwrap() = None;
    }

    /// Takes beats without answering well, or answers again.
    pub fn lose_answers(&self, lose: bool) {
        self.heard.deaf.store(lose, Ordering::SeqCst);
    }

    /// Waits until it has refused a beat.
    pub async fn has_refused(&self) {
        let mut refused = self.heard.refused.subscribe();
        let wait = refused.wait_for(|n| *n > 0);
        tokio::time::timeout(crate::yard::PATIENCE, wait).await.expect("a beat is refused").unwrap();
    }

    /// Waits for a beat, after those heard already, that fits.
    pub async fn beat_that(&self, what: &str, fits: impl Fn(&BeatRequest) -> bool) -> BeatRequest {
        let mut beats = self.heard.beats.subscribe();
        let seen = beats.borrow().len();
        let found = beats.wait_for(|all| all[seen..].iter().any(&fits));
        let all = tokio::time::timeout(crate::yard::PATIENCE, found).await;
        let all = all.unwrap_or_else(|_| panic!("no beat: {what}")).unwrap();
        all[seen..].iter().find(|b| fits(b)).unwrap().clone()
    }

    /// Beats heard so far.
    pub fn beats(&self) -> Vec<BeatRequest> {
        self.heard.beats.borrow().clone()
    }
}

fn sign(ca_pem: &str, ca_key: &str, key: &impl PublicKeyData, name: &str) -> String {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let issuer = Issuer::from_ca_cert_pem(ca_pem, KeyPair::from_pem(ca_key).unwrap()).unwrap();
    params.signed_by(key, &issuer).unwrap().pem()
}

impl Heard {
    /// Holds a whole beat; fills into another what it stands for. False: that is not known here.
    fn hold(&self, beat: &mut BeatRequest) -> bool {
        let mut whole = self.whole.lock().unwrap();
        if beat.figures.is_unset() {
            *whole = Some(beat.clone());
            return true;
        }
        let same = |w: &&BeatRequest| (&w.boot_id, &w.state_digest) == (&beat.boot_id, &beat.state_digest);
        let Some(held) = whole.as_ref().filter(same) else { return false };
        (beat.pools, beat.vms, beat.engine) = (held.pools.clone(), held.vms.clone(), held.engine.clone());
        true
    }
}

#[allow(refining_impl_trait)]
impl ReportService for Heard {
    async fn beat(
        &self,
        ctx: RequestContext,
        request: ServiceRequest<'_, BeatRequest>,
    ) -> ServiceResult<BeatResponse> {
        let beat = request.to_owned_message();
        let certificate = ctx.peer_certs().and_then(|chain| chain.first()).expect("hosts show a certificate");
        let caller = CertificateFacts::read(certificate).unwrap().host_id().map(|id| id.to_string());
        assert_eq!(caller, Some(beat.host_id.clone()), "a host reports for itself");
        if self.down.load(Ordering::SeqCst) {
            self.refused.send_modify(|n| *n += 1);
            let fault = Fault::new(FaultCode::StoreUnavailable, "The store is down.", "Wait.");
            return Err::<_, ConnectError>(to_connect(&fault));
        }
        let mut beat = beat;
        let full_wanted = !self.hold(&mut beat);
        if self.deaf.load(Ordering::SeqCst) {
            self.refused.send_modify(|n| *n += 1);
            self.beats.send_modify(|all| all.push(beat));
            return Err(to_connect(&Fault::new(FaultCode::DeadlineExceeded, "Lost.", "Again.")));
        }
        let wanted = self.pools.lock().unwrap().clone();
        let pools = wanted.unwrap_or_else(|| beat.pools.iter().map(|p| pool_intent(p.generation)).collect());
        let wants = |id: &str| pools.iter().any(|p: &PoolIntent| p.pool_id == id);
        let over = beat.pools.iter().filter(|p| !self.forgetful.load(Ordering::SeqCst) && !wants(&p.pool_id));
        let released = over.map(|p| PoolRelease {
            pool_id: p.pool_id.clone(),
            generation: p.generation,
            ..Default::default()
        });
        let released = released.collect();
        self.beats.send_modify(|all| all.push(beat));
        let interval_ms = self.interval_ms;
        Response::ok(BeatResponse { interval_ms, pools, full_wanted, released, ..Default::default() })
    }

    async fn renew_certificate(
        &self,
        ctx: RequestContext,
        request: ServiceRequest<'_, RenewCertificateRequest>,
    ) -> ServiceResult<RenewCertificateResponse> {
        let certificate = ctx.peer_certs().and_then(|chain| chain.first()).expect("hosts show a certificate");
        let facts = CertificateFacts::read(certificate).unwrap();
        assert_eq!(facts.spki_der, request.public_key_der, "its own key");
        let key = SubjectPublicKeyInfo::from_der(&facts.spki_der).unwrap();
        let name = tls::host_name(facts.host_id().expect("a host's certificate"));
        Response::ok(RenewCertificateResponse {
            certificate_pem: sign(&self.ca_pem, &self.ca_key, &key, &name),
            trust_pem: self.ca_pem.clone(),
            ..Default::default()
        })
    }
}
