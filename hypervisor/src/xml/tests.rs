//! What the definition looks like, and that nothing hostile gets out of its place in it.

use super::*;
use crate::driver::{DiskSource, MachineDisk};
use proptest::prelude::*;
use quantix_model::fault::FaultCode;
use quantix_model::id::VmId;
use quantix_model::volume::VolumeFormat;
use quick_xml::Reader;

fn file(path: &str, format: VolumeFormat) -> DiskSource {
    DiskSource::File { path: path.into(), format }
}

fn machine() -> Machine {
    Machine {
        id: VmId("0192d1c0-0000-7000-8000-000000000001".parse().expect("a UUID")),
        name: "web 1".into(),
        generation: 7,
        vcpus: 2,
        memory_bytes: 512 << 20,
        firmware: Firmware::Bios,
        disks: vec![
            MachineDisk {
                source: file(
                    "/pools/p1/volumes/0192d1c0-0000-7000-8000-00000000000a.qcow2",
                    VolumeFormat::Qcow2,
                ),
                serial: "0192d1c0-0000-7000-8".into(),
            },
            MachineDisk { source: file("/pools/p1/volumes/b.raw", VolumeFormat::Raw), serial: "b".into() },
        ],
        cdrom: Some(file("/pools/p1/images/i.iso", VolumeFormat::Raw)),
        nics: vec![MachineNic { kind: NicKind::User, mac: "52:54:00:12:34:56".into() }],
        accelerator: Accelerator::Tcg,
    }
}

/// All (path of element names, attribute or text) pairs in document order.
fn parse(xml: &str) -> Vec<(String, String)> {
    let mut reader = Reader::from_str(xml);
    let (mut path, mut found, mut text) = (Vec::<String>::new(), Vec::new(), String::new());
    loop {
        let event = reader.read_event().expect("well-formed");
        match event {
            Event::Start(ref element) | Event::Empty(ref element) => {
                text.clear();
                path.push(element.name().as_ref().to_owned());
                for attribute in element.attributes() {
                    let attribute = attribute.expect("well-formed");
                    let key = attribute.key.as_ref();
                    let value =
                        quick_xml::escape::unescape(&attribute.value).expect("known entities").into_owned();
                    found.push((format!("{}@{key}", path.join("/")), value));
                }
                if matches!(event, Event::Empty(_)) {
                    path.pop();
                }
            }
            Event::Text(piece) => text.push_str(&piece),
            Event::GeneralRef(piece) => {
                let entity = format!("&{};", &*piece);
                text.push_str(&quick_xml::escape::unescape(&entity).expect("known entity"));
            }
            Event::End(_) => {
                found.push((path.join("/"), std::mem::take(&mut text)));
                path.pop();
            }
            Event::Eof => return found,
            other => panic!("unexpected {other:?}"),
        }
    }
}

fn values<'a>(parsed: &'a [(String, String)], path: &str) -> Vec<&'a str> {
    parsed.iter().filter(|(p, _)| p == path).map(|(_, v)| v.as_str()).collect()
}

