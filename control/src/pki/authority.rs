//! The authorities of this vDC, and how one takes the place of another. Pure but for making keys.
//!
//! ```text
//!   first start ───────────────────────────────────────────────▶ Signing ──(2/3 of 10 years)──▶ begin
//!   begin ─▶ Next ──every connected host trusts it, or 7 days──▶ Signing
//!           (trusted, signs nothing)                            the one before ─▶ Old ──90 days──▶ dropped
//!                                                                                (trusted, signs the vDC alone)
//! ```
//! Hosts are told of all that are trusted, the signing one first. A host that was away knows only the old one when it
//! comes back: so the vDC itself is vouched for by the oldest that is trusted. An old one is dropped when nothing it
//! signed for a host can be valid any more: whoever was away for longer has an expired certificate anyway.

use super::issue;
use crate::seal::Seal;
use quantix_client::tls;
use quantix_model::UnixMs;
use quantix_model::fault::{Fault, FaultCode};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use zeroize::Zeroizing;

/// How long an authority lasts.
pub const CA_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// A new authority signs after so long at the latest, also when some host has not heard of it.
pub const OVERLAP: Duration = Duration::from_secs(7 * 24 * 3600);
/// At once: what is asked for more often is a mistake, and each one makes every handshake longer.
const AUTHORITIES_MAX: usize = 5;

/// What an authority does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Trusted; will sign.
    Next,
    /// Signs.
    Signing,
    /// Trusted; signed before.
    Old,
}

/// One authority.
#[derive(Clone, Serialize, Deserialize)]
pub struct Authority {
    /// Its certificate.
    pub certificate_pem: String,
    /// Its key, sealed.
    pub(super) key: String,
    /// See [`Standing`].
    pub standing: Standing,
    /// It stands so since.
    pub since: UnixMs,
    /// Made then.
    pub made_at: UnixMs,
    /// Ends then.
    pub expires_at: UnixMs,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("standing", &self.standing).finish_non_exhaustive()
    }
}

/// All that are trusted. There is always exactly one that signs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Authorities {
    version: u32,
    all: Vec<Authority>,
}

/// What [`Authorities::step`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The signing one nears its end: a new one was made.
    Begun,
    /// The new one signs.
    Switched,
    /// One that nobody needs any more is not trusted any more.
    Dropped,
}

impl Authorities {
    /// The first one.
    pub(super) fn first(mut authority: Authority) -> Authorities {
        authority.standing = Standing::Signing;
        Authorities { version: 1, all: vec![authority] }
    }

    /// Refuses what a later release wrote, and what makes no sense.
    pub(super) fn check(self) -> Result<Authorities, Fault> {
        let signing = self.all.iter().filter(|a| a.standing == Standing::Signing).count();
        if self.version == 1 && signing == 1 {
            return Ok(self);
        }
        Err(super::unreadable(format!("version {}, {signing} authorities that sign", self.version)))
    }

    /// Every one, in the order they were made.
    pub fn all(&self) -> &[Authority] {
        &self.all
    }

    fn standing(&self, standing: Standing) -> impl Iterator<Item = &Authority> {
        self.all.iter().filter(move |a| a.standing == standing)
    }

    /// The one that signs.
    pub(super) fn signing(&self) -> &Authority {
        self.standing(Standing::Signing).next().unwrap_or(&self.all[0])
    }

    /// The one that will sign.
    pub fn next(&self) -> Option<&Authority> {
        self.standing(Standing::Next).next()
    }

    /// The one that vouches for the vDC: what everybody knows who knows any.
    pub(super) fn of_vdc(&self) -> &Authority {
        self.standing(Standing::Old).next().unwrap_or_else(|| self.signing())
    }

    /// All as one PEM text, the signing one first.
    pub(super) fn bundle_pem(&self) -> String {
        let order = [Standing::Signing, Standing::Next, Standing::Old];
        order
            .iter()
            .flat_map(|s| self.standing(*s))
            .map(|a| a.certificate_pem.trim_end().to_owned() + "\n")
            .collect()
    }

    /// Whether a new one may be made.
    pub fn may_begin(&self) -> Result<(), Fault> {
        if self.next().is_some() {
            return Err(Fault::new(
                FaultCode::Conflict,
                "A new authority was made already and will sign as soon as all connected hosts trust it.",
                "Wait for that: the certificates page shows which hosts are waited for.",
            ));
        }
        if self.all.len() >= AUTHORITIES_MAX {
            return Err(Fault::new(
                FaultCode::Conflict,
                format!("{} authorities are trusted at this time.", self.all.len()),
                "Wait until an old one is dropped: that is when no certificate by it is valid any more.",
            ));
        }
        Ok(())
    }

