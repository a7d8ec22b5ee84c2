//! The elements of libvirt's domain XML that Quantix writes, in the order its schema lists them.
//! Field names say what libvirt calls them; <https://libvirt.org/formatdomain.html> says what they do.

use serde::Serialize;

#[derive(Serialize)]
#[serde(rename = "domain")]
pub(super) struct Domain {
    #[serde(rename = "@type")]
    pub kind: &'static str,
    pub name: String,
    pub uuid: String,
    pub metadata: Metadata,
    pub memory: Memory,
    pub vcpu: Vcpu,
    pub os: Os,
    pub features: Features,
    pub cpu: Cpu,
    pub clock: Clock,
    pub on_poweroff: &'static str,
    pub on_reboot: &'static str,
    pub on_crash: &'static str,
    pub pm: Pm,
    pub devices: Devices,
}

#[derive(Serialize)]
pub(super) struct Metadata {
    #[serde(rename = "quantix:vm")]
    pub vm: MetadataVm,
}

#[derive(Serialize)]
pub(super) struct MetadataVm {
    #[serde(rename = "@xmlns:quantix")]
    pub namespace: &'static str,
    #[serde(rename = "@managed-by")]
    pub managed_by: &'static str,
    #[serde(rename = "@generation")]
    pub generation: u64,
}

#[derive(Serialize)]
pub(super) struct Memory {
    #[serde(rename = "@unit")]
    pub unit: &'static str,
    #[serde(rename = "$text")]
    pub value: u64,
}

#[derive(Serialize)]
pub(super) struct Vcpu {
    #[serde(rename = "@placement")]
    pub placement: &'static str,
    #[serde(rename = "$text")]
    pub value: u32,
}

#[derive(Serialize)]
pub(super) struct Os {
    #[serde(rename = "@firmware", skip_serializing_if = "Option::is_none")]
    pub firmware: Option<&'static str>,
    #[serde(rename = "type")]
    pub kind: OsType,
    #[serde(rename = "firmware", skip_serializing_if = "Option::is_none")]
    pub firmware_features: Option<FirmwareFeatures>,
}

#[derive(Serialize)]
pub(super) struct OsType {
    #[serde(rename = "@arch")]
    pub arch: &'static str,
    #[serde(rename = "@machine")]
    pub machine: &'static str,
    #[serde(rename = "$text")]
    pub value: &'static str,
}

#[derive(Serialize)]
pub(super) struct FirmwareFeatures {
    pub feature: Vec<FirmwareFeature>,
}

#[derive(Serialize)]
pub(super) struct FirmwareFeature {
    #[serde(rename = "@enabled")]
    pub enabled: &'static str,
    #[serde(rename = "@name")]
    pub name: &'static str,
}

/// An element that says something by being there.
#[derive(Serialize)]
pub(super) struct Flag {}

#[derive(Serialize)]
pub(super) struct Features {
    pub acpi: Flag,
    pub apic: Flag,
}

#[derive(Serialize)]
pub(super) struct Cpu {
    #[serde(rename = "@mode")]
    pub mode: &'static str,
    #[serde(rename = "@check")]
    pub check: &'static str,
    #[serde(rename = "@migratable")]
    pub migratable: &'static str,
    pub topology: Topology,
    pub feature: Vec<CpuFeature>,
}

#[derive(Serialize)]
pub(super) struct Topology {
    #[serde(rename = "@sockets")]
    pub sockets: u32,
    #[serde(rename = "@cores")]
    pub cores: u32,
    #[serde(rename = "@threads")]
    pub threads: u32,
}

#[derive(Serialize)]
pub(super) struct CpuFeature {
    #[serde(rename = "@policy")]
    pub policy: &'static str,
    #[serde(rename = "@name")]
    pub name: &'static str,
}

#[derive(Serialize)]
pub(super) struct Clock {
    #[serde(rename = "@offset")]
    pub offset: &'static str,
}

#[derive(Serialize)]
pub(super) struct Pm {
    #[serde(rename = "suspend-to-mem")]
    pub suspend_to_mem: Enabled,
    #[serde(rename = "suspend-to-disk")]
    pub suspend_to_disk: Enabled,
}

#[derive(Serialize)]
pub(super) struct Enabled {
    #[serde(rename = "@enabled")]
    pub enabled: &'static str,
}

#[derive(Serialize)]
pub(super) struct Devices {
    pub controller: Vec<Controller>,
    pub disk: Vec<Disk>,
    pub interface: Vec<Interface>,
    pub serial: Character,
    pub console: Character,
    pub channel: Character,
    pub input: Input,
    pub graphics: Graphics,
    pub video: Video,
    pub memballoon: Model,
    pub rng: Rng,
}

/// libvirt numbers them.
#[derive(Serialize)]
pub(super) struct Controller {
    #[serde(rename = "@type")]
    pub kind: &'static str,
    #[serde(rename = "@model")]
    pub model: &'static str,
}

