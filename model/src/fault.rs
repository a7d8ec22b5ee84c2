//! Why something was refused or failed. One vocabulary for the whole house; the wire twin is
//! `contract/proto/quantix/fault/v1/fault.proto`, with the same names and numbers.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

macro_rules! codes {
    ($($name:ident = $number:literal, $text:literal;)*) => {
        /// Stable code of a fault. Names and numbers are never reused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "SCREAMING_SNAKE_CASE")]
        #[allow(missing_docs)]
        pub enum FaultCode { $($name = $number,)* }

        impl FaultCode {
            /// Every code there is.
            pub const ALL: &'static [FaultCode] = &[$(FaultCode::$name,)*];

            /// The name people see, e.g. `POOL_FULL`.
            pub fn as_str(self) -> &'static str {
                match self { $(FaultCode::$name => $text,)* }
            }
        }
    };
}

codes! {
    Internal = 1, "INTERNAL";
    InvalidArgument = 2, "INVALID_ARGUMENT";
    NotFound = 3, "NOT_FOUND";
    NameTaken = 4, "NAME_TAKEN";
    Conflict = 5, "CONFLICT";
    StaleGeneration = 6, "STALE_GENERATION";
    DeadlineExceeded = 7, "DEADLINE_EXCEEDED";
    UnknownPath = 8, "UNKNOWN_PATH";
    TooLarge = 9, "TOO_LARGE";
    StoreUnavailable = 10, "STORE_UNAVAILABLE";
    Busy = 11, "BUSY";
    StoreFull = 12, "STORE_FULL";
    NotSignedIn = 20, "NOT_SIGNED_IN";
    WrongCredentials = 21, "WRONG_CREDENTIALS";
    PasswordChangeRequired = 22, "PASSWORD_CHANGE_REQUIRED";
    PasswordTooWeak = 23, "PASSWORD_TOO_WEAK";
    Forbidden = 24, "FORBIDDEN";
    TooManyAttempts = 25, "TOO_MANY_ATTEMPTS";
    SealKeyMissing = 26, "SEAL_KEY_MISSING";
    LastAdmin = 27, "LAST_ADMIN";
    RoleInUse = 28, "ROLE_IN_USE";
    HostFirmwareOutdated = 40, "HOST_FIRMWARE_OUTDATED";
    HostConnectionFailed = 41, "HOST_CONNECTION_FAILED";
    ConnectionTimeout = 42, "CONNECTION_TIMEOUT";
    TokenInvalid = 43, "TOKEN_INVALID";
    TokenExpired = 44, "TOKEN_EXPIRED";
    TokenMissing = 45, "TOKEN_MISSING";
    HostApiNotAvailable = 46, "HOST_API_NOT_AVAILABLE";
    NetworkUnreachable = 47, "NETWORK_UNREACHABLE";
    TlsError = 48, "TLS_ERROR";
    InvalidResponse = 49, "INVALID_RESPONSE";
    InvalidRequest = 50, "INVALID_REQUEST";
    HostAlreadyExists = 51, "HOST_ALREADY_EXISTS";
    ClockSkew = 52, "CLOCK_SKEW";
    VersionUnsupported = 53, "VERSION_UNSUPPORTED";
    HostUnreachable = 60, "HOST_UNREACHABLE";
    HostDisconnected = 61, "HOST_DISCONNECTED";
    HostInUse = 62, "HOST_IN_USE";
    HypervisorUnavailable = 63, "HYPERVISOR_UNAVAILABLE";
    AcceleratorUnavailable = 64, "ACCELERATOR_UNAVAILABLE";
    HypervisorRefused = 65, "HYPERVISOR_REFUSED";
    NoHostFits = 66, "NO_HOST_FITS";
    HostProgramMissing = 67, "HOST_PROGRAM_MISSING";
    HostCloned = 68, "HOST_CLONED";
    GuestsUnconfined = 69, "GUESTS_UNCONFINED";
    PoolNotReady = 80, "POOL_NOT_READY";
    PoolNotAssigned = 81, "POOL_NOT_ASSIGNED";
    PoolInUse = 82, "POOL_IN_USE";
    PoolFull = 83, "POOL_FULL";
    PoolPathInvalid = 84, "POOL_PATH_INVALID";
    PoolStalled = 85, "POOL_STALLED";
    PoolReadOnly = 86, "POOL_READ_ONLY";
    PoolIoFailed = 87, "POOL_IO_FAILED";
    PoolMountFailed = 88, "POOL_MOUNT_FAILED";
    PoolServerUnreachable = 89, "POOL_SERVER_UNREACHABLE";
    PoolAccessDenied = 90, "POOL_ACCESS_DENIED";
    PoolExportMissing = 91, "POOL_EXPORT_MISSING";
    PoolForeignMount = 92, "POOL_FOREIGN_MOUNT";
    PoolAuthFailed = 93, "POOL_AUTH_FAILED";
    PoolForeignData = 94, "POOL_FOREIGN_DATA";
    PoolDeviceMissing = 95, "POOL_DEVICE_MISSING";
    PoolProtocolUnsupported = 96, "POOL_PROTOCOL_UNSUPPORTED";
    PoolCannot = 97, "POOL_CANNOT";
    FileNotFound = 100, "FILE_NOT_FOUND";
    PathOutsidePool = 101, "PATH_OUTSIDE_POOL";
    FileExists = 102, "FILE_EXISTS";
    FileInUse = 103, "FILE_IN_USE";
    FileNotRegular = 104, "FILE_NOT_REGULAR";
    VolumeInUse = 110, "VOLUME_IN_USE";
    VolumeMissing = 111, "VOLUME_MISSING";
    VolumeHasClones = 112, "VOLUME_HAS_CLONES";
    VolumeCannotShrink = 113, "VOLUME_CANNOT_SHRINK";
    SnapshotMissing = 114, "SNAPSHOT_MISSING";
    VolumeHeldElsewhere = 115, "VOLUME_HELD_ELSEWHERE";
    VolumeDamaged = 116, "VOLUME_DAMAGED";
    DeviceInUse = 117, "DEVICE_IN_USE";
    DeviceChanged = 118, "DEVICE_CHANGED";
    ImageNotAnImage = 120, "IMAGE_NOT_AN_IMAGE";
    ImageNotReady = 121, "IMAGE_NOT_READY";
    ImageChecksumMismatch = 122, "IMAGE_CHECKSUM_MISMATCH";
    ImageBackingFileRefused = 123, "IMAGE_BACKING_FILE_REFUSED";
    ImageInUse = 124, "IMAGE_IN_USE";
    UploadOffsetMismatch = 125, "UPLOAD_OFFSET_MISMATCH";
    UploadIncomplete = 126, "UPLOAD_INCOMPLETE";
    VmActionNotAllowed = 140, "VM_ACTION_NOT_ALLOWED";
    VmMissingOnHost = 141, "VM_MISSING_ON_HOST";
    ConsoleNotRunning = 160, "CONSOLE_NOT_RUNNING";
    ConsoleTicketInvalid = 161, "CONSOLE_TICKET_INVALID";
    TaskCancelled = 180, "TASK_CANCELLED";
    TaskNotCancellable = 181, "TASK_NOT_CANCELLABLE";
    JoinTokenUsed = 200, "JOIN_TOKEN_USED";
    JoinTokenRevoked = 201, "JOIN_TOKEN_REVOKED";
    CertificateExpired = 202, "CERTIFICATE_EXPIRED";
    CertificateRefused = 203, "CERTIFICATE_REFUSED";
    SecondFactorWrong = 210, "SECOND_FACTOR_WRONG";
    ChallengeExpired = 211, "CHALLENGE_EXPIRED";
    UserDisabled = 212, "USER_DISABLED";
    OwnAccount = 214, "OWN_ACCOUNT";
    UserNotLocal = 215, "USER_NOT_LOCAL";
    SignInAgain = 216, "SIGN_IN_AGAIN";
    IdentitySourceUnreachable = 220, "IDENTITY_SOURCE_UNREACHABLE";
    IdentitySourceRefused = 221, "IDENTITY_SOURCE_REFUSED";
    IdentitySourceInvalid = 222, "IDENTITY_SOURCE_INVALID";
    IdentitySourceDisabled = 223, "IDENTITY_SOURCE_DISABLED";
    IdentitySourceInUse = 224, "IDENTITY_SOURCE_IN_USE";
    SignInStateLost = 225, "SIGN_IN_STATE_LOST";
    PersonUnknown = 226, "PERSON_UNKNOWN";
    PasskeyWrongAddress = 230, "PASSKEY_WRONG_ADDRESS";
    PasskeyUnknown = 231, "PASSKEY_UNKNOWN";
    PasskeyRefused = 232, "PASSKEY_REFUSED";
    PasskeyCloned = 233, "PASSKEY_CLONED";
    PasskeyExpired = 234, "PASSKEY_EXPIRED";
    PasskeyNotAlone = 235, "PASSKEY_NOT_ALONE";
}

