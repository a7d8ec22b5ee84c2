//! What the machine is made of, put together from the small readers beside this file.

use crate::{cpu, disk, memory, mount, nic, pci, tree};
use quantix_model::host::Inventory;
use std::path::Path;

/// Reads the machine beneath `root`, which is `/` outside tests. Blocks for some milliseconds; touches /proc, /sys and
/// two files in /etc. What a machine does not tell stays empty.
pub fn read(root: &Path) -> Inventory {
    Inventory {
        hostname: tree::line(root, "proc/sys/kernel/hostname"),
        machine_id: tree::line(root, "etc/machine-id"),
        os: os_name(&tree::text(root, "etc/os-release")),
        kernel: tree::line(root, "proc/sys/kernel/osrelease"),
        cpu: cpu::read(root),
        memory_total_bytes: memory::read(root).total_bytes,
        disks: disk::read(root),
        nics: nic::read(root),
        pci_devices: pci::read(root),
        mounts: mount::read(root),
    }
}

fn os_name(os_release: &str) -> String {
    let field = |name: &str| {
        let value = os_release.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix('='))?;
        Some(value.trim().trim_matches(|c| c == '"' || c == '\'').to_owned())
    };
    field("PRETTY_NAME").or_else(|| field("NAME")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// A recorded machine: path and content per line pair.
    fn recorded() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("proc/sys/kernel/hostname", "qx-7\n");
        put("proc/sys/kernel/osrelease", "6.1.0-18-amd64\n");
        put("etc/machine-id", "0123456789abcdef0123456789abcdef\n");
        put("etc/os-release", "NAME=\"Debian\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n");
        put("proc/meminfo", "MemTotal: 1048576 kB\nMemAvailable: 524288 kB\n");
        put("proc/cpuinfo", "processor : 0\nvendor_id : AuthenticAMD\nmodel name : EPYC\nflags : svm\n\n");
        put("sys/devices/system/node/node0/cpulist", "0");
        put("sys/devices/system/node/node1/cpulist", "1");
        for (disk, dev, sectors) in [("vda", "254:0", "2048"), ("sdb", "8:16", "4096"), ("loop0", "7:0", "8")]
        {
            put(&format!("sys/block/{disk}/size"), sectors);
            put(&format!("sys/block/{disk}/dev"), dev);
            put(&format!("sys/block/{disk}/queue/rotational"), "1\n");
        }
        put("sys/block/sdc/size", "0");
        put("sys/block/vda/serial", "disk-1");
        put("sys/block/sdb/device/model", "SPINNER 9000    \n");
        put("sys/block/sdb/sdb1/partition", "1");
        put(
            "proc/self/mountinfo",
            "27 1 254:0 / / rw - ext4 /dev/vda rw\n30 27 0:21 / /proc rw - proc proc rw\n\
             31 27 0:50 / /data rw - ext4 /dev/hidden rw\n32 31 0:51 / /data rw - nfs4 10.0.0.9:/x rw\n",
        );
        put("sys/class/net/eth0/address", "52:54:00:00:00:01\n");
        put("sys/class/net/eth0/carrier", "1\n");
        put("sys/class/net/eth0/speed", "-1\n");
        put("sys/class/net/lo/address", "00:00:00:00:00:00\n");
        put("sys/bus/pci/devices/0000:00:1f.2/vendor", "0x8086\n");
        put("sys/bus/pci/devices/0000:00:1f.2/device", "0x1234\n");
        put("sys/bus/pci/devices/0000:00:1f.2/class", "0x010601\n");
        symlink("../../../bus/pci/drivers/ahci", dir.path().join("sys/bus/pci/devices/0000:00:1f.2/driver"))
            .unwrap();
        dir
    }

    #[test]
    fn a_recorded_machine_reads_as_recorded() {
        let machine = recorded();
        insta::assert_json_snapshot!(read(machine.path()));
    }

    #[test]
    fn a_machine_that_tells_nothing_is_survived() {
        let nothing = tempfile::tempdir().unwrap();
        let got = read(nothing.path());
        assert_eq!((got.cpu.threads, got.cpu.numa_nodes, got.memory_total_bytes), (1, 1, 0));
        assert!(got.disks.is_empty() && got.nics.is_empty() && got.mounts.is_empty());
    }

    #[test]
    fn this_machine_tells_the_usual() {
        let got = read(Path::new("/"));
        assert!(!got.hostname.is_empty() && !got.kernel.is_empty());
        assert!(got.cpu.threads >= 1 && got.cpu.threads >= got.cpu.cores);
        assert!(got.memory_total_bytes > 64 << 20);
        assert!(got.nics.iter().all(|n| n.name != "lo"));
    }
}
