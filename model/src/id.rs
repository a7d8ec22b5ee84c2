//! One typed id per kind. A bare UUID crosses no function boundary.

use crate::fault::Fault;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $word:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($word, ":{}"), self.0)
            }
        }
        impl FromStr for $name {
            type Err = Fault;
            fn from_str(text: &str) -> Result<Self, Fault> {
                Uuid::try_parse(text).map($name).map_err(|_| {
                    Fault::invalid(
                        concat!($word, "_id"),
                        format!("{text:?} is not a {} id", $word),
                        "Give the id as listed: 36 characters, hex digits and dashes.",
                    )
                })
            }
        }
    )*};
}

ids! {
    /// A hypervisor machine.
    HostId = "host";
    /// A storage pool.
    PoolId = "pool";
    /// A virtual disk.
    VolumeId = "volume";
    /// An image in the library.
    ImageId = "image";
    /// A virtual machine; also its libvirt domain UUID.
    VmId = "vm";
    /// A piece of long work.
    TaskId = "task";
    /// Something that happened.
    EventId = "event";
    /// Something somebody should look at.
    AlertId = "alert";
    /// A person.
    UserId = "user";
    /// A person's signed-in session.
    SessionId = "session";
    /// What a person proves themselves with beside a password.
    FactorId = "factor";
    /// A recovery code.
    RecoveryCodeId = "recovery code";
    /// A token that hosts join by.
    JoinTokenId = "join_token";
    /// A role made here.
    RoleId = "role";
    /// A provider or directory that says who somebody is.
    IdentitySourceId = "identity_source";
    /// A token with which a program acts for a person.
    ApiTokenId = "token";
}
