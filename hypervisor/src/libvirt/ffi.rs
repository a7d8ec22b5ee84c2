//! The C calls that the `virt` crate does not wrap: domain events, and statistics of many domains in one call
//! (its wrapper leaks the records). The only file of the house with unsafe code; nothing unsafe leaves it.
//!
//! Rules kept here: a pointer from libvirt is used only while the object that owns it is borrowed or held; what
//! is handed to libvirt as `opaque` is a box that only the free callback takes back; callbacks never panic.

#![allow(unsafe_code, reason = "libvirt is a C library and these calls have no safe wrapper")]

use super::words;
use quantix_model::id::VmId;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::ptr;
use uuid::Uuid;
use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::Error;
use virt::sys;

type Result<T> = std::result::Result<T, Error>;

/// Hears of every event: the machine and what happened to it.
pub(super) type Listener = Box<dyn Fn(VmId, String) + Send + Sync>;

/// Registrations on a connection; they hold it open until `stop`.
pub(super) struct Listening {
    callbacks: Vec<c_int>,
}

struct Sink {
    listener: std::sync::Arc<Listener>,
}

/// Starts to hear lifecycle and reboot events, and of devices that went or would not go. The event loop must be registered before `conn` was opened.
pub(super) fn listen(conn: &Connect, listener: Listener) -> Result<Listening> {
    let listener = std::sync::Arc::new(listener);
    // SAFETY: libvirt calls a LIFECYCLE callback with the five arguments of `on_lifecycle`, whose type it
    // erases by its own convention (VIR_DOMAIN_EVENT_CALLBACK). REBOOT has the generic signature already.
    let lifecycle: sys::virConnectDomainEventGenericCallback = unsafe {
        std::mem::transmute::<
            unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, c_int, c_int, *mut c_void) -> c_int,
            sys::virConnectDomainEventGenericCallback,
        >(on_lifecycle)
    };
    type OnDevice = unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, *const c_char, *mut c_void);
    // SAFETY: DEVICE_REMOVED and DEVICE_REMOVAL_FAILED callbacks have the four arguments of these functions, whose
    // type libvirt erases by the same convention.
    let (removed, kept) = unsafe {
        (
            std::mem::transmute::<OnDevice, sys::virConnectDomainEventGenericCallback>(on_device_removed),
            std::mem::transmute::<OnDevice, sys::virConnectDomainEventGenericCallback>(on_device_kept),
        )
    };
    let mut listening = Listening { callbacks: Vec::new() };
    for (event, callback) in [
        (sys::VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, removed),
        (sys::VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED, kept),
        (sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE, lifecycle),
        (sys::VIR_DOMAIN_EVENT_ID_REBOOT, Some(on_reboot as unsafe extern "C" fn(_, _, _))),
    ] {
        let opaque = Box::into_raw(Box::new(Sink { listener: listener.clone() })).cast::<c_void>();
        // SAFETY: `conn` is open while borrowed; a null domain means all domains; `opaque` is a `Sink` box that
        // libvirt gives to the callbacks and, exactly once and last, to `free_sink`.
        let id = unsafe {
            sys::virConnectDomainEventRegisterAny(
                conn.as_ptr(),
                ptr::null_mut(),
                event as c_int,
                callback,
                opaque,
                Some(free_sink),
            )
        };
        if id < 0 {
            let error = Error::last_error();
            // SAFETY: a failed registration does not keep `opaque`; nobody else knows this box.
            unsafe { free_sink(opaque) };
            listening.stop(conn);
            return Err(error);
        }
        listening.callbacks.push(id);
    }
    Ok(listening)
}

impl Listening {
    /// Ends the registrations, so that closing `conn` frees it. Also works when the other side is gone.
    pub(super) fn stop(&mut self, conn: &Connect) {
        for id in self.callbacks.drain(..) {
            // SAFETY: `conn` is open while borrowed and `id` came from it; libvirt forgets it locally even when
            // the daemon does not answer, which is why the result does not matter.
            unsafe { sys::virConnectDomainEventDeregisterAny(conn.as_ptr(), id) };
        }
    }
}

unsafe extern "C" fn on_lifecycle(
    _conn: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    event: c_int,
    detail: c_int,
    opaque: *mut c_void,
) -> c_int {
    // SAFETY: libvirt passes a domain that lives during the call, and the `Sink` given at registration.
    unsafe { tell(domain, opaque, words::event(event, detail)) };
    0
}

unsafe extern "C" fn on_reboot(_conn: sys::virConnectPtr, domain: sys::virDomainPtr, opaque: *mut c_void) {
    // SAFETY: as for `on_lifecycle`.
    unsafe { tell(domain, opaque, "reboot".to_owned()) };
}

unsafe extern "C" fn on_device_removed(
    _conn: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    alias: *const c_char,
    opaque: *mut c_void,
) {
    // SAFETY: as for `on_lifecycle`; the alias is a string that lives during the call.
    unsafe { tell(domain, opaque, format!("device removed: {}", CStr::from_ptr(alias).to_string_lossy())) };
}

unsafe extern "C" fn on_device_kept(
    _conn: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    alias: *const c_char,
    opaque: *mut c_void,
) {
    // SAFETY: as for `on_device_removed`.
    let alias = unsafe { CStr::from_ptr(alias).to_string_lossy() };
    // SAFETY: as for `on_lifecycle`.
    unsafe { tell(domain, opaque, format!("device removal failed: {alias}")) };
}

