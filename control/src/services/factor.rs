//! Authenticator apps (RFC 6238) and recovery codes of the caller.
//!
//! An app's secret is kept sealed and counts once a code of it was seen. A code is good for its own 30 seconds and those
//! before and after, and once: the step of the last one is kept, and only later ones are taken.

use crate::core::Core;
use crate::ids;
use crate::services::session::sha256;
use crate::services::site::Site;
use crate::services::{passkey, password};
use qrcode::QrCode;
use qrcode::render::svg;
use quantix_contract::quantix::factor::v1 as wire;
use quantix_contract::{time, twin};
use quantix_model::fault::{Fault, FaultCode};
use quantix_model::id::{FactorId, UserId};
use quantix_model::name::check_title;
use quantix_model::user::FactorKind;
use quantix_store::{FactorRecord, RecoveryCodeRecord, UserRecord};
use totp_rs::{Algorithm, Builder, Totp};

/// What the codes are for, as apps show it.
const ISSUER: &str = "Quantix";
/// RFC 4226, 4: 160 bits are recommended.
const SECRET_BYTES: usize = 20;
/// Codes handed out together.
const RECOVERY_CODES: usize = 10;
/// Letters of a recovery code: about 99 bits.
const RECOVERY_LETTERS: usize = 20;
/// Factors of one person.
const FACTORS_MAX: usize = 20;

/// A secret that is not confirmed yet, shown this once.
pub struct NewTotp {
    /// Its factor.
    pub id: FactorId,
    /// `otpauth://totp/…`
    pub url: String,
    /// Base32.
    pub secret: String,
    /// The URL as a QR code, an SVG document.
    pub qr_svg: String,
}

fn purpose(id: FactorId) -> String {
    format!("factor:{id}")
}

fn totp(secret: Vec<u8>, account: &str) -> Result<Totp, Fault> {
    Builder::new()
        .with_algorithm(Algorithm::SHA1)
        .with_digits(6)
        .with_skew(1)
        .with_step_duration(30)
        .with_secret(secret)
        .with_issuer(Some(ISSUER.to_owned()))
        .with_account_name(account.replace(':', "_"))
        .build()
        .map_err(Fault::internal)
}

/// The wire's view of a factor, for who opened the page by this address.
pub fn view(factor: &FactorRecord, here: Option<&Site>) -> wire::Factor {
    let (site, reason_if_not_here) = passkey::place(factor, here);
    wire::Factor {
        site,
        reason_if_not_here,
        id: factor.id.to_string(),
        kind: twin::write(factor.kind),
        name: factor.name.clone(),
        created_at: time::to_proto(factor.created_at).into(),
        used_at: factor.used_at.map(time::to_proto).into(),
        ..Default::default()
    }
}

/// A person's factors that count, oldest first.
pub async fn confirmed(core: &Core, user: UserId) -> Result<Vec<FactorRecord>, Fault> {
    let all = core.store.factor_of(user).await?;
    Ok(all.into_iter().filter(|factor| factor.confirmed).collect())
}

/// Refuses names that cannot be shown, and more factors than anybody needs.
pub async fn check_room(core: &Core, user: UserId, name: &str) -> Result<(), Fault> {
    check_title("name", name)?;
    if core.store.factor_of(user).await?.len() >= FACTORS_MAX {
        let text = format!("You have {FACTORS_MAX} second factors already.");
        return Err(Fault::new(FaultCode::Conflict, text, "Remove one that you no longer use."));
    }
    Ok(())
}

/// Makes a secret for an app.
pub async fn begin_totp(core: &Core, user: &UserRecord, name: &str) -> Result<NewTotp, Fault> {
    check_room(core, user.id, name).await?;
    let (id, secret) = (ids::factor(), ids::secret::<SECRET_BYTES>());
    let totp = totp(secret.to_vec(), &user.name)?;
    let url = totp.to_url().map_err(Fault::internal)?;
    let code = QrCode::new(url.as_bytes()).map_err(Fault::internal)?;
    let qr_svg = code.render::<svg::Color<'_>>().min_dimensions(200, 200).build();
    let factor = FactorRecord {
        id,
        user_id: user.id,
        kind: FactorKind::Totp,
        name: name.to_owned(),
        secret: core.seal.close(&purpose(id), &secret)?,
        credential_id: None,
        confirmed: false,
        last_step: 0,
        created_at: core.clock.now(),
        used_at: None,
    };
    core.store.factor_insert(&factor).await?;
    Ok(NewTotp { id, url, secret: totp.secret().to_base32(), qr_svg })
}

