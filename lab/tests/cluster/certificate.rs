//! Certificates live on by themselves: of hosts, of the vDC, of the authorities. Time is moved for all of them at once.

use quantix_client::tls::{self, CertificateFacts};
use quantix_contract::quantix::alert::v1 as alert;
use quantix_contract::quantix::certificate::v1 as wire;
use quantix_contract::quantix::host::v1 as host;
use quantix_contract::time;
use quantix_lab::cluster::{Cluster, DEADLINE};
use quantix_lab::rig::{target, until};
use quantix_lab::spare::Spare;
use quantix_model::{Fault, FaultCode, UnixMs};
use std::time::{Duration, Instant};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn days(n: u32) -> Duration {
    DAY * n
}

async fn hosts(cluster: &Cluster) -> Vec<host::Host> {
    let listed = cluster.client.hosts().list_hosts(host::ListHostsRequest::default()).await;
    cluster.ok(listed).into_owned().hosts
}

async fn certificates(cluster: &Cluster) -> wire::Certificates {
    let got = cluster.client.certificates().get_certificates(wire::GetCertificatesRequest::default()).await;
    cluster.ok(got).into_owned()
}

fn left(cluster: &Cluster, host: &host::Host) -> Duration {
    let ends = host.certificate_expires_at.as_option().map(time::from_proto).expect("it has a certificate");
    cluster.clock.now().age(ends)
}

/// Waits until a host is connected in this moment of time, with so much life left in its certificate.
async fn fresh(cluster: &Cluster, name: &str, more_than: Duration) -> host::Host {
    until(&format!("{name} is connected with a fresh certificate"), DEADLINE, async || {
        let since = UnixMs(cluster.clock.now().0 - 3_600_000);
        hosts(cluster).await.into_iter().find(|h| {
            let seen = h.observed_at.as_option().map(time::from_proto).is_some_and(|at| at > since);
            h.name == name
                && h.phase == host::HostPhase::HOST_PHASE_READY
                && seen
                && left(cluster, h) > more_than
        })
    })
    .await
}

async fn add(cluster: &Cluster, spare: &Spare, name: &str, replaces: &str) -> Result<host::Host, Fault> {
    let probe = cluster.probe(&spare.url(), &spare.token().await).await?;
    let request = host::AddHostRequest {
        probe_id: probe,
        name: name.into(),
        replaces_host_id: replaces.into(),
        ..Default::default()
    };
    let added = cluster.client.hosts().add_host(request).await;
    added.map(|host| host.into_owned()).map_err(|err| cluster.client.fault(&err))
}

async fn expiry_alert(cluster: &Cluster, host_id: &str) -> Option<alert::Alert> {
    let listed = cluster.client.alerts().list_alerts(alert::ListAlertsRequest::default()).await;
    let all = cluster.ok(listed).into_owned().alerts;
    all.into_iter().find(|a| a.rule == "host.certificate" && a.object_id == host_id)
}

/// A jump over weeks may end behind the end of the vDC's own certificate, which it looks at each second.
async fn renewed(cluster: &Cluster) {
    until("the vDC's own certificate is good", DEADLINE, async || {
        let facts = cluster.vdc().core().pki.vdc_facts().unwrap();
        (cluster.clock.now().age(facts.not_after) > days(29)).then_some(())
    })
    .await;
}

