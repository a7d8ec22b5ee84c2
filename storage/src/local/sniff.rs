//! What a file is, by its first bytes. Everything here reads hostile input.
//!
//! Accepted as images are ISO 9660 or UDF, qcow2 that stands alone, and disks with a boot sector. All else is named as
//! well as can be, so that the refusal helps.

use crate::error::Result;
use quantix_model::image::ImageFormat;
use quantix_model::{Fault, FaultCode};

/// So much of the start of a file tells what it is: UDF's descriptors end within 18 sectors of 2 KiB at most.
pub const HEAD_BYTES: usize = 64 << 10;

/// qcow2 features that make a file depend on another: bit 2, external data file (docs/interop/qcow2.txt).
const QCOW2_EXTERNAL_DATA: u64 = 1 << 2;

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Something we take.
    Image(ImageFormat),
    /// A qcow2 file that reads another file, which an uploader could choose at will.
    DependsOnFile(&'static str),
    /// A qcow2 file with encryption.
    Encrypted,
    /// Something else; the word for it.
    Other(&'static str),
    /// Nobody knows.
    Unknown,
}

/// Starts of files that could be mistaken for disks, or are disks of others.
const OTHERS: &[(usize, &[u8], &str)] = &[
    (0, b"KDMV", "vmdk"),
    (0, b"# Disk DescriptorFile", "vmdk"),
    (0, b"COWD", "vmdk"),
    (0, b"vhdxfile", "vhdx"),
    (0, b"conectix", "vhd"),
    (0x40, &[0x7f, 0x10, 0xda, 0xbe], "vdi"),
    (0, b"WithoutFreeSpace", "parallels"),
    (0, b"WithouFreSpacExt", "parallels"),
    (0, &[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
    (257, b"ustar", "tar"),
    (0, b"{", "json"),
    (0, b"#!", "script"),
];

/// Tells from the start of a file (up to [`HEAD_BYTES`] of it).
pub fn content(head: &[u8]) -> Content {
    let at = |offset: usize, bytes: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(bytes));
    if at(0, b"QFI\xfb") {
        return qcow2(head);
    }
    if at(32769, b"CD001") || is_udf(head) {
        return Content::Image(ImageFormat::Iso);
    }
    if let Some((_, _, name)) = OTHERS.iter().find(|(offset, bytes, _)| at(*offset, bytes)) {
        return Content::Other(name);
    }
    // Before the boot signature: 55 AA may stand at 510 in any file by chance.
    if let Some(kind) = infer::get(head) {
        return Content::Other(kind.extension());
    }
    if at(510, &[0x55, 0xaa]) || at(512, b"EFI PART") || at(4096, b"EFI PART") {
        return Content::Image(ImageFormat::Raw);
    }
    let text = &head[..head.len().min(512)];
    let printable = |b: &u8| matches!(b, b'\t' | b'\n' | b'\r' | 0x20..=0x7e | 0x80..);
    if !text.is_empty() && text.iter().all(printable) && std::str::from_utf8(text).is_ok() {
        return Content::Other("text");
    }
    Content::Unknown
}

/// UDF without ISO 9660: `BEA01`, then `NSR02` or `NSR03` within the next sectors (ECMA-167 part 3).
fn is_udf(head: &[u8]) -> bool {
    let sector = |n: usize| head.get(n * 2048 + 1..n * 2048 + 6).unwrap_or_default();
    sector(16) == b"BEA01" && (17..20).any(|n| matches!(sector(n), b"NSR02" | b"NSR03"))
}

fn u64_at(head: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_be_bytes(head.get(offset..offset + 8)?.try_into().ok()?))
}

fn u32_at(head: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_be_bytes(head.get(offset..offset + 4)?.try_into().ok()?))
}

/// Only what decides whether QEMU may open the file at all; the rest is QEMU's to read.
fn qcow2(head: &[u8]) -> Content {
    let read = || Some((u32_at(head, 4)?, u64_at(head, 8)?, u32_at(head, 32)?, u64_at(head, 72)?));
    match read() {
        None => Content::Other("qcow2 (cut short)"),
        Some((1, ..)) => Content::Other("qcow (version 1)"),
        Some((_, backing, ..)) if backing != 0 => Content::DependsOnFile("a backing file"),
        Some((_, _, crypt, _)) if crypt != 0 => Content::Encrypted,
        Some((version, _, _, features)) if version >= 3 && features & QCOW2_EXTERNAL_DATA != 0 => {
            Content::DependsOnFile("an external data file")
        }
        Some(_) => Content::Image(ImageFormat::Qcow2),
    }
}

/// The size a guest sees, from a qcow2 header.
pub fn qcow2_virtual_size(head: &[u8]) -> Result<u64> {
    u64_at(head, 24).ok_or_else(|| Content::Other("qcow2 (cut short)").refusal())
}

