//! PCI functions, from /sys/bus/pci.

use crate::tree;
use quantix_model::host::PciDevice;
use std::path::Path;

/// All PCI functions by address.
pub fn read(root: &Path) -> Vec<PciDevice> {
    tree::names(root, "sys/bus/pci/devices").into_iter().map(|address| device(root, address)).collect()
}

fn device(root: &Path, address: String) -> PciDevice {
    let at = |file: &str| format!("sys/bus/pci/devices/{address}/{file}");
    let hex = |file: &str| tree::line(root, &at(file)).trim_start_matches("0x").to_owned();
    PciDevice {
        vendor_device: format!("{}:{}", hex("vendor"), hex("device")),
        class: hex("class"),
        driver: tree::link_name(root, &at("driver")),
        address,
    }
}
