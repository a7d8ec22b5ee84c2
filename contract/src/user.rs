//! People on the wire.

use crate::quantix::factor::v1 as factor;
use crate::quantix::session::v1 as session;
use crate::quantix::user::v1 as user;
use crate::twin::twins;
use quantix_model::user::{FactorKind, SessionProof, UserSource};

twins!(UserSource => user::UserSource, "source" {
    Local = USER_SOURCE_LOCAL,
    Oidc = USER_SOURCE_OIDC,
    Ldap = USER_SOURCE_LDAP,
});

twins!(SessionProof => session::SessionProof, "proof" {
    Password = SESSION_PROOF_PASSWORD,
    Totp = SESSION_PROOF_TOTP,
    RecoveryCode = SESSION_PROOF_RECOVERY_CODE,
    Passkey = SESSION_PROOF_PASSKEY,
    Oidc = SESSION_PROOF_OIDC,
});

twins!(FactorKind => factor::FactorKind, "kind" {
    Totp = FACTOR_KIND_TOTP,
    Passkey = FACTOR_KIND_PASSKEY,
});

#[cfg(test)]
mod tests {
    use crate::twin::check_table;
    use quantix_model::user::{FactorKind, SessionProof, UserSource};

    #[test]
    fn tables() {
        check_table::<UserSource>();
        check_table::<SessionProof>();
        check_table::<FactorKind>();
    }
}