unsafe extern "C" fn free_sink(opaque: *mut c_void) {
    // SAFETY: the box made in `listen`, given back once.
    drop(unsafe { Box::from_raw(opaque.cast::<Sink>()) });
}

/// # Safety
/// `domain` is valid during the call and `opaque` points to a live `Sink`.
unsafe fn tell(domain: sys::virDomainPtr, opaque: *mut c_void, what: String) {
    // SAFETY: the caller's promise.
    let (sink, id) = unsafe { (&*opaque.cast::<Sink>(), uuid_of(domain)) };
    if let Some(id) = id {
        (sink.listener)(VmId(id), what);
    }
}

/// # Safety
/// `domain` is valid during the call.
unsafe fn uuid_of(domain: sys::virDomainPtr) -> Option<Uuid> {
    let mut bytes = [0u8; 16];
    // SAFETY: `domain` is valid and the buffer has VIR_UUID_BUFLEN (16) bytes.
    let found = unsafe { sys::virDomainGetUUID(domain, bytes.as_mut_ptr()) };
    (found == 0).then(|| Uuid::from_bytes(bytes))
}

/// What libvirt says of one domain. Fields it did not tell are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stats {
    pub id: Uuid,
    pub name: String,
    pub state: i64,
    pub reason: i64,
    pub cpu_time_ns: Option<u64>,
    pub rss_kib: Option<u64>,
    pub vcpus: Option<u64>,
}

/// Statistics of all domains, or of `only` one. Domains that are busy with another job tell less rather than
/// make us wait.
pub(super) fn stats(conn: &Connect, only: Option<&Domain>) -> Result<Vec<Stats>> {
    let kinds = sys::VIR_DOMAIN_STATS_STATE
        | sys::VIR_DOMAIN_STATS_CPU_TOTAL
        | sys::VIR_DOMAIN_STATS_BALLOON
        | sys::VIR_DOMAIN_STATS_VCPU;
    let flags = sys::VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT;
    let mut records: *mut sys::virDomainStatsRecordPtr = ptr::null_mut();
    // SAFETY: connection and domain are open while borrowed; the list of domains ends with a null pointer;
    // `records` is a place for the answer.
    let count = unsafe {
        match only {
            Some(domain) => {
                let mut domains = [domain.as_ptr(), ptr::null_mut()];
                sys::virDomainListGetStats(domains.as_mut_ptr(), kinds, &mut records, flags)
            }
            None => sys::virConnectGetAllDomainStats(conn.as_ptr(), kinds, &mut records, flags),
        }
    };
    let count = usize::try_from(count).map_err(|_| Error::last_error())?;
    // SAFETY: libvirt wrote `count` records, each valid until the list is freed below, after the last use.
    let all = unsafe {
        let all = (0..count).filter_map(|at| record(&**records.add(at))).collect();
        sys::virDomainStatsRecordListFree(records);
        all
    };
    Ok(all)
}

/// # Safety
/// The record came from libvirt and is not freed yet.
unsafe fn record(record: &sys::virDomainStatsRecord) -> Option<Stats> {
    // SAFETY: the record owns its domain, whose name lives as long as it.
    let (id, name) = unsafe {
        let name = sys::virDomainGetName(record.dom);
        if name.is_null() {
            return None;
        }
        (uuid_of(record.dom)?, CStr::from_ptr(name).to_string_lossy().into_owned())
    };
    let mut stats = Stats { id, name, state: -1, ..Stats::default() };
    for at in 0..usize::try_from(record.nparams).unwrap_or(0) {
        // SAFETY: `params` has `nparams` elements; each name ends with a zero inside its 80 bytes.
        let (param, field) = unsafe {
            let param = &*record.params.add(at);
            (param, CStr::from_ptr(param.field.as_ptr()))
        };
        let Some(value) = number(param) else { continue };
        match field.to_bytes() {
            b"state.state" => stats.state = i64::try_from(value).unwrap_or(-1),
            b"state.reason" => stats.reason = i64::try_from(value).unwrap_or(0),
            b"cpu.time" => stats.cpu_time_ns = Some(value),
            b"balloon.rss" => stats.rss_kib = Some(value),
            b"vcpu.current" => stats.vcpus = Some(value),
            _ => {}
        }
    }
    Some(stats)
}

/// A parameter that is a whole number and not negative.
fn number(param: &sys::virTypedParameter) -> Option<u64> {
    // SAFETY: `type_` says which member of the union libvirt wrote.
    unsafe {
        match param.type_ as sys::virTypedParameterType {
            sys::VIR_TYPED_PARAM_INT => u64::try_from(param.value.i).ok(),
            sys::VIR_TYPED_PARAM_UINT => Some(param.value.ui.into()),
            sys::VIR_TYPED_PARAM_LLONG => u64::try_from(param.value.l).ok(),
            sys::VIR_TYPED_PARAM_ULLONG => Some(param.value.ul),
            _ => None,
        }
    }
}

/// A stream to the first screen of a running domain, without its password: whoever may call this may look.
pub(super) fn open_graphics(domain: &Domain) -> Result<UnixStream> {
    // SAFETY: the domain is open while borrowed.
    let fd =
        unsafe { sys::virDomainOpenGraphicsFD(domain.as_ptr(), 0, sys::VIR_DOMAIN_OPEN_GRAPHICS_SKIPAUTH) };
    if fd < 0 {
        return Err(Error::last_error());
    }
    // SAFETY: a descriptor returned by this call is new, open, and the caller's to close.
    Ok(UnixStream::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}