#[test]
fn an_emulated_bios_machine() {
    insta::assert_snapshot!(domain_xml(&machine()).expect("legal"), @r#"
    <domain type="qemu">
      <name>web 1</name>
      <uuid>0192d1c0-0000-7000-8000-000000000001</uuid>
      <metadata>
        <quantix:vm xmlns:quantix="urn:quantix:vm:1" managed-by="quantix" generation="7"/>
      </metadata>
      <memory unit="b">536870912</memory>
      <vcpu placement="static">2</vcpu>
      <os>
        <type arch="x86_64" machine="q35">hvm</type>
      </os>
      <features>
        <acpi/>
        <apic/>
      </features>
      <cpu mode="maximum" check="none" migratable="on">
        <topology sockets="1" cores="2" threads="1"/>
        <feature policy="disable" name="la57"/>
        <feature policy="disable" name="svm"/>
      </cpu>
      <clock offset="utc"/>
      <on_poweroff>destroy</on_poweroff>
      <on_reboot>restart</on_reboot>
      <on_crash>destroy</on_crash>
      <pm>
        <suspend-to-mem enabled="no"/>
        <suspend-to-disk enabled="no"/>
      </pm>
      <devices>
        <controller type="pci" model="pcie-root"/>
        <controller type="pci" model="pcie-root-port"/>
        <controller type="pci" model="pcie-root-port"/>
        <controller type="pci" model="pcie-root-port"/>
        <controller type="pci" model="pcie-root-port"/>
        <controller type="pci" model="pcie-root-port"/>
        <controller type="pci" model="pcie-root-port"/>
        <controller type="pci" model="pcie-root-port"/>
        <controller type="pci" model="pcie-root-port"/>
        <controller type="pci" model="pcie-root-port"/>
        <controller type="pci" model="pcie-root-port"/>
        <controller type="pci" model="pcie-root-port"/>
        <controller type="pci" model="pcie-root-port"/>
        <controller type="pci" model="pcie-root-port"/>
        <controller type="pci" model="pcie-root-port"/>
        <controller type="pci" model="pcie-root-port"/>
        <disk type="file" device="disk">
          <driver name="qemu" type="qcow2" cache="none" discard="unmap" detect_zeroes="unmap"/>
          <source file="/pools/p1/volumes/0192d1c0-0000-7000-8000-00000000000a.qcow2"/>
          <target dev="vda" bus="virtio"/>
          <serial>0192d1c0-0000-7000-8</serial>
          <boot order="1"/>
        </disk>
        <disk type="file" device="disk">
          <driver name="qemu" type="raw" cache="none" discard="unmap" detect_zeroes="unmap"/>
          <source file="/pools/p1/volumes/b.raw"/>
          <target dev="vdb" bus="virtio"/>
          <serial>b</serial>
          <boot order="3"/>
        </disk>
        <disk type="file" device="cdrom">
          <driver name="qemu" type="raw"/>
          <source file="/pools/p1/images/i.iso"/>
          <target dev="sda" bus="sata"/>
          <readonly/>
          <boot order="2"/>
        </disk>
        <interface type="user">
          <mac address="52:54:00:12:34:56"/>
          <model type="virtio"/>
        </interface>
        <serial type="pty">
          <target port="0"/>
        </serial>
        <console type="pty">
          <target type="serial" port="0"/>
        </console>
        <channel type="unix">
          <target type="virtio" name="org.qemu.guest_agent.0"/>
        </channel>
        <input type="tablet" bus="usb"/>
        <graphics type="vnc" sharePolicy="force-shared">
          <listen type="none"/>
        </graphics>
        <video>
          <model type="vga"/>
        </video>
        <memballoon model="virtio"/>
        <rng model="virtio">
          <backend model="random">/dev/urandom</backend>
        </rng>
      </devices>
    </domain>
    "#);
}

#[test]
fn a_kvm_uefi_machine_with_an_empty_drive_and_no_disk() {
    let machine = Machine {
        firmware: Firmware::Uefi,
        accelerator: Accelerator::Kvm,
        disks: vec![],
        nics: vec![],
        cdrom: None,
        ..machine()
    };
    insta::assert_snapshot!(domain_xml(&machine).expect("legal"), @r#"
    <domain type="kvm">
      <name>web 1</name>
      <uuid>0192d1c0-0000-7000-8000-000000000001</uuid>
      <metadata>
        <quantix:vm xmlns:quantix="urn:quantix:vm:1" managed-by="quantix" generation="7"/>
      </metadata>
      <memory unit="b">536870912</memory>
      <vcpu placement="static">2</vcpu>
      <os firmware="efi">
        <type arch="x86_64" machine="q35">hvm</type>
        <firmware>
          <feature enabled="no" name="secure-boot"/>
        </firmware>
      </os>
      <features>
        <acpi/>
        <apic/>
      </features>
      <cpu mode="host-passthrough" check="none" migratable="on">
        <topology sockets="1" cores="2" threads="1"/>
      </cpu>
      <clock offset="utc"/>
      <on_poweroff>destroy</on_poweroff>
      <on_reboot>restart</on_reboot>
      <on_crash>destroy</on_crash>
      <pm>
        <suspend-to-mem enabled="no"/>
        <suspend-to-disk enabled="no"/>
      </pm>
      <devices>
        <controller type="pci" model="pcie-root"/>
        <controller type="pci" model="pcie-root-port"/>
        <controller type="pci" model="pcie-root-port"/>
        <controller type="pci" model="pcie-root-port"/>
        <controller type="pci" model="pcie-root-port"/>
        <controller type="pci" model="pcie-root-port"/>
        <controller type="pci" model="pcie-root-port"/>
        <controller type="pci" model="pcie-root-port"/>
        <controller type="pci" model="pcie-root-port"/>
        <controller type="pci" model="pcie-root-port"/>
        <controller type="pci" model="pcie-root-port"/>
        <controller type="pci" model="pcie-root-port"/>
        <controller type="pci" model="pcie-root-port"/>
        <disk type="file" device="cdrom">
          <driver name="qemu" type="raw"/>
          <target dev="sda" bus="sata"/>
          <readonly/>
          <boot order="2"/>
        </disk>
        <serial type="pty">
          <target port="0"/>
        </serial>
        <console type="pty">
          <target type="serial" port="0"/>
        </console>
        <channel type="unix">
          <target type="virtio" name="org.qemu.guest_agent.0"/>
        </channel>
        <input type="tablet" bus="usb"/>
        <graphics type="vnc" sharePolicy="force-shared">
          <listen type="none"/>
        </graphics>
        <video>
          <model type="vga"/>
        </video>
        <memballoon model="virtio"/>
        <rng model="virtio">
          <backend model="random">/dev/urandom</backend>
        </rng>
      </devices>
    </domain>
    "#);
}

fn rbd(monitors: &[&str]) -> DiskSource {
    DiskSource::Rbd {
        monitors: monitors.iter().map(|m| (*m).to_owned()).collect(),
        pool: "vms".into(),
        image: "0192d1c0-0000-7000-8000-00000000000a".into(),
        user: "quantix".into(),
        secret_uuid: "0192d1c0-0000-5000-8000-0000000000aa".parse().expect("a UUID"),
    }
}

#[test]
fn block_devices_and_rbd_images() {
    let disk = |source| MachineDisk { source, serial: "s".into() };
    insta::assert_snapshot!(disk_xml("vdb", &disk(DiskSource::Block { path: "/dev/vg/a".into() })).expect("legal"), @r#"<disk type="block" device="disk"><driver name="qemu" type="raw" cache="none" io="native" discard="unmap"/><source dev="/dev/vg/a"/><target dev="vdb" bus="virtio"/><serial>s</serial></disk>"#);
    let source = rbd(&["192.0.2.1", "mon.example.org:6790", "[2001:db8::1]:3300", "[2001:db8::2]"]);
    insta::assert_snapshot!(disk_xml("vdc", &disk(source)).expect("legal"), @r#"<disk type="network" device="disk"><driver name="qemu" type="raw" cache="none" discard="unmap"/><source protocol="rbd" name="vms/0192d1c0-0000-7000-8000-00000000000a"><host name="192.0.2.1"/><host name="mon.example.org" port="6790"/><host name="2001:db8::1" port="3300"/><host name="2001:db8::2"/><auth username="quantix"><secret type="ceph" uuid="0192d1c0-0000-5000-8000-0000000000aa"/></auth></source><target dev="vdc" bus="virtio"/><serial>s</serial></disk>"#);
    for bad in [&[][..], &[""], &["a:0"], &["a:x"], &["[::1"], &["a\nb"]] {
        assert_eq!(disk_xml("vda", &disk(rbd(bad))).expect_err("bad").field, "disks.path", "{bad:?}");
    }
}

#[test]
fn keys_are_kept_in_memory_and_told_nobody() {
    let uuid = uuid::Uuid::from_u128(7);
    insta::assert_snapshot!(secret_xml(uuid, "pool <&\"'>").expect("legal"), @r#"<secret ephemeral="yes" private="yes"><uuid>00000000-0000-0000-0000-000000000007</uuid><usage type="ceph"><name>pool &lt;&amp;"'&gt;</name></usage></secret>"#);
    assert_eq!(secret_xml(uuid, "a\nb").expect_err("refused").field, "usage");
}

#[test]
fn a_running_machine_has_room_for_more_disks() {
    let parsed = parse(&domain_xml(&machine()).expect("legal"));
    let models = values(&parsed, "domain/devices/controller@model");
    let ports = models.iter().filter(|model| **model == "pcie-root-port").count();
    let used = machine().disks.len() + machine().nics.len() + PORTS_OWN;
    assert_eq!((models[0], ports - used), ("pcie-root", PORTS_SPARE));
}

#[test]
fn there_is_no_network_listener() {
    let parsed = parse(&domain_xml(&machine()).expect("legal"));
    assert_eq!(values(&parsed, "domain/devices/graphics/listen@type"), ["none"]);
    for attribute in ["port", "autoport", "websocket", "listen", "socket"] {
        assert!(values(&parsed, &format!("domain/devices/graphics@{attribute}")).is_empty(), "{attribute}");
    }
}

#[test]
fn disk_names_count_as_the_kernel_does() {
    let names: Vec<String> = [0, 1, 25, 26, 27, 51, 52].iter().map(|slot| disk_name(*slot)).collect();
    assert_eq!(names, ["vda", "vdb", "vdz", "vdaa", "vdab", "vdaz", "vdba"]);
}

#[test]
fn what_xml_cannot_carry_is_refused() {
    let bad_names = ["", ".", "..", "a/b", "a\nb", "a\u{0}b", "\u{1b}[31m", "\u{ffff}"];
    for name in bad_names {
        let fault = domain_xml(&Machine { name: name.into(), ..machine() }).expect_err(name);
        assert_eq!((fault.code, fault.field.as_str()), (FaultCode::InvalidArgument, "name"), "{name:?}");
    }
    for path in ["", "relative", "/a\nb", "/a\u{0}", "-drive"] {
        let cdrom = Some(file(path, VolumeFormat::Raw));
        let fault = domain_xml(&Machine { cdrom, ..machine() }).expect_err(path);
        assert_eq!((fault.code, fault.field.as_str()), (FaultCode::InvalidArgument, "cdrom"), "{path:?}");
        let mut bad = machine();
        for source in [file(path, VolumeFormat::Raw), DiskSource::Block { path: path.into() }] {
            bad.disks[0].source = source;
            assert_eq!(domain_xml(&bad).expect_err(path).field, "disks.path");
        }
    }
    let mut bad = machine();
    bad.nics[0].mac = "52:54:00:12:34:56' evil='1".into();
    assert_eq!(domain_xml(&bad).expect_err("mac").field, "nics.mac");
}

#[test]
fn generation_is_read_from_what_libvirt_returns() {
    let theirs = "<vm xmlns=\"urn:quantix:vm:1\" managed-by=\"quantix\" generation=\"7\"/>";
    assert_eq!(metadata_generation(theirs), Some(7));
    let prefixed =
        "<quantix:vm xmlns:quantix=\"urn:quantix:vm:1\" generation=\"18446744073709551615\"></quantix:vm>";
    assert_eq!(metadata_generation(prefixed), Some(u64::MAX));
    for bad in ["", "<", "<vm/>", "<vm generation='-1'/>", "<vm generation='x'/>", "<other generation='7'/>"]
    {
        assert_eq!(metadata_generation(bad), None, "{bad}");
    }
}

proptest! {
    #[test]
    fn hostile_names_and_paths_stay_in_their_place(
        name in "[^\\p{Cc}/\u{fffe}\u{ffff}]{1,40}",
        path in "/[^\\p{Cc}\u{fffe}\u{ffff}]{0,60}",
        iso in "/[<>&'\"\\]\\[!a-z -]{0,30}",
    ) {
        prop_assume!(name != "." && name != "..");
        let mut machine = machine();
        machine.name = name.clone();
        machine.disks[1].source = file(&path, VolumeFormat::Raw);
        machine.cdrom = Some(file(&iso, VolumeFormat::Raw));
        let parsed = parse(&domain_xml(&machine).expect("legal"));
        prop_assert_eq!(values(&parsed, "domain/name"), [name.as_str()]);
        prop_assert_eq!(
            values(&parsed, "domain/devices/disk/source@file"),
            ["/pools/p1/volumes/0192d1c0-0000-7000-8000-00000000000a.qcow2", path.as_str(), iso.as_str()]
        );
        // Nothing was added: the same elements as for a harmless machine.
        let shape = |p: &[(String, String)]| p.iter().map(|(k, _)| k.clone()).collect::<Vec<_>>();
        prop_assert_eq!(shape(&parsed), shape(&parse(&domain_xml(&super::tests::machine()).expect("legal"))));
    }

    #[test]
    fn metadata_never_panics(text in ".{0,200}") {
        let _ = metadata_generation(&text);
    }
}
