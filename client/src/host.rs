//! The vDC's line to one host: calls with a deadline each, upload bytes, and the console.

use crate::dial::{Dial, HostUrl};
use crate::rest::Answer;
use crate::tls::host_name;
use crate::transport::{Pool, Transport, bulk, chain, rpc, rpc_fault, unreachable_fault};
use bytes::Bytes;
use connectrpc::ConnectError;
use connectrpc::client::{CallOptions, ClientConfig, ClientTransport, ServerStream};
use futures::Stream;
use futures::StreamExt as _;
use http::{Method, Request, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::Frame;
use quantix_contract::quantix::file::v1 as file;
use quantix_contract::quantix::host::v1::ListDevicesResponse;
use quantix_contract::quantix::log::v1 as log;
use quantix_contract::quantix::node::v1 as node;
use quantix_contract::quantix::pool::v1 as pool;
use quantix_contract::quantix::pool::v1::ListFilesResponse;
use quantix_model::id::{HostId, ImageId, PoolId, VmId};
use quantix_model::{Fault, FaultCode};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;

/// A look somebody waits for: the host itself answers a little earlier.
const LOOK: Duration = Duration::from_millis(1800);
/// Calls that only look or change something small.
const QUICK: Duration = Duration::from_secs(20);
/// Calls that define, start or mount.
const CHANGE: Duration = Duration::from_secs(90);
/// Calls that rewrite parts of a disk: longer than the host's own patience with them.
const REWRITE: Duration = Duration::from_secs(150);
/// Calls that copy or read whole disks.
const BULK: Duration = Duration::from_secs(3600);
/// More figures than this no host has.
const METRICS_BYTES_MAX: usize = 16 << 20;
/// Header of the upload protocol (tus 1.0).
pub const UPLOAD_OFFSET: &str = "upload-offset";

/// Why a stream of bytes broke off.
pub type BulkError = Box<dyn std::error::Error + Send + Sync>;
type BulkBody = BoxBody<Bytes, BulkError>;

/// What long work tells on its way.
type Told = ServerStream<<Transport as ClientTransport>::ResponseBody, node::ProgressView<'static>>;

/// A host's console line: binary messages carry RFB.
pub type ConsoleStream = WebSocketStream<TlsStream<TcpStream>>;

/// A line to one host. Cheap to clone; connections are kept and shared.
#[derive(Clone)]
pub struct HostClient {
    id: HostId,
    name: String,
    dial: Dial,
    rpc: Arc<node::NodeServiceClient<Transport>>,
    bulk: Pool<BulkBody>,
}

macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident / $with:ident ($request:ty) -> $response:ty, $deadline:expr;)*) => {
        impl HostClient {$(
            $(#[$doc])*
            pub async fn $name(&self, request: $request) -> Result<$response, Fault> {
                let options = CallOptions::default().with_timeout($deadline);
                match self.rpc.$with(request, options).await {
                    Ok(answer) => Ok(answer.into_owned()),
                    Err(err) => Err(self.named(rpc_fault(&err, &self.name))),
                }
            }
        )*}
    };
}