impl FaultCode {
    /// The number on the wire.
    pub fn number(self) -> i32 {
        self as i32
    }

    /// The code with this wire number, if we know it.
    pub fn from_number(number: i32) -> Option<FaultCode> {
        FaultCode::ALL.iter().copied().find(|c| c.number() == number)
    }
}

impl fmt::Display for FaultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a host said about why it cannot do something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostReason {
    /// Id of the host, as text.
    pub host_id: String,
    /// Its name.
    pub host: String,
    /// Sentence for people.
    pub reason: String,
}

/// An answer that could not be used, as far as it may be shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// URL that was asked.
    pub url: String,
    /// 0 when no HTTP answer came.
    pub http_status: u16,
    /// As sent.
    pub content_type: String,
    /// First bytes of the body, printable characters only.
    pub body_start: String,
}

/// A refusal or failure that explains itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Stable code.
    pub code: FaultCode,
    /// What happened, one sentence for people.
    pub message: String,
    /// Why: the system's own words where there are any; empty when the message says all.
    #[serde(default)]
    pub cause: String,
    /// The smallest change that would make it work.
    pub remedy: String,
    /// Name of the host it happened on; empty when none was involved.
    #[serde(default)]
    pub host: String,
    /// Step that failed; empty when there is only one.
    #[serde(default)]
    pub phase: String,
    /// Request field at fault; empty when none.
    #[serde(default)]
    pub field: String,
    /// One line per host considered.
    #[serde(default)]
    pub reasons: Vec<HostReason>,
    /// What was answered, during registration.
    #[serde(default)]
    pub evidence: Option<Evidence>,
    /// Come again after so long, not sooner; 0 when nothing is asked.
    #[serde(default)]
    pub retry_after_ms: u32,
}

