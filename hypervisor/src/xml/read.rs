//! Finding disks in a definition as libvirt returns it.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// A disk in a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundDisk {
    /// Empty when it has none.
    pub serial: String,
    /// E.g. `vda`.
    pub target: String,
    /// Its whole element, as it stands: what libvirt wants to see again to take it away.
    pub element: String,
}

/// Disks (not drives) of a domain, in document order. What cannot be read ends the list.
pub(crate) fn disks(xml: &str) -> Vec<FoundDisk> {
    let mut reader = Reader::from_str(xml);
    let (mut found, mut path) = (Vec::new(), Vec::<String>::new());
    let mut open: Option<(usize, FoundDisk)> = None;
    loop {
        let begin = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX);
        let Ok(event) = reader.read_event() else { return found };
        match &event {
            Event::Start(element) | Event::Empty(element) => {
                let name = element.name().as_ref().to_owned();
                let is_empty = matches!(event, Event::Empty(_));
                if path == ["domain", "devices"] && name == "disk" && !is_empty {
                    let disk = attribute(element, "device").is_none_or(|device| device == "disk");
                    let none =
                        FoundDisk { serial: String::new(), target: String::new(), element: String::new() };
                    open = disk.then_some((begin, none));
                }
                if let Some((_, disk)) = open.as_mut().filter(|_| path.len() == 3 && name == "target") {
                    disk.target = attribute(element, "dev").unwrap_or_default();
                }
                if !is_empty {
                    path.push(name);
                }
            }
            Event::Text(text) => {
                if let Some((_, disk)) = open.as_mut().filter(|_| path.len() == 4 && path[3] == "serial") {
                    disk.serial.push_str(text);
                }
            }
            Event::End(_) => {
                path.pop();
                if path.len() == 2
                    && let Some((begin, mut disk)) = open.take()
                {
                    let end = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX);
                    disk.element = xml.get(begin..end).unwrap_or_default().trim().to_owned();
                    found.push(disk);
                }
            }
            Event::Eof => return found,
            _ => {}
        }
    }
}

fn attribute(element: &BytesStart<'_>, name: &str) -> Option<String> {
    let found = element.try_get_attribute(name).ok()??;
    Some(quick_xml::escape::unescape(&found.value).ok()?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::disks;

    #[test]
    fn disks_as_libvirt_returns_them() {
        let xml = "<domain type='qemu' id='1'><devices>
    <disk type='file' device='disk'>
      <source file='/a&amp;b' index='2'><reservations/></source>
      <backingStore/>
      <target dev='vda' bus='virtio'/>
      <serial>abc</serial>
    </disk>
    <disk type='file' device='cdrom'><target dev='sda' bus='sata'/><serial>no</serial></disk>
    <disk type='block' device='disk'><target dev='vdb'/></disk>
    <controller type='pci'><target chassis='1'/></controller>
    </devices><metadata><disk device='disk'><target dev='x'/></disk></metadata></domain>";
        let found = disks(xml);
        let short: Vec<_> = found.iter().map(|d| (d.serial.as_str(), d.target.as_str())).collect();
        assert_eq!(short, [("abc", "vda"), ("", "vdb")]);
        assert!(found[0].element.starts_with("<disk type='file'") && found[0].element.ends_with("</disk>"));
        assert_eq!(found[1].element, "<disk type='block' device='disk'><target dev='vdb'/></disk>");
        for bad in ["", "<", "<domain><devices><disk>", "<domain><devices><disk></domain>"] {
            assert!(disks(bad).is_empty(), "{bad}");
        }
    }
}
