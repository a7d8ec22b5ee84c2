//! The one place that makes ids and secrets. Ids are UUIDv7: newer ones sort after older ones.

use quantix_model::id::{
    ApiTokenId, EventId, FactorId, HostId, IdentitySourceId, ImageId, JoinTokenId, PoolId, RecoveryCodeId,
    RoleId, SessionId, TaskId, UserId, VmId, VolumeId,
};
use rand::RngCore as _;
use uuid::Uuid;

macro_rules! makers {
    ($($(#[$doc:meta])* $name:ident -> $id:ident;)*) => {$(
        $(#[$doc])*
        pub fn $name() -> $id {
            $id(Uuid::now_v7())
        }
    )*};
}

makers! {
    /// A new host id.
    host -> HostId;
    /// A new pool id.
    pool -> PoolId;
    /// A new volume id.
    volume -> VolumeId;
    /// A new image id.
    image -> ImageId;
    /// A new VM id.
    vm -> VmId;
    /// A new task id.
    task -> TaskId;
    /// A new event id.
    event -> EventId;
    /// A new user id.
    user -> UserId;
    /// A new session id.
    session -> SessionId;
    /// A new factor id.
    factor -> FactorId;
    /// A new recovery code id.
    recovery_code -> RecoveryCodeId;
    /// A new join token's id.
    join_token -> JoinTokenId;
    /// A new role id.
    role -> RoleId;
    /// A new identity source's id.
    identity_source -> IdentitySourceId;
    /// A new API token id.
    api_token -> ApiTokenId;
}

/// A new id for something that is not kept: a probe, an epoch.
pub fn plain() -> Uuid {
    Uuid::now_v7()
}

/// Bytes nobody can guess, from the operating system.
pub fn secret<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}