calls! {
    /// Makes a pool present.
    apply_pool / apply_pool_with_options(node::PoolIntent) -> node::PoolReport, CHANGE;
    /// Lets go of a pool; its files stay.
    release_pool / release_pool_with_options(node::ReleasePoolRequest) -> node::ReleasePoolResponse, CHANGE;
    /// Tries a pool again now.
    retry_pool / retry_pool_with_options(node::RetryPoolRequest) -> node::PoolReport, QUICK;
    /// What an iSCSI portal offers the host.
    discover_targets / discover_targets_with_options(pool::DiscoverTargetsRequest) -> pool::DiscoverTargetsResponse, CHANGE;
    /// What an NFS server offers the host.
    list_exports / list_exports_with_options(pool::ListExportsRequest) -> pool::ListExportsResponse, CHANGE;
    /// The pools of a Ceph cluster, as the host sees them.
    list_ceph_pools / list_ceph_pools_with_options(pool::ListCephPoolsRequest) -> pool::ListCephPoolsResponse, CHANGE;
    /// Looks at one file closely.
    get_file / get_file_with_options(file::GetFileRequest) -> file::FileDetails, QUICK;
    /// Makes a folder.
    make_folder / make_folder_with_options(file::MakeFolderRequest) -> file::FileDetails, QUICK;
    /// Renames or moves within a pool.
    move_file / move_file_with_options(file::MoveFileRequest) -> file::FileDetails, QUICK;
    /// Makes a finished upload a file.
    finish_file / finish_file_with_options(node::FinishFileRequest) -> file::FileDetails, BULK;
    /// Grows a volume.
    grow_volume / grow_volume_with_options(node::GrowVolumeRequest) -> node::VolumeReport, REWRITE;
    /// A volume's snapshots.
    list_snapshots / list_snapshots_with_options(node::SnapshotRequest) -> node::ListSnapshotsResponse, QUICK;
    /// Keeps a volume as it is now.
    create_snapshot / create_snapshot_with_options(node::SnapshotRequest) -> node::SnapshotReport, REWRITE;
    /// Throws away what was written since a snapshot.
    revert_snapshot / revert_snapshot_with_options(node::SnapshotRequest) -> node::SnapshotReport, REWRITE;
    /// Forgets a snapshot.
    delete_snapshot / delete_snapshot_with_options(node::SnapshotRequest) -> node::DeleteSnapshotResponse, REWRITE;
    /// One page of a folder.
    list_files / list_files_with_options(node::ListFilesRequest) -> ListFilesResponse, QUICK;
    /// Makes a volume, copying its image if it has one.
    create_volume / create_volume_with_options(node::CreateVolumeRequest) -> node::VolumeReport, BULK;
    /// Removes a volume.
    delete_volume / delete_volume_with_options(node::DeleteVolumeRequest) -> node::DeleteVolumeResponse, CHANGE;
    /// All volumes of a pool.
    list_volumes / list_volumes_with_options(node::ListVolumesRequest) -> node::ListVolumesResponse, QUICK;
    /// Opens or reopens an upload.
    open_upload / open_upload_with_options(node::OpenUploadRequest) -> node::UploadReport, QUICK;
    /// Checks an upload and makes it an image.
    finish_upload / finish_upload_with_options(node::FinishUploadRequest) -> node::ImageReport, BULK;
    /// Removes an image or an upload.
    delete_image / delete_image_with_options(node::DeleteImageRequest) -> node::DeleteImageResponse, CHANGE;
    /// Defines a VM.
    apply_vm / apply_vm_with_options(node::VmIntent) -> node::VmReport, CHANGE;
    /// Changes a VM's power.
    power_vm / power_vm_with_options(node::PowerVmRequest) -> node::VmReport, CHANGE;
    /// Removes a VM's definition.
    delete_vm / delete_vm_with_options(node::DeleteVmRequest) -> node::DeleteVmResponse, CHANGE;
    /// Every domain of the host, as last seen.
    list_domains / list_domains_with_options(node::ListDomainsRequest) -> node::ListDomainsResponse, QUICK;
    /// Disks and what is on them: answered soon, well or badly.
    list_devices / list_devices_with_options(node::ListDevicesRequest) -> ListDevicesResponse, LOOK;
    /// Makes a disk ready for a pool.
    initialise_device / initialise_device_with_options(node::InitialiseDeviceRequest) -> node::InitialiseDeviceResponse, BULK;
    /// What the daemon wrote down lately: answered soon, well or badly.
    list_logs / list_logs_with_options(log::ListLogsRequest) -> log::ListLogsResponse, LOOK;
    /// Makes the host forget the vDC.
    leave / leave_with_options(node::LeaveRequest) -> node::LeaveResponse, QUICK;
}

impl HostClient {
    /// A line to the host with this id and name at `url`; `tls` is a mutual client configuration.
    pub fn new(
        id: HostId,
        name: &str,
        url: &str,
        tls: Arc<rustls::ClientConfig>,
    ) -> Result<HostClient, Fault> {
        let url: HostUrl = url.parse()?;
        let dial = Dial::new(url, &host_name(id), tls)?;
        let base = format!("https://{}", host_name(id)).parse().map_err(Fault::internal)?;
        let config = ClientConfig::new(base).with_default_max_message_size(16 << 20);
        Ok(HostClient {
            id,
            name: name.to_owned(),
            rpc: Arc::new(node::NodeServiceClient::new(rpc(dial.clone()), config)),
            bulk: bulk(dial.clone()),
            dial,
        })
    }