/// Whether `code` is one of the app's and was not used yet; uses it up.
async fn use_code(core: &Core, factor: &FactorRecord, code: &str, confirm: bool) -> Result<bool, Fault> {
    let code: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    if code.len() != 6 || !code.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(false);
    }
    let secret = core.seal.open_sealed(&purpose(factor.id), &factor.secret)?.to_vec();
    let now = core.clock.now();
    let seconds = u64::try_from(now.0 / 1000).unwrap_or(0);
    let Some(step) = totp(secret, "x")?.check(&code, seconds) else { return Ok(false) };
    let step = i64::try_from(step).unwrap_or(i64::MAX);
    let mut fresh = false;
    core.store
        .factor_update(factor.id, |factor| {
            fresh = step > factor.last_step && (confirm || factor.confirmed);
            if fresh {
                factor.last_step = step;
                factor.used_at = Some(now);
                factor.confirmed = true;
            }
            Ok::<(), Fault>(())
        })
        .await?;
    Ok(fresh)
}

/// Whether `code` is right for one of the person's apps.
pub async fn use_totp(core: &Core, user: UserId, code: &str) -> Result<bool, Fault> {
    for factor in confirmed(core, user).await?.iter().filter(|f| f.kind == FactorKind::Totp) {
        if use_code(core, factor, code, false).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// From now on the app counts. With the first factor come recovery codes.
pub async fn confirm_totp(
    core: &Core,
    user: UserId,
    id: FactorId,
    code: &str,
) -> Result<(FactorRecord, Vec<String>), Fault> {
    let all = core.store.factor_of(user).await?;
    let factor = all.iter().find(|f| f.id == id && f.kind == FactorKind::Totp && !f.confirmed);
    let factor = factor.ok_or_else(|| Fault::not_found("authenticator app to confirm", id))?;
    if !use_code(core, factor, code, true).await? {
        return Err(Fault { field: "code".into(), ..wrong() });
    }
    let first = !all.iter().any(|f| f.confirmed);
    let codes = if first { make_recovery_codes(core, user).await? } else { Vec::new() };
    Ok((core.store.factor_get(id).await?, codes))
}

/// Ten new recovery codes; those before stop working.
pub async fn make_recovery_codes(core: &Core, user: UserId) -> Result<Vec<String>, Fault> {
    let codes: Vec<String> =
        std::iter::repeat_with(|| password::letters(RECOVERY_LETTERS)).take(RECOVERY_CODES).collect();
    let records: Vec<RecoveryCodeRecord> = codes
        .iter()
        .map(|code| RecoveryCodeRecord {
            id: ids::recovery_code(),
            user_id: user,
            hash: hash(code),
            used_at: None,
        })
        .collect();
    core.store.recovery_code_replace(user, &records).await?;
    Ok(codes)
}

/// Whether the recovery code is one of the person's and was not used yet; uses it up.
pub async fn use_recovery_code(core: &Core, user: UserId, code: &str) -> Result<bool, Fault> {
    Ok(core.store.recovery_code_use(user, &hash(code), core.clock.now()).await?)
}

/// As typed: any case, with dashes and spaces or without.
fn hash(code: &str) -> String {
    let letters: String =
        code.chars().filter(char::is_ascii_alphanumeric).take(64).collect::<String>().to_lowercase();
    sha256(letters.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The fault for a wrong code.
pub fn wrong() -> Fault {
    Fault::new(
        FaultCode::SecondFactorWrong,
        "The code is not right, or was used already.",
        "Wait for the next code, and check that the clock of your device is right.",
    )
}