impl Fault {
    /// A fault with what happened and what to do about it.
    pub fn new(code: FaultCode, message: impl Into<String>, remedy: impl Into<String>) -> Fault {
        Fault {
            code,
            message: message.into(),
            cause: String::new(),
            remedy: remedy.into(),
            host: String::new(),
            phase: String::new(),
            field: String::new(),
            reasons: Vec::new(),
            evidence: None,
            retry_after_ms: 0,
        }
    }

    /// A request field that cannot be used.
    pub fn invalid(field: &str, message: impl Into<String>, remedy: impl Into<String>) -> Fault {
        Fault { field: field.to_owned(), ..Fault::new(FaultCode::InvalidArgument, message, remedy) }
    }

    /// Something named that is not there.
    pub fn not_found(kind: &str, id: impl fmt::Display) -> Fault {
        Fault::new(
            FaultCode::NotFound,
            format!("There is no {kind} {id}."),
            "It may have been deleted; look at the list again.",
        )
    }

    /// A mistake of ours. The cause carries what went wrong, for the report.
    pub fn internal(cause: impl fmt::Display) -> Fault {
        Fault::new(
            FaultCode::Internal,
            "Quantix made a mistake here.",
            "Nothing was changed. Try again; if it comes back, report it with the details below.",
        )
        .because(cause)
    }

    /// Adds why, in the system's own words.
    pub fn because(mut self, cause: impl fmt::Display) -> Fault {
        self.cause = cause.to_string();
        self
    }

    /// Adds where.
    pub fn on_host(mut self, host: impl Into<String>) -> Fault {
        self.host = host.into();
        self
    }

    /// Adds the step that failed.
    pub fn in_phase(mut self, phase: impl Into<String>) -> Fault {
        self.phase = phase.into();
        self
    }

    /// Adds the lines for each host considered.
    pub fn with_reasons(mut self, reasons: Vec<HostReason>) -> Fault {
        self.reasons = reasons;
        self
    }

    /// Adds when to come again.
    pub fn retry_after(mut self, pause: Duration) -> Fault {
        self.retry_after_ms = u32::try_from(pause.as_millis()).unwrap_or(u32::MAX);
        self
    }

    /// Adds what was answered.
    pub fn with_evidence(mut self, evidence: Evidence) -> Fault {
        self.evidence = Some(evidence);
        self
    }

    /// Whether the same call may succeed later with nothing changed.
    pub fn retryable(&self) -> bool {
        use FaultCode as C;
        matches!(
            self.code,
            C::DeadlineExceeded
                | C::StoreUnavailable
                | C::StoreFull
                | C::Busy
                | C::HostUnreachable
                | C::HostDisconnected
                | C::HypervisorUnavailable
                | C::PoolNotReady
                | C::PoolStalled
                | C::HostConnectionFailed
                | C::ConnectionTimeout
                | C::NetworkUnreachable
                | C::HostApiNotAvailable
        )
    }
}

/// One line; the cause is a field of its own and is not repeated here.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)?;
        if !self.host.is_empty() {
            write!(f, " (host {})", self.host)?;
        }
        if !self.cause.is_empty() {
            write!(f, " [{}]", self.cause)?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_and_come_back() {
        for code in FaultCode::ALL {
            assert_eq!(FaultCode::from_number(code.number()), Some(*code));
        }
        assert_eq!(FaultCode::from_number(0), None);
    }

    #[test]
    fn names_match_serde() {
        for code in FaultCode::ALL {
            let json = serde_json::to_string(code).expect("enum serialises");
            assert_eq!(json, format!("{:?}", code.as_str()));
        }
    }
}