    /// Adds one that will sign.
    pub(super) fn begin(&mut self, mut authority: Authority) {
        authority.standing = Standing::Next;
        self.all.push(authority);
    }

    /// Whether the signing one has less than a third of its life left and none stands ready.
    pub(super) fn is_due(&self, now: UnixMs) -> bool {
        let signing = self.signing();
        let life = signing.made_at.age(signing.expires_at);
        self.next().is_none() && now.age(signing.expires_at) < life / 3
    }

    /// Brings all to where they should stand now. `held`: every connected host trusts what is trusted here.
    pub(super) fn step(&mut self, held: bool, now: UnixMs) -> Option<Step> {
        if let Some(next) = self.next()
            && (held || next.since.age(now) >= OVERLAP)
        {
            for authority in &mut self.all {
                authority.standing = match authority.standing {
                    Standing::Next => Standing::Signing,
                    Standing::Signing => Standing::Old,
                    Standing::Old => continue,
                };
                authority.since = now;
            }
            return Some(Step::Switched);
        }
        let over = |a: &Authority| a.standing == Standing::Old && a.since.age(now) > issue::LEAF_LIFE;
        let before = self.all.len();
        self.all.retain(|a| !over(a));
        (self.all.len() < before).then_some(Step::Dropped)
    }
}

impl Authority {
    /// What its sealed key is good for.
    fn purpose(&self) -> Result<String, Fault> {
        Ok(format!("certificate authority {}", self.fingerprint()?))
    }

    /// Its key as PEM, for who has the seal.
    pub fn key(&self, seal: &Seal) -> Result<Zeroizing<String>, Fault> {
        seal.open_text(&self.purpose()?, &self.key)
    }

    /// Takes this key, sealed.
    pub(super) fn close_key(&mut self, seal: &Seal, key_pem: &str) -> Result<(), Fault> {
        self.key = seal.close(&self.purpose()?, key_pem.as_bytes())?;
        Ok(())
    }

    /// SHA-256 of the certificate.
    pub fn fingerprint(&self) -> Result<tls::Fingerprint, Fault> {
        tls::first_fingerprint(&self.certificate_pem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3600 * 1000;

    fn made(at: i64) -> Authority {
        Authority {
            certificate_pem: format!("pem {at}"),
            key: String::new(),
            standing: Standing::Next,
            since: UnixMs(at),
            made_at: UnixMs(at),
            expires_at: UnixMs(at).plus(CA_LIFE),
        }
    }

    #[test]
    fn one_after_the_other() {
        let mut all = Authorities::first(made(0));
        assert_eq!(all.step(true, UnixMs(1)), None);
        all.may_begin().unwrap();
        all.begin(made(10));
        assert_eq!(all.may_begin().unwrap_err().code, FaultCode::Conflict);
        assert_eq!(all.bundle_pem(), "pem 0\npem 10\n");
        assert_eq!(all.step(false, UnixMs(7 * DAY)), None, "not everybody trusts it, and there is time");
        assert_eq!(all.step(true, UnixMs(7 * DAY)), Some(Step::Switched));
        assert_eq!(all.bundle_pem(), "pem 10\npem 0\n");
        assert_eq!(all.of_vdc().certificate_pem, "pem 0", "who was away knows only that one");
        assert_eq!(all.step(true, UnixMs(97 * DAY)), None);
        assert_eq!(all.step(true, UnixMs(97 * DAY + 1)), Some(Step::Dropped));
        assert_eq!(all.bundle_pem(), "pem 10\n");
        assert_eq!(all.of_vdc().certificate_pem, "pem 10");
    }

    #[test]
    fn the_overlap_ends_though_a_host_has_not_heard() {
        let mut all = Authorities::first(made(0));
        all.begin(made(10));
        let end = UnixMs(10).plus(OVERLAP);
        assert_eq!(all.step(false, UnixMs(end.0 - 1)), None);
        assert_eq!(all.step(false, end), Some(Step::Switched));
    }

    #[test]
    fn a_new_one_is_due_when_a_third_is_left_and_there_are_never_many() {
        let mut all = Authorities::first(made(0));
        let third = i64::try_from(CA_LIFE.as_millis()).unwrap() / 3;
        assert!(!all.is_due(UnixMs(2 * third)));
        assert!(all.is_due(UnixMs(2 * third + 1000)));
        for n in 1..5 {
            all.may_begin().unwrap();
            all.begin(made(n));
            assert!(!all.is_due(UnixMs(3 * third)), "one is under way");
            assert_eq!(all.step(true, UnixMs(n)), Some(Step::Switched));
        }
        assert_eq!(all.may_begin().unwrap_err().code, FaultCode::Conflict);
    }
}