fn serial_of(pem: &str) -> tls::Fingerprint {
    tls::first_fingerprint(pem).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_and_the_vdc_renew_themselves_without_a_restart() {
    let mut cluster = Cluster::start().await;
    let pool = cluster.pool("main").await;
    let (before, _) = cluster.host_identity();
    let vdc_before = cluster.vdc().core().pki.vdc_facts().unwrap();
    let ca = cluster.vdc().ca_pem();
    cluster.travel(days(59));
    cluster.sign_in().await;
    fresh(&cluster, "host-1", days(30)).await;
    assert_eq!(cluster.host_identity().0, before, "two thirds of its life are not over");
    // A day is enough for every host's own moment.
    cluster.travel(days(3));
    cluster.sign_in().await;
    fresh(&cluster, "host-1", days(88)).await;
    let (after, key) = cluster.host_identity();
    assert_ne!(serial_of(&after), serial_of(&before));
    let (old, new) = (tls::first_der(&before).unwrap(), tls::first_der(&after).unwrap());
    let (old, new) = (CertificateFacts::read(&old).unwrap(), CertificateFacts::read(&new).unwrap());
    assert_eq!(old.spki_der, new.spki_der, "its key is its identity");
    let vdc_after = until("the vDC's own certificate is new", DEADLINE, async || {
        let facts = cluster.vdc().core().pki.vdc_facts().unwrap();
        (facts.not_after > vdc_before.not_after).then_some(facts)
    })
    .await;
    assert!(cluster.clock.now().age(vdc_after.not_after) > days(89));
    assert_eq!(cluster.vdc().ca_pem(), ca, "the authority stays");
    // New lines both ways, past the end of what they were opened with before.
    cluster.travel(days(29));
    cluster.sign_in().await;
    let (chain, _) = cluster.host_identity();
    assert_eq!(chain, after);
    drop(key);
    fresh(&cluster, "host-1", days(58)).await;
    cluster.shelf(&pool);
    let made = cluster.client.volumes().create_volume(crate::blank_volume("late", &pool)).await;
    let made = cluster.ok(made).into_owned();
    cluster.task_done(&made.task_id).await;
    // What was renewed is on disk: the daemon comes back with it.
    cluster.kill_node();
    cluster.start_node().await;
    assert_eq!(cluster.host_identity().0, after);
    fresh(&cluster, "host-1", days(58)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_its_own_key_is_renewed_and_a_repeat_answers_the_same() {
    use quantix_contract::quantix::node::v1::RenewCertificateRequest;
    let cluster = Cluster::start().await;
    let (chain, key) = cluster.host_identity();
    let own = CertificateFacts::read(&tls::first_der(&chain).unwrap()).unwrap();
    let line = cluster.line_as(&chain, &key);
    let ask = async |public_key_der: Vec<u8>| {
        line.renew_certificate(RenewCertificateRequest { public_key_der, ..Default::default() }).await
    };
    let vdc = cluster.vdc().core().pki.vdc_facts().unwrap();
    let fault = ask(vdc.spki_der).await.unwrap_err();
    assert_eq!((fault.code, fault.field.as_str()), (FaultCode::Forbidden, "public_key_der"), "{fault}");
    // It was certified a moment ago: an answer that was lost is given again, and nothing is written.
    let (one, two) = (ask(own.spki_der.clone()).await.unwrap(), ask(own.spki_der.clone()).await.unwrap());
    assert_eq!((&one.certificate_pem, &two.certificate_pem), (&chain, &chain));
    cluster.travel(Duration::from_secs(2 * 3600));
    let three = ask(own.spki_der.clone()).await.unwrap();
    assert_ne!(three.certificate_pem, chain);
    assert_eq!(ask(own.spki_der).await.unwrap().certificate_pem, three.certificate_pem);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_host_is_refused_at_once() {
    let cluster = Cluster::start().await;
    let (chain, key) = cluster.host_identity();
    let line = cluster.line_as(&chain, &key);
    let id = cluster.host_ready().await.id;
    let remove = host::RemoveHostRequest { id: id.clone(), ..Default::default() };
    cluster.ok(cluster.client.hosts().remove_host(remove).await);
    let own = CertificateFacts::read(&tls::first_der(&chain).unwrap()).unwrap();
    let renew = quantix_contract::quantix::node::v1::RenewCertificateRequest {
        public_key_der: own.spki_der,
        ..Default::default()
    };
    let fault = line.renew_certificate(renew).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::Forbidden, "{fault}");
    let beat = quantix_contract::quantix::node::v1::BeatRequest { host_id: id, ..Default::default() };
    assert_eq!(line.beat(beat).await.unwrap_err().code, FaultCode::Forbidden);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_host_is_told_so_on_both_sides_and_comes_back_as_itself() {
    let mut cluster = Cluster::start().await;
    let mut away = Spare::start(&cluster, "away").await;
    let id = add(&cluster, &away, "host-2", "").await.unwrap().id;
    fresh(&cluster, "host-2", days(89)).await;
    away.kill();
    // In steps, so that the other one stays.
    for (step, words) in [(50, ""), (29, "expires in 10 days"), (9, "expires in "), (3, "has expired")] {
        cluster.travel(days(step));
        cluster.sign_in().await;
        fresh(&cluster, "host-1", days(1)).await;
        cluster.vdc().core().bus.changed(quantix_control::bus::Thing::Host(id.parse().unwrap()));
        if !words.is_empty() {
            until(&format!("an alert says {words:?}"), DEADLINE, async || {
                expiry_alert(&cluster, &id).await.filter(|a| {
                    let fault = a.fault.as_option().expect("it says what to do");
                    a.message.contains(words) && fault.remedy.contains("quantix-node token")
                })
            })
            .await;
        }
    }
    away.restart().await;
    until("the host says it in its log", DEADLINE, async || {
        away.said().contains("CERTIFICATE_EXPIRED").then_some(())
    })
    .await;
    let seen = hosts(&cluster).await.into_iter().find(|h| h.id == id).unwrap();
    assert_eq!(seen.phase, host::HostPhase::HOST_PHASE_DISCONNECTED);
    let other = add(&cluster, &away, "host-3", "").await.unwrap_err();
    assert_eq!((other.code, other.host.as_str()), (FaultCode::HostAlreadyExists, "host-2"), "{other}");
    let back = add(&cluster, &away, "host-2", "").await.unwrap();
    assert_eq!(back.id, id, "the same host");
    fresh(&cluster, "host-2", days(89)).await;
    until("the alert is over", DEADLINE, async || expiry_alert(&cluster, &id).await.is_none().then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_installed_anew_takes_the_place_of_the_silent_host() {
    let cluster = Cluster::start().await;
    let mut machine = Spare::start(&cluster, "machine").await;
    let id = add(&cluster, &machine, "host-2", "").await.unwrap().id;
    fresh(&cluster, "host-2", days(89)).await;
    let ledger = std::fs::read_to_string(machine.state_dir().join("ledger.json")).unwrap();
    let ledger: serde_json::Value = serde_json::from_str(&ledger).unwrap();
    let chain = ledger["registration"]["certificate_pem"].as_str().unwrap().to_owned();
    let key = std::fs::read_to_string(machine.state_dir().join("host.key")).unwrap();
    // Another machine cannot take the place of one that is there.
    let other = Spare::start(&cluster, "other").await;
    let fault = add(&cluster, &other, "host-2", &id).await.unwrap_err();
    assert_eq!((fault.code, fault.field.as_str()), (FaultCode::Conflict, "replaces_host_id"), "{fault}");
    machine.reinstall().await;
    until("the host is silent", DEADLINE, async || {
        let seen = hosts(&cluster).await.into_iter().find(|h| h.id == id)?;
        (seen.phase == host::HostPhase::HOST_PHASE_DISCONNECTED).then_some(())
    })
    .await;
    let again = add(&cluster, &machine, "host-2", &id).await.unwrap();
    assert_eq!((again.id.as_str(), again.name.as_str()), (id.as_str(), "host-2"));
    fresh(&cluster, "host-2", days(89)).await;
    assert_eq!(hosts(&cluster).await.len(), 2);
    // What the machine had before is refused now.
    let beat = quantix_contract::quantix::node::v1::BeatRequest { host_id: id, ..Default::default() };
    let fault = cluster.line_as(&chain, &key).beat(beat).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::Forbidden, "{fault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_is_rotated_by_hand_and_waits_for_connected_hosts() {
    let mut cluster = Cluster::start().await;
    let first = cluster.vdc().ca_pem();
    cluster.travel(Duration::from_secs(120));
    let rotate =
        cluster.client.certificates().rotate_authority(wire::RotateAuthorityRequest::default()).await;
    let rotated = cluster.ok(rotate).into_owned();
    assert_eq!(rotated.authorities.len(), 2);
    let again = cluster.client.certificates().rotate_authority(wire::RotateAuthorityRequest::default()).await;
    // The host may have heard already: then another one may be begun.
    if let Err(err) = again {
        assert_eq!(cluster.client.fault(&err).code, FaultCode::Conflict);
    }
    until("the new one signs", DEADLINE, async || {
        let seen = certificates(&cluster).await;
        let signs = wire::AuthorityStanding::AUTHORITY_STANDING_SIGNING;
        (seen.authorities.last()?.standing == signs).then_some(())
    })
    .await;
    until("the host has heard which one signs", DEADLINE, async || {
        (cluster.host_trust() == cluster.vdc().ca_pem()).then_some(())
    })
    .await;
    // Within a day the host has a certificate by the new one, and an alert was never raised.
    cluster.travel(days(1) + Duration::from_secs(3600));
    cluster.sign_in().await;
    until("the host is certified by the new authority", DEADLINE, async || {
        let (chain, _) = cluster.host_identity();
        tls::is_signed_by_first(&chain, &cluster.vdc().ca_pem()).unwrap().then_some(())
    })
    .await;
    let (chain, _) = cluster.host_identity();
    let id = hosts(&cluster).await[0].id.clone();
    let name = tls::host_name(id.parse().unwrap());
    assert!(tls::check_issued(&chain, &first, &name, cluster.clock.now()).is_err());
    // A vDC that dies in the middle goes on where it was.
    let bundle = cluster.vdc().ca_pem();
    cluster.kill_vdc();
    cluster.start_vdc().await;
    assert_eq!(cluster.vdc().ca_pem(), bundle);
    fresh(&cluster, "host-1", days(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_uploaded_certificate_is_for_people_and_hosts_keep_theirs() {
    let cluster = Cluster::start().await;
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["vdc.example.org".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::ExplicitNoCa;
    let own = params.self_signed(&key).unwrap().pem();
    let upload = async |chain: &str, key: &str| {
        let request = wire::UploadCertificateRequest {
            chain_pem: chain.into(),
            key_pem: key.into(),
            ..Default::default()
        };
        cluster.client.certificates().upload_certificate(request).await
    };
    let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let fault = cluster.refused(upload(&own, &other).await);
    assert_eq!((fault.code, fault.field.as_str()), (FaultCode::CertificateRefused, "key_pem"), "{fault}");
    let seen = cluster.ok(upload(&own, &key.serialize_pem()).await).into_owned();
    assert_eq!(seen.uploaded.as_option().unwrap().names, ["vdc.example.org"]);
    let kept = std::fs::read_to_string(cluster.vdc_dir().join("pki/own.json")).unwrap();
    assert!(kept.contains("vdc.example.org"));
    let shown = async |name: &str| {
        let config = tls::unpinned().unwrap();
        let dial = quantix_client::dial::Dial::new(cluster.client.dial().url.clone(), name, config).unwrap();
        let line = dial.connect(&[b"http/1.1"]).await.unwrap();
        tls::fingerprint(&line.get_ref().1.peer_certificates().unwrap()[0])
    };
    assert_eq!(shown("vdc.example.org").await, serial_of(&own));
    assert_eq!(shown("anything.else").await, serial_of(&own));
    let internal = cluster.vdc().core().pki.identity().unwrap();
    assert_eq!(shown(tls::VDC_NAME).await, tls::fingerprint(internal.leaf_der()));
    fresh(&cluster, "host-1", days(89)).await;
    let remove = wire::RemoveCertificateRequest::default();
    cluster.ok(cluster.client.certificates().remove_certificate(remove.clone()).await);
    assert_eq!(shown("vdc.example.org").await, tls::fingerprint(internal.leaf_der()));
    assert_eq!(
        cluster.refused(cluster.client.certificates().remove_certificate(remove).await).code,
        FaultCode::NotFound
    );
}

/// What happened in five years.
#[derive(Debug, Default)]
struct Years {
    days: u32,
    jumps: u32,
    renewals: u32,
    rotations: u32,
    dropped: u32,
    away_and_back: u32,
    enrolled_again: u32,
}

/// One machine of the five years: away from the day of the first number to that of the second.
struct Traveller {
    spare: Spare,
    name: &'static str,
    away: &'static [(u32, u32)],
    is_off: bool,
    serial: Option<UnixMs>,
}

const FIVE_YEARS_DAYS: u32 = 5 * 365 + 1;
const STEP_DAYS: u32 = 25;
/// Authorities are changed by hand on these days.
const ROTATIONS: [u32; 3] = [400, 900, 1500];

/// Three hosts and five years: one always there, one away for less than its certificate lives (once over a change of the
/// authority), one away for longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_years_and_no_host_is_lost() {
    let began = Instant::now();
    let mut cluster = Cluster::start().await;
    let mut travellers = Vec::new();
    let plans: [(&str, &[(u32, u32)]); 2] =
        [("host-2", &[(200, 225), (400, 450)]), ("host-3", &[(900, 1100)])];
    for (name, away) in plans {
        let spare = Spare::start(&cluster, name).await;
        add(&cluster, &spare, name, "").await.unwrap();
        travellers.push(Traveller { spare, name, away, is_off: false, serial: None });
    }
    let ids: Vec<String> = hosts(&cluster).await.into_iter().map(|h| h.id).collect();
    let mut years = Years::default();
    let (mut ends, mut bundle) = (None, cluster.vdc().ca_pem());
    while years.days < FIVE_YEARS_DAYS {
        for traveller in &mut travellers {
            switch(&cluster, traveller, &mut years).await;
        }
        if ROTATIONS.contains(&years.days) {
            quantix_control::pki::want_rotation(&cluster.vdc_dir()).unwrap();
            years.rotations += 1;
            until("the new authority is there", DEADLINE, async || {
                (cluster.vdc().core().pki.authorities().all().len() > 1).then_some(())
            })
            .await;
        }
        cluster.travel(days(STEP_DAYS));
        renewed(&cluster).await;
        cluster.sign_in().await;
        (years.days, years.jumps) = (years.days + STEP_DAYS, years.jumps + 1);
        // A third of its life is left at least, less one step and the host's moment of the day.
        let least = days(90 / 3 - 2);
        let end = fresh(&cluster, "host-1", least).await.certificate_expires_at;
        years.renewals += u32::from(ends.replace(end.clone()).is_some_and(|before| before != end));
        for traveller in travellers.iter_mut().filter(|t| !t.is_off) {
            let host = fresh(&cluster, traveller.name, least).await;
            let end = host.certificate_expires_at.as_option().map(time::from_proto);
            years.renewals += u32::from(traveller.serial.is_some() && traveller.serial != end);
            traveller.serial = end;
        }
        let now = cluster.vdc().ca_pem();
        let count = |pem: &str| u32::try_from(pem.matches("BEGIN").count()).unwrap();
        years.dropped += count(&bundle).saturating_sub(count(&now));
        bundle = now;
    }
    let seen: Vec<String> = hosts(&cluster).await.into_iter().map(|h| h.id).collect();
    assert_eq!(seen, ids, "every host is the one it was");
    assert!(years.renewals >= 60 && years.rotations == 3 && years.dropped >= 3, "{years:?}");
    assert_eq!((years.away_and_back, years.enrolled_again), (2, 1), "{years:?}");
    let text = format!(
        "five years of certificates: 3 hosts, {} days in {} jumps, {} s\n\
         host certificates renewed: {}\nauthorities changed: {}, dropped afterwards: {}\n\
         hosts away for less than a certificate lives, back by themselves: {}\n\
         hosts away for longer, enrolled again as what they were: {}\nhosts lost: 0\n",
        years.days,
        years.jumps,
        began.elapsed().as_secs(),
        years.renewals,
        years.rotations,
        years.dropped,
        years.away_and_back,
        years.enrolled_again,
    );
    let artefacts = target().join("artefacts");
    std::fs::create_dir_all(&artefacts).unwrap();
    std::fs::write(artefacts.join("certificates.txt"), &text).unwrap();
    eprintln!("{text}");
}

/// Switches a machine off or on, as its plan says; one whose certificate has expired is enrolled again.
async fn switch(cluster: &Cluster, traveller: &mut Traveller, years: &mut Years) {
    let day = years.days;
    if traveller.away.iter().any(|(from, _)| *from == day) {
        traveller.spare.kill();
        traveller.is_off = true;
    }
    let Some((from, to)) = traveller.away.iter().find(|(_, to)| *to == day) else { return };
    traveller.spare.restart().await;
    traveller.is_off = false;
    if to - from < 90 {
        years.away_and_back += 1;
        fresh(cluster, traveller.name, Duration::ZERO).await;
        return;
    }
    until("the host says that it expired", DEADLINE, async || {
        traveller.spare.said().contains("CERTIFICATE_EXPIRED").then_some(())
    })
    .await;
    add(cluster, &traveller.spare, traveller.name, "").await.unwrap();
    fresh(cluster, traveller.name, days(89)).await;
    years.enrolled_again += 1;
}
