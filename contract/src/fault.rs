//! Faults on the wire: the one place where a [`Fault`] becomes an RPC error and back.

use crate::quantix::fault::v1::{
    Evidence as ProtoEvidence, FaultCode as ProtoCode, FaultDetail, HostReason as ProtoReason,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use buffa::{EnumValue, Enumeration as _, Message as _};
use connectrpc::{ConnectError, ErrorCode, ErrorDetail};
use quantix_model::fault::{Evidence, Fault, FaultCode, HostReason};

/// Full name of the detail message, as Connect and gRPC carry it.
pub const DETAIL_TYPE: &str = "quantix.fault.v1.FaultDetail";

impl From<&Fault> for FaultDetail {
    fn from(fault: &Fault) -> FaultDetail {
        FaultDetail {
            code: code_to_proto(fault.code),
            message: fault.message.clone(),
            cause: fault.cause.clone(),
            remedy: fault.remedy.clone(),
            host: fault.host.clone(),
            retry_after_ms: fault.retry_after_ms,
            phase: fault.phase.clone(),
            field: fault.field.clone(),
            reasons: fault
                .reasons
                .iter()
                .map(|r| ProtoReason {
                    host_id: r.host_id.clone(),
                    host: r.host.clone(),
                    reason: r.reason.clone(),
                    ..Default::default()
                })
                .collect(),
            evidence: fault
                .evidence
                .as_ref()
                .map(|e| ProtoEvidence {
                    url: e.url.clone(),
                    http_status: u32::from(e.http_status),
                    content_type: e.content_type.clone(),
                    body_start: e.body_start.clone(),
                    ..Default::default()
                })
                .into(),
            ..Default::default()
        }
    }
}

impl From<Fault> for FaultDetail {
    fn from(fault: Fault) -> FaultDetail {
        FaultDetail::from(&fault)
    }
}

impl From<&FaultDetail> for Fault {
    /// A code of a newer release reads as `INTERNAL`, with its number in the cause.
    fn from(detail: &FaultDetail) -> Fault {
        let number = detail.code.to_i32();
        let known = FaultCode::from_number(number);
        let mut fault = Fault::new(known.unwrap_or(FaultCode::Internal), &detail.message, &detail.remedy)
            .because(&detail.cause)
            .on_host(&detail.host)
            .in_phase(&detail.phase);
        if known.is_none() {
            fault.cause = format!("code {number}: {}", detail.cause);
        }
        fault.field = detail.field.clone();
        fault.retry_after_ms = detail.retry_after_ms;
        fault.reasons = detail
            .reasons
            .iter()
            .map(|r| HostReason {
                host_id: r.host_id.clone(),
                host: r.host.clone(),
                reason: r.reason.clone(),
            })
            .collect();
        fault.evidence = detail.evidence.as_option().map(|e| Evidence {
            url: e.url.clone(),
            http_status: u16::try_from(e.http_status).unwrap_or(0),
            content_type: e.content_type.clone(),
            body_start: e.body_start.clone(),
        });
        fault
    }
}

fn code_to_proto(code: FaultCode) -> EnumValue<ProtoCode> {
    ProtoCode::from_i32(code.number()).map_or(EnumValue::Unknown(code.number()), EnumValue::Known)
}

/// The RPC error that carries `fault`: the sentence as message, everything as detail.
pub fn to_connect(fault: &Fault) -> ConnectError {
    ConnectError::new(rpc_code(fault.code), &fault.message)
        .with_detail(ErrorDetail::from_message(DETAIL_TYPE, &FaultDetail::from(fault)))
}

/// The fault an RPC error carries; `None` when the other side sent no detail (a proxy, an old release, a broken line).
pub fn from_connect(err: &ConnectError) -> Option<Fault> {
    let detail = err.details.iter().find(|d| d.type_url.ends_with(DETAIL_TYPE))?;
    let text = detail.value.as_deref()?;
    let bytes = STANDARD_NO_PAD.decode(text).or_else(|_| STANDARD.decode(text)).ok()?;
    FaultDetail::decode_from_slice(&bytes).ok().map(|d| Fault::from(&d))
}

/// The RPC code each fault travels under: what a generic client needs to know to react.
// One code per line would hide the shape.
#[rustfmt::skip]
fn rpc_code(code: FaultCode) -> ErrorCode {
    use FaultCode as C;
    match code {
        C::InvalidArgument | C::PasswordTooWeak | C::PoolPathInvalid | C::InvalidRequest
            | C::PathOutsidePool | C::FileNotRegular | C::VolumeCannotShrink | C::ImageNotAnImage
            | C::ImageChecksumMismatch | C::ImageBackingFileRefused | C::CertificateRefused => ErrorCode::InvalidArgument,
        C::NotFound | C::UnknownPath | C::FileNotFound | C::VolumeMissing | C::SnapshotMissing
            | C::VmMissingOnHost => ErrorCode::NotFound,
        C::NameTaken | C::HostAlreadyExists | C::FileExists => ErrorCode::AlreadyExists,
        C::Conflict | C::StaleGeneration | C::UploadOffsetMismatch | C::TaskCancelled => ErrorCode::Aborted,
        C::DeadlineExceeded | C::ConnectionTimeout => ErrorCode::DeadlineExceeded,
        C::TooLarge | C::TooManyAttempts | C::Busy | C::PoolFull => ErrorCode::ResourceExhausted,
        C::NotSignedIn | C::WrongCredentials | C::TokenInvalid | C::TokenExpired | C::TokenMissing
            | C::ConsoleTicketInvalid | C::JoinTokenUsed | C::JoinTokenRevoked | C::CertificateExpired
            | C::SecondFactorWrong | C::ChallengeExpired | C::SignInAgain | C::SignInStateLost
            | C::PasskeyUnknown | C::PasskeyRefused | C::PasskeyCloned
            | C::PasskeyExpired => ErrorCode::Unauthenticated,
        C::UserDisabled | C::Forbidden | C::PasskeyNotAlone | C::IdentitySourceDisabled
            | C::PersonUnknown => ErrorCode::PermissionDenied,
        C::StoreUnavailable | C::StoreFull | C::HostConnectionFailed | C::HostApiNotAvailable | C::NetworkUnreachable
            | C::TlsError | C::HostUnreachable | C::HostDisconnected | C::HypervisorUnavailable
            | C::PoolStalled | C::PoolServerUnreachable | C::PoolNotReady
            | C::IdentitySourceUnreachable => ErrorCode::Unavailable,
        C::PasswordChangeRequired | C::HostFirmwareOutdated | C::InvalidResponse | C::ClockSkew
            | C::VersionUnsupported | C::HostInUse | C::AcceleratorUnavailable | C::HypervisorRefused
            | C::HostProgramMissing | C::HostCloned | C::GuestsUnconfined | C::NoHostFits | C::PoolNotAssigned | C::PoolInUse
            | C::PoolReadOnly | C::PoolIoFailed | C::PoolMountFailed | C::PoolAccessDenied
            | C::PoolExportMissing | C::PoolForeignMount | C::PoolAuthFailed | C::PoolForeignData
            | C::PoolDeviceMissing | C::PoolProtocolUnsupported | C::PoolCannot | C::FileInUse
            | C::VolumeHasClones | C::VolumeHeldElsewhere | C::VolumeDamaged | C::DeviceInUse
            | C::DeviceChanged | C::VolumeInUse | C::ImageNotReady | C::ImageInUse | C::UploadIncomplete
            | C::VmActionNotAllowed | C::ConsoleNotRunning | C::TaskNotCancellable | C::SealKeyMissing
            | C::LastAdmin | C::RoleInUse | C::OwnAccount | C::UserNotLocal | C::IdentitySourceRefused
            | C::IdentitySourceInvalid | C::IdentitySourceInUse
            | C::PasskeyWrongAddress => ErrorCode::FailedPrecondition,
        C::Internal => ErrorCode::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_wire_twin() {
        for code in FaultCode::ALL {
            let EnumValue::Known(twin) = code_to_proto(*code) else { panic!("{code} has no twin") };
            assert_eq!(twin.proto_name(), format!("FAULT_CODE_{code}"));
        }
    }

    #[test]
    fn a_fault_survives_the_wire() {
        let fault = Fault::new(FaultCode::PoolFull, "The pool is full.", "Free 3 GiB.")
            .because("No space left on device")
            .on_host("host-1")
            .in_phase("write")
            .retry_after(std::time::Duration::from_secs(3))
            .with_reasons(vec![HostReason {
                host_id: "1".into(),
                host: "host-1".into(),
                reason: "full".into(),
            }])
            .with_evidence(Evidence {
                url: "https://h".into(),
                http_status: 200,
                content_type: "text/html".into(),
                body_start: "<html>".into(),
            });
        assert_eq!(from_connect(&to_connect(&fault)), Some(fault));
    }

    #[test]
    fn an_error_without_detail_is_no_fault() {
        assert_eq!(from_connect(&ConnectError::internal("x")), None);
    }
}