    /// Whose line this is.
    pub fn id(&self) -> HostId {
        self.id
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn named(&self, fault: Fault) -> Fault {
        if fault.host.is_empty() { fault.on_host(&self.name) } else { fault }
    }

    fn lost(&self, cause: impl std::fmt::Display) -> Fault {
        self.named(unreachable_fault(&self.name, &cause.to_string()))
    }

    /// Bytes of an upload the host holds safely.
    pub async fn upload_offset(&self, pool: PoolId, image: ImageId) -> Result<u64, Fault> {
        let body = Empty::new().map_err(|never| match never {}).boxed();
        let request = self.upload(Method::HEAD, pool, image, body)?;
        let answer = tokio::time::timeout(QUICK, self.bulk.request(request)).await;
        let answer = answer.map_err(|_| self.lost("no answer in time"))?;
        let answer = answer.map_err(|err| self.lost(chain(&err)))?;
        self.offset(answer).await
    }

    /// Sends bytes from `offset` on; answers the new offset. Flow is the host's: nothing is buffered here.
    ///
    /// Ends with an error when the stream does; the host keeps what came before.
    pub async fn upload_bytes<S>(
        &self,
        pool: PoolId,
        image: ImageId,
        offset: u64,
        bytes: S,
    ) -> Result<u64, Fault>
    where
        S: Stream<Item = Result<Bytes, BulkError>> + Send + Sync + 'static,
    {
        let body = BodyExt::boxed(StreamBody::new(bytes.map(|piece| piece.map(Frame::data))));
        let mut request = self.upload(Method::PATCH, pool, image, body)?;
        request.headers_mut().insert(UPLOAD_OFFSET, offset.into());
        let kind = http::HeaderValue::from_static("application/offset+octet-stream");
        request.headers_mut().insert(http::header::CONTENT_TYPE, kind);
        let answer = self.bulk.request(request).await.map_err(|err| self.lost(chain(&err)))?;
        self.offset(answer).await
    }

    fn upload(
        &self,
        method: Method,
        pool: PoolId,
        image: ImageId,
        body: BulkBody,
    ) -> Result<Request<BulkBody>, Fault> {
        let uri = format!("https://{}/api/v1/uploads/{pool}/{image}", host_name(self.id));
        Request::builder().method(method).uri(uri).body(body).map_err(Fault::internal)
    }

    async fn offset(&self, answer: http::Response<hyper::body::Incoming>) -> Result<u64, Fault> {
        let status = answer.status();
        let offset = answer.headers().get(UPLOAD_OFFSET).and_then(|v| v.to_str().ok()?.parse().ok());
        let (StatusCode::OK | StatusCode::NO_CONTENT, Some(offset)) = (status, offset) else {
            return Err(self.refusal(answer).await);
        };
        Ok(offset)
    }

    async fn refusal(&self, answer: http::Response<hyper::body::Incoming>) -> Fault {
        let status = answer.status();
        let read = tokio::time::timeout(QUICK, Answer::read(answer)).await;
        let fault = match read {
            Ok(Ok(answer)) => answer.fault(),
            _ => None,
        };
        let fault = fault.unwrap_or_else(|| match status {
            StatusCode::NOT_FOUND => Fault::new(
                FaultCode::FileNotFound,
                "The host has no such upload.",
                "Delete the image and upload it again.",
            ),
            _ => Fault::new(
                FaultCode::HostApiNotAvailable,
                format!("{} gave an answer that cannot be used.", self.name),
                "Look at the log of quantix-node on the host.",
            )
            .because(format!("HTTP status {status}")),
        });
        self.named(fault)
    }

    /// Copies a file within a pool; `progress` is told in bytes.
    pub async fn copy_file(
        &self,
        request: file::CopyFileRequest,
        progress: impl FnMut(node::Progress) + Send,
    ) -> Result<(), Fault> {
        let options = CallOptions::default().with_timeout(BULK);
        let told = self.rpc.copy_file_with_options(request, options).await;
        self.follow(told, progress).await
    }

    /// Removes a file, or a folder with all in it; `progress` is told in entries. Nothing there is a success.
    pub async fn delete_file(
        &self,
        request: file::DeleteFileRequest,
        progress: impl FnMut(node::Progress) + Send,
    ) -> Result<(), Fault> {
        let options = CallOptions::default().with_timeout(BULK);
        let told = self.rpc.delete_file_with_options(request, options).await;
        self.follow(told, progress).await
    }

    /// Makes a linked clone independent; `progress` is told in bytes. One that stands alone is a success.
    pub async fn flatten_volume(
        &self,
        request: node::FlattenVolumeRequest,
        progress: impl FnMut(node::Progress) + Send,
    ) -> Result<(), Fault> {
        let options = CallOptions::default().with_timeout(BULK);
        let told = self.rpc.flatten_volume_with_options(request, options).await;
        self.follow(told, progress).await
    }

    async fn follow(
        &self,
        told: Result<Told, ConnectError>,
        mut progress: impl FnMut(node::Progress) + Send,
    ) -> Result<(), Fault> {
        let fault = |err: &ConnectError| self.named(rpc_fault(err, &self.name));
        let mut told = told.map_err(|err| fault(&err))?;
        while let Some(said) = told.message().await.map_err(|err| fault(&err))? {
            progress(said.to_owned_message());
        }
        Ok(())
    }

    /// A file's bytes, or a part of them: 200, 206, 304 and 416 come as they are, everything else as a fault.
    /// `asked` may hold `Range`, `If-Range` and `If-None-Match`. The body is read as fast as it is taken.
    pub async fn download(
        &self,
        pool: PoolId,
        path: &str,
        asked: &http::HeaderMap,
    ) -> Result<http::Response<hyper::body::Incoming>, Fault> {
        let base = format!("https://{}/api/v1/pools/{pool}/files", host_name(self.id));
        let uri = reqwest::Url::parse_with_params(&base, [("path", path)]).map_err(Fault::internal)?;
        let mut request = Request::get(uri.as_str());
        for name in [http::header::RANGE, http::header::IF_RANGE, http::header::IF_NONE_MATCH] {
            if let Some(value) = asked.get(&name) {
                request = request.header(name, value);
            }
        }
        let body = Empty::new().map_err(|never| match never {}).boxed();
        let request = request.body(body).map_err(Fault::internal)?;
        let answer = tokio::time::timeout(QUICK, self.bulk.request(request)).await;
        let answer = answer.map_err(|_| self.lost("no answer in time"))?;
        let answer = answer.map_err(|err| self.lost(chain(&err)))?;
        match answer.status() {
            StatusCode::OK
            | StatusCode::PARTIAL_CONTENT
            | StatusCode::NOT_MODIFIED
            | StatusCode::RANGE_NOT_SATISFIABLE => Ok(answer),
            _ => Err(self.refusal(answer).await),
        }
    }

    /// The host's figures, in Prometheus' text format.
    pub async fn metrics(&self) -> Result<String, Fault> {
        let uri = format!("https://{}/metrics", host_name(self.id));
        let body = Empty::new().map_err(|never| match never {}).boxed();
        let request = Request::get(uri).body(body).map_err(Fault::internal)?;
        let ask = async {
            let answer = self.bulk.request(request).await.map_err(|err| self.lost(chain(&err)))?;
            if answer.status() != StatusCode::OK {
                return Err(self.refusal(answer).await);
            }
            let body = http_body_util::Limited::new(answer.into_body(), METRICS_BYTES_MAX).collect().await;
            let bytes = body.map_err(|err| self.lost(err))?.to_bytes();
            String::from_utf8(bytes.into()).map_err(Fault::internal)
        };
        tokio::time::timeout(LOOK, ask).await.map_err(|_| self.lost("no answer in time"))?
    }

    /// Opens the screen of a VM.
    pub async fn console(&self, vm: VmId) -> Result<ConsoleStream, Fault> {
        let stream = self.dial.connect(&[b"http/1.1"]).await.map_err(|err| self.lost(err))?;
        let uri = format!("wss://{}/api/v1/console/{vm}", host_name(self.id));
        let shake = tokio_tungstenite::client_async(uri, stream);
        let done = tokio::time::timeout(QUICK, shake).await.map_err(|_| self.lost("no answer in time"))?;
        match done {
            Ok((socket, _)) => Ok(socket),
            Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => {
                let body = answer.body().clone().unwrap_or_default();
                let status = answer.status().as_u16();
                let answer = Answer { status, content_type: String::new(), body };
                Err(self.named(answer.fault().unwrap_or_else(|| {
                    Fault::new(
                        FaultCode::HostApiNotAvailable,
                        format!("{} refused the console.", self.name),
                        "Look at the log of quantix-node on the host.",
                    )
                    .because(format!("HTTP status {status}"))
                })))
            }
            Err(err) => Err(self.lost(err)),
        }
    }
}
