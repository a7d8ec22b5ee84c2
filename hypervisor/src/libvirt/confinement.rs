//! How well guests are kept from the host: QEMU is what a guest breaks out of first, so it should be nobody of consequence
//! and have few system calls.
//!
//! libvirt says in its capabilities whom it runs QEMU as (`qemu.conf`: `user`), before any guest runs. Of seccomp
//! (`seccomp_sandbox`) it says nothing: running guests are looked at, as the kernel sees them.

use quantix_host::process::{self, Process};
use quantix_model::id::VmId;
use quantix_model::{Fault, FaultCode};
use quick_xml::Reader;
use quick_xml::events::Event;
use std::collections::BTreeSet;
use std::path::Path;

/// The user of `<secmodel><model>dac</model>…<baselabel type='kvm'>+64055:+64055</baselabel>`.
pub(super) fn qemu_user(capabilities: &str) -> Option<u32> {
    let mut reader = Reader::from_str(capabilities);
    let (mut element, mut model) = (String::new(), String::new());
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) => element = start.local_name().as_ref().to_owned(),
            Event::Text(text) if element == "model" => model = text.trim().to_owned(),
            Event::Text(text) if element == "baselabel" && model == "dac" => {
                return text.trim().trim_start_matches('+').split(':').next()?.parse().ok();
            }
            Event::End(_) => element.clear(),
            Event::Eof => return None,
            _ => {}
        }
    }
}

/// The processes of these VMs.
pub(super) fn guests(root: &Path, running: &BTreeSet<VmId>) -> Vec<Process> {
    let id = |process: &Process| -> Option<VmId> {
        process.words.iter().skip_while(|word| *word != "-uuid").nth(1)?.parse().ok()
    };
    let ours = |process: &Process| id(process).is_some_and(|id| running.contains(&id));
    process::named(root, "qemu").into_iter().filter(ours).collect()
}

/// What is wrong, if anything is. A guest keeps what it was started with until it is started anew.
pub(super) fn weakness(qemu_user: Option<u32>, guests: &[Process]) -> Option<Fault> {
    let fault = |text: &str, remedy: &str| Some(Fault::new(FaultCode::GuestsUnconfined, text, remedy));
    if qemu_user == Some(0) {
        return fault(
            "libvirt runs VMs as root: who breaks out of one has the host.",
            "Set user and group in /etc/libvirt/qemu.conf to those of the package (libvirt-qemu or qemu), restart \
             libvirtd, and start the VMs anew.",
        );
    }
    let count = |is: fn(&Process) -> bool| guests.iter().filter(|guest| is(guest)).count();
    let (root, open) =
        (count(|guest| guest.user == 0), count(|guest| guest.seccomp_mode != Process::FILTERED));
    if root > 0 {
        return fault(
            &format!("{root} VMs run as root: they were started before libvirt was told otherwise."),
            "Shut them down and start them.",
        );
    }
    if open > 0 {
        return fault(
            &format!("{open} VMs run without seccomp: every system call of the host is open to them."),
            "Set seccomp_sandbox = 1 in /etc/libvirt/qemu.conf, restart libvirtd, and start the VMs anew.",
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(user: u32, seccomp_mode: u32) -> Process {
        Process { user, seccomp_mode, ..Process::default() }
    }

    #[test]
    fn libvirt_says_whom_it_runs_qemu_as() {
        let xml = |dac: &str| {
            format!(
                "<capabilities><host><cpu><model>qemu64</model></cpu>\
                 <secmodel><model>apparmor</model><doi>0</doi></secmodel>\
                 <secmodel><model>dac</model><doi>0</doi><baselabel type='kvm'>{dac}</baselabel>\
                 <baselabel type='qemu'>{dac}</baselabel></secmodel></host></capabilities>"
            )
        };
        assert_eq!(qemu_user(&xml("+64055:+64055")), Some(64055));
        assert_eq!(qemu_user(&xml("+0:+0")), Some(0));
        assert_eq!(qemu_user("<capabilities><host/></capabilities>"), None);
        assert_eq!(qemu_user("nonsense <"), None);
    }

    #[test]
    fn what_is_wrong_is_said_worst_first() {
        let words = |user, guests: &[Process]| weakness(user, guests).map(|fault| fault.message);
        assert_eq!(words(Some(64055), &[guest(64055, 2)]), None);
        assert_eq!(words(None, &[]), None, "what is not known is not held against anybody");
        assert!(words(Some(0), &[]).unwrap().contains("as root"));
        assert!(
            words(Some(64055), &[guest(0, 2), guest(64055, 0)]).unwrap().starts_with("1 VMs run as root")
        );
        assert!(words(Some(64055), &[guest(64055, 0)]).unwrap().contains("without seccomp"));
    }
}