impl Content {
    /// Word for a listing; empty when unknown.
    pub fn label(&self) -> &'static str {
        match self {
            Content::Image(format) => format.as_str(),
            Content::DependsOnFile(_) | Content::Encrypted => "qcow2",
            Content::Other(name) => name,
            Content::Unknown => "",
        }
    }

    /// Why it is not taken as an image.
    pub fn refusal(&self) -> Fault {
        let accepted = "Upload an ISO 9660 or UDF image, a qcow2 disk that stands alone, or a raw disk with a boot \
                        sector; unpack or convert others first (qemu-img convert -O qcow2).";
        let not = |what: String| Fault::new(FaultCode::ImageNotAnImage, what, accepted);
        match self {
            Content::DependsOnFile(what) => Fault::new(
                FaultCode::ImageBackingFileRefused,
                format!("The qcow2 image reads {what}, so it does not stand alone."),
                "Make it whole first: qemu-img convert -O qcow2 old.qcow2 new.qcow2",
            ),
            Content::Encrypted => not("The qcow2 image is encrypted.".into()),
            Content::Other(name) => not(format!("The file is no disk image; it looks like {name}.")),
            Content::Unknown => not("The file is no disk image; nothing in it tells what it is.".into()),
            Content::Image(format) => not(format!("The file is not {} after all.", format.as_str())),
        }
    }
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|b| [b >> 4, b & 15]).filter_map(|n| char::from_digit(u32::from(n), 16)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn with(len: usize, parts: &[(usize, &[u8])]) -> Vec<u8> {
        let mut head = vec![0; len];
        for (offset, bytes) in parts {
            head[*offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        head
    }

    #[test]
    fn images_are_known() {
        let iso = Content::Image(ImageFormat::Iso);
        assert_eq!(content(&with(HEAD_BYTES, &[(32769, b"CD001"), (510, &[0x55, 0xaa])])), iso);
        assert_eq!(content(&with(HEAD_BYTES, &[(32769, b"BEA01"), (34817, b"NSR03")])), iso);
        assert_eq!(content(&with(512, &[(510, &[0x55, 0xaa])])), Content::Image(ImageFormat::Raw));
        assert_eq!(content(&with(8192, &[(512, b"EFI PART")])), Content::Image(ImageFormat::Raw));
        let qcow2 = with(512, &[(0, b"QFI\xfb\0\0\0\x03"), (24, &(1u64 << 30).to_be_bytes())]);
        assert_eq!(content(&qcow2), Content::Image(ImageFormat::Qcow2));
        assert_eq!(qcow2_virtual_size(&qcow2).unwrap(), 1 << 30);
    }

    #[test]
    fn qcow2_that_needs_others_is_refused() {
        let v3 = |parts: &[(usize, &[u8])]| {
            let mut head = with(512, parts);
            head[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
            content(&head)
        };
        assert_eq!(v3(&[(8, &88u64.to_be_bytes())]), Content::DependsOnFile("a backing file"));
        assert_eq!(v3(&[(72, &4u64.to_be_bytes())]), Content::DependsOnFile("an external data file"));
        assert_eq!(v3(&[(32, &2u32.to_be_bytes())]), Content::Encrypted);
        assert_eq!(content(b"QFI\xfb\0\0\0\x03"), Content::Other("qcow2 (cut short)"));
        assert_eq!(v3(&[(8, &[1])]).refusal().code, FaultCode::ImageBackingFileRefused);
    }

    #[test]
    fn others_are_named() {
        for (bytes, name) in [
            (b"PK\x03\x04rest of a zip".as_slice(), "zip"),
            (b"\x1f\x8b\x08rest of a gzip", "gz"),
            (b"<!DOCTYPE html><html>", "html"),
            (b"KDMV\x01\0\0\0", "vmdk"),
            (b"hello, this is a letter", "text"),
        ] {
            let got = content(bytes);
            assert_eq!(got, Content::Other(name));
            assert_eq!(got.refusal().code, FaultCode::ImageNotAnImage);
            assert!(got.refusal().message.contains(name));
        }
        assert_eq!(content(&[0; 4096]), Content::Unknown);
        assert_eq!(content(&[]), Content::Unknown);
    }

    proptest! {
        #[test]
        fn never_panics(head in prop::collection::vec(any::<u8>(), 0..600), magic in prop::bool::ANY) {
            let mut head = head;
            if magic && head.len() > 4 { head[..4].copy_from_slice(b"QFI\xfb"); }
            let _ = content(&head);
        }
    }

    #[test]
    fn hex_is_lower_case() {
        assert_eq!(hex(&[0x00, 0xaf, 0x9]), "00af09");
    }
}
