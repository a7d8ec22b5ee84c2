//! Disks of a host on the wire.

use crate::quantix::host::v1 as wire;
use crate::twin::{self, twins};
use quantix_model::Fault;
use quantix_model::device::{BlockDevice, DeviceKind};

twins!(DeviceKind => wire::DeviceKind, "kind" {
    Hdd = DEVICE_KIND_HDD,
    Ssd = DEVICE_KIND_SSD,
    Nvme = DEVICE_KIND_NVME,
});

impl From<&BlockDevice> for wire::BlockDevice {
    fn from(device: &BlockDevice) -> wire::BlockDevice {
        wire::BlockDevice {
            path: device.path.clone(),
            size_bytes: device.size_bytes,
            model: device.model.clone(),
            serial: device.serial.clone(),
            wwn: device.wwn.clone(),
            rotational: device.kind == DeviceKind::Hdd,
            read_only: device.read_only,
            removable: device.removable,
            contents: device.contents.clone(),
            refused_because: device.refused_because.clone(),
            fingerprint: device.fingerprint.clone(),
            transport: device.transport.clone(),
            kind: twin::write(device.kind),
            ..Default::default()
        }
    }
}

impl TryFrom<&wire::BlockDevice> for BlockDevice {
    type Error = Fault;
    fn try_from(device: &wire::BlockDevice) -> Result<BlockDevice, Fault> {
        Ok(BlockDevice {
            path: device.path.clone(),
            size_bytes: device.size_bytes,
            model: device.model.clone(),
            serial: device.serial.clone(),
            wwn: device.wwn.clone(),
            transport: device.transport.clone(),
            kind: twin::read("kind", device.kind)?,
            read_only: device.read_only,
            removable: device.removable,
            contents: device.contents.clone(),
            refused_because: device.refused_because.clone(),
            fingerprint: device.fingerprint.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_twins() {
        twin::check_table::<DeviceKind>();
    }

    #[test]
    fn there_and_back() {
        let device = BlockDevice {
            path: "/dev/sdb".into(),
            size_bytes: 8 << 30,
            model: "X".into(),
            serial: "1".into(),
            wwn: "0x5".into(),
            transport: "sata".into(),
            kind: DeviceKind::Ssd,
            read_only: true,
            removable: true,
            contents: vec!["a GPT".into()],
            refused_because: "It is read-only.".into(),
            fingerprint: "f".into(),
        };
        assert_eq!(BlockDevice::try_from(&wire::BlockDevice::from(&device)), Ok(device));
    }
}
