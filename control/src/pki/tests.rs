//! Authorities through their whole life, on files and on a clock that is moved.

use super::*;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn open(dir: &tempfile::TempDir, names: &[String], clock: &Clock) -> Result<Pki, Fault> {
    let seal = Arc::new(Seal::open(&dir.path().join("seal.key"), true).unwrap());
    Pki::open(dir.path(), names, clock, &seal)
}

fn days(n: u32) -> Duration {
    DAY * n
}

#[test]
fn made_once_private_and_renewed_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::system();
    let first = open(&dir, &[], &clock).unwrap();
    for name in ["authorities.json", "ca.pem", "vdc.key", "vdc.pem"] {
        let mode = std::fs::metadata(dir.path().join("pki").join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let same = open(&dir, &[], &clock).unwrap();
    assert_eq!((first.bundle(), first.vdc_facts()), (same.bundle(), same.vdc_facts()));
    let named = open(&dir, &["vdc.example.org".into()], &clock).unwrap();
    assert_ne!(named.vdc_facts(), first.vdc_facts());
    clock.advance(days(61));
    let renewed = open(&dir, &[], &clock).unwrap();
    assert_eq!(renewed.bundle(), first.bundle());
    assert_ne!(renewed.vdc_facts(), named.vdc_facts());
}

#[test]
fn no_private_key_stands_in_clear_and_one_of_an_older_release_is_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::system();
    let seal = Seal::open(&dir.path().join("seal.key"), true).unwrap();
    let was = open(&dir, &[], &clock).unwrap().vdc_facts().unwrap();
    let path = dir.path().join("pki/vdc.key");
    let sealed = std::fs::read_to_string(&path).unwrap();
    assert!(is_sealed(&sealed) && !sealed.contains("PRIVATE KEY"), "{sealed}");
    assert!(stored_identity(dir.path(), &seal).is_ok());

    // As an older release, or a backup by one, left it.
    let pem = seal.open_text(VDC_KEY_PURPOSE, &sealed).unwrap();
    std::fs::write(&path, pem.as_bytes()).unwrap();
    let pki = open(&dir, &[], &clock).unwrap();
    assert_eq!(pki.vdc_facts().unwrap(), was, "it is the same key");
    assert!(is_sealed(&std::fs::read_to_string(&path).unwrap()));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    // What nobody can open is made anew: its authority is there.
    std::fs::write(&path, "qs1.00000000.AAAA").unwrap();
    assert_ne!(open(&dir, &[], &clock).unwrap().vdc_facts().unwrap(), was);
    assert!(stored_identity(dir.path(), &seal).is_ok());
}

#[test]
fn the_vdc_renews_its_own_certificate_while_it_runs() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::system();
    let pki = open(&dir, &[], &clock).unwrap();
    let (was, epoch) = (pki.vdc_facts().unwrap(), *pki.epoch().borrow());
    clock.advance(days(59));
    assert_eq!(pki.tend(None).unwrap(), []);
    assert_eq!((pki.vdc_facts().unwrap(), *pki.epoch().borrow()), (was.clone(), epoch));
    clock.advance(days(2));
    assert_eq!(pki.tend(None).unwrap(), []);
    let is = pki.vdc_facts().unwrap();
    assert!(is.not_after >= was.not_after.plus(days(60)), "{is:?}");
    assert!(*pki.epoch().borrow() > epoch);
}

#[test]
fn host_keys_are_certified_under_their_id() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::system();
    let pki = open(&dir, &[], &clock).unwrap();
    let key = KeyPair::generate().unwrap();
    let host = crate::ids::host();
    let spki = rcgen::PublicKeyData::subject_public_key_info(&key);
    let made = pki.sign_host_key(&spki, host).unwrap();
    tls::check_issued(&made.pem, &pki.bundle().pem, &host_name(host), clock.now()).unwrap();
    let identity = Identity::from_pem(&made.pem, &key.serialize_pem()).unwrap();
    let facts = CertificateFacts::read(identity.leaf_der()).unwrap();
    assert_eq!(facts.host_id(), Some(host));
    assert_eq!(facts.spki_der, spki);
    assert!(pki.sign_host_key(b"no key", host).is_err());
}

#[test]
fn a_lost_key_is_said_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    open(&dir, &[], &Clock::system()).unwrap();
    std::fs::remove_file(dir.path().join("pki/authorities.json")).unwrap();
    assert_eq!(open(&dir, &[], &Clock::system()).unwrap_err().code, FaultCode::TlsError);
}

#[test]
fn a_new_authority_takes_over_and_the_vdc_stays_known_to_who_was_away() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::system();
    let pki = open(&dir, &[], &clock).unwrap();
    let first = pki.bundle();
    let (key, host) = (KeyPair::generate().unwrap(), crate::ids::host());
    let spki = rcgen::PublicKeyData::subject_public_key_info(&key);
    let fits = |leaf: &str, bundle: &Bundle, name: &str| {
        tls::check_issued(leaf, &bundle.pem, name, clock.now()).is_ok()
    };
    let vdc_pem = || std::fs::read_to_string(dir.path().join("pki/vdc.pem")).unwrap();
    want_rotation(dir.path()).unwrap();
    assert_eq!(pki.tend(Some(first.digest)).unwrap(), [Step::Begun], "the new one is not trusted yet");
    assert_eq!(pki.rotate().unwrap_err().code, FaultCode::Conflict);
    let both = pki.bundle();
    assert!(fits(&pki.sign_host_key(&spki, host).unwrap().pem, &first, &host_name(host)));
    assert_eq!(pki.tend(Some(first.digest)).unwrap(), []);
    assert_eq!(pki.tend(Some(both.digest)).unwrap(), [Step::Switched]);
    let leaf = pki.sign_host_key(&spki, host).unwrap().pem;
    assert!(!fits(&leaf, &first, &host_name(host)) && fits(&leaf, &both, &host_name(host)));
    assert!(fits(&vdc_pem(), &first, VDC_NAME), "whoever was away knows the first one only");
    assert!(tls::is_signed_by_first(&leaf, &pki.bundle().pem).unwrap());
    clock.advance(days(91));
    assert_eq!(pki.tend(None).unwrap(), [Step::Dropped]);
    assert!(!fits(&vdc_pem(), &first, VDC_NAME) && fits(&vdc_pem(), &pki.bundle(), VDC_NAME));
    let again = open(&dir, &[], &clock).unwrap();
    assert_eq!(again.bundle(), pki.bundle());
}

#[test]
fn the_key_of_an_older_release_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("pki");
    file::make_folder(&folder).unwrap();
    let (authority, key) = issue::make_ca(Clock::system().now()).unwrap();
    file::write(&folder, "ca.key", &key).unwrap();
    file::write(&folder, "ca.pem", &authority.certificate_pem).unwrap();
    let pki = open(&dir, &[], &Clock::system()).unwrap();
    assert_eq!(pki.bundle().pem, authority.certificate_pem);
    assert!(!folder.join("ca.key").exists());
    let kept = std::fs::read_to_string(folder.join("authorities.json")).unwrap();
    assert!(!kept.contains("PRIVATE KEY") && kept.contains("qs1."), "{kept}");
    assert_eq!(open(&dir, &[], &Clock::system()).unwrap().bundle(), pki.bundle());
}