#[derive(Serialize)]
pub(super) struct Disk {
    #[serde(rename = "@type")]
    pub kind: &'static str,
    #[serde(rename = "@device")]
    pub device: &'static str,
    pub driver: Driver,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    pub target: Target,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readonly: Option<Flag>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot: Option<Boot>,
}

#[derive(Serialize)]
pub(super) struct Driver {
    #[serde(rename = "@name")]
    pub name: &'static str,
    #[serde(rename = "@type")]
    pub kind: &'static str,
    #[serde(rename = "@cache", skip_serializing_if = "Option::is_none")]
    pub cache: Option<&'static str>,
    #[serde(rename = "@io", skip_serializing_if = "Option::is_none")]
    pub io: Option<&'static str>,
    #[serde(rename = "@discard", skip_serializing_if = "Option::is_none")]
    pub discard: Option<&'static str>,
    #[serde(rename = "@detect_zeroes", skip_serializing_if = "Option::is_none")]
    pub detect_zeroes: Option<&'static str>,
}

/// A file, a device, or something on the network.
#[derive(Default, Serialize)]
pub(super) struct Source {
    #[serde(rename = "@file", skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    #[serde(rename = "@dev", skip_serializing_if = "Option::is_none")]
    pub dev: Option<String>,
    #[serde(rename = "@protocol", skip_serializing_if = "Option::is_none")]
    pub protocol: Option<&'static str>,
    #[serde(rename = "@name", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub host: Vec<SourceHost>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
}

#[derive(Serialize)]
pub(super) struct SourceHost {
    #[serde(rename = "@name")]
    pub name: String,
    #[serde(rename = "@port", skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

#[derive(Serialize)]
pub(super) struct Auth {
    #[serde(rename = "@username")]
    pub username: String,
    pub secret: AuthSecret,
}

#[derive(Serialize)]
pub(super) struct AuthSecret {
    #[serde(rename = "@type")]
    pub kind: &'static str,
    #[serde(rename = "@uuid")]
    pub uuid: String,
}

#[derive(Serialize)]
pub(super) struct Target {
    #[serde(rename = "@dev")]
    pub dev: String,
    #[serde(rename = "@bus")]
    pub bus: &'static str,
}

#[derive(Serialize)]
pub(super) struct Boot {
    #[serde(rename = "@order")]
    pub order: usize,
}

#[derive(Serialize)]
pub(super) struct Interface {
    #[serde(rename = "@type")]
    pub kind: &'static str,
    pub mac: Mac,
    pub model: InterfaceModel,
}

#[derive(Serialize)]
pub(super) struct Mac {
    #[serde(rename = "@address")]
    pub address: String,
}

#[derive(Serialize)]
pub(super) struct InterfaceModel {
    #[serde(rename = "@type")]
    pub kind: &'static str,
}

#[derive(Serialize)]
pub(super) struct Character {
    #[serde(rename = "@type")]
    pub kind: &'static str,
    pub target: CharacterTarget,
}

#[derive(Serialize)]
pub(super) struct CharacterTarget {
    #[serde(rename = "@type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    #[serde(rename = "@name", skip_serializing_if = "Option::is_none")]
    pub name: Option<&'static str>,
    #[serde(rename = "@port", skip_serializing_if = "Option::is_none")]
    pub port: Option<u32>,
}

#[derive(Serialize)]
pub(super) struct Input {
    #[serde(rename = "@type")]
    pub kind: &'static str,
    #[serde(rename = "@bus")]
    pub bus: &'static str,
}

#[derive(Serialize)]
pub(super) struct Graphics {
    #[serde(rename = "@type")]
    pub kind: &'static str,
    #[serde(rename = "@sharePolicy")]
    pub share_policy: &'static str,
    pub listen: Listen,
}

#[derive(Serialize)]
pub(super) struct Listen {
    #[serde(rename = "@type")]
    pub kind: &'static str,
}

#[derive(Serialize)]
pub(super) struct Video {
    pub model: VideoModel,
}

#[derive(Serialize)]
pub(super) struct VideoModel {
    #[serde(rename = "@type")]
    pub kind: &'static str,
}

#[derive(Serialize)]
pub(super) struct Model {
    #[serde(rename = "@model")]
    pub model: &'static str,
}

#[derive(Serialize)]
pub(super) struct Rng {
    #[serde(rename = "@model")]
    pub model: &'static str,
    pub backend: RngBackend,
}

#[derive(Serialize)]
pub(super) struct RngBackend {
    #[serde(rename = "@model")]
    pub model: &'static str,
    #[serde(rename = "$text")]
    pub value: &'static str,
}

#[derive(Serialize)]
#[serde(rename = "secret")]
pub(super) struct SecretDefinition {
    #[serde(rename = "@ephemeral")]
    pub ephemeral: &'static str,
    #[serde(rename = "@private")]
    pub private: &'static str,
    pub uuid: String,
    pub usage: SecretUsage,
}

#[derive(Serialize)]
pub(super) struct SecretUsage {
    #[serde(rename = "@type")]
    pub kind: &'static str,
    pub name: String,
}
