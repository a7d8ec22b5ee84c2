//! A guest of 147 bytes that counts on its disk: small enough to run in a VM inside a VM, both emulated.
//!
//! Booted from a CD, it asks the BIOS four times a second how large the first disk is, and writes a [`Mark`] into the
//! second sector and into the last one. A dot on the screen for each that was written, an exclamation mark for each that
//! was not. A BIOS asks for the size when it starts, so the guest sees that its disk grew after a reset.

/// What it runs; assembled from the text beside it, with its data at fixed places below 64 KiB.
#[rustfmt::skip]
const PROGRAM: [u8; 147] = [
    // cli; all segments 0; stack below 0x7c00; sti; ebp, the count, 0
    0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0xbc, 0x00, 0x7c, 0xfb, 0x66, 0x31, 0xed,
    // again: count; int 13h AH=48h: the disk's parameters to 0x8000; on error to `failed`
    0x66, 0x45, 0xc7, 0x06, 0x00, 0x80, 0x1e, 0x00, 0xbe, 0x00, 0x80, 0xb4, 0x48, 0xe8, 0x6e, 0x00, 0x72, 0x52,
    // at 0x9000: "QXGU", the count, the number of sectors
    0x66, 0xc7, 0x06, 0x00, 0x90, 0x51, 0x58, 0x47, 0x55, 0x66, 0x89, 0x2e, 0x04, 0x90,
    0x66, 0xa1, 0x10, 0x80, 0x66, 0xa3, 0x08, 0x90,
    // at 0x8100: write one sector from 0x9000 to sector 1
    0x66, 0xc7, 0x06, 0x00, 0x81, 0x10, 0x00, 0x01, 0x00, 0x66, 0xc7, 0x06, 0x04, 0x81, 0x00, 0x90, 0x00, 0x00,
    0x66, 0xc7, 0x06, 0x08, 0x81, 0x01, 0x00, 0x00, 0x00, 0x66, 0xc7, 0x06, 0x0c, 0x81, 0x00, 0x00, 0x00, 0x00,
    // put; on error to `failed`
    0xe8, 0x29, 0x00, 0x72, 0x13,
    // the same to the last sector
    0x66, 0xa1, 0x10, 0x80, 0x66, 0x48, 0x66, 0xa3, 0x08, 0x81, 0xe8, 0x1a, 0x00, 0x72, 0x04,
    // '.', or failed: '!'; int 10h AH=0eh
    0xb0, 0x2e, 0xeb, 0x02, 0xb0, 0x21, 0xb4, 0x0e, 0x31, 0xdb, 0xcd, 0x10,
    // int 15h AH=86h: wait 250 ms; to `again`
    0xb4, 0x86, 0xb9, 0x03, 0x00, 0xba, 0x90, 0xd0, 0xcd, 0x15, 0xeb, 0x88,
    // put: int 13h AH=43h with 0x8100, first disk; return
    0xbe, 0x00, 0x81, 0xb8, 0x00, 0x43, 0xb2, 0x80, 0xcd, 0x13, 0xc3,
];

/// A CD's sector.
const SECTOR: usize = 2048;
const VOLUME: usize = 16;
const BOOT_RECORD: usize = 17;
const END: usize = 18;
const CATALOG: usize = 19;
const IMAGE: usize = 20;
const ROOT: usize = 21;
const SECTORS: usize = 24;

/// What the guest writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// One more each time, from 1 at each start or reset.
    pub count: u32,
    /// Sectors of 512 bytes the guest's disk has.
    pub sectors: u32,
}

impl Mark {
    /// The mark in a sector; `None` when the guest never wrote there.
    pub fn read(sector: &[u8]) -> Option<Mark> {
        let word = |at: usize| Some(u32::from_le_bytes(sector.get(at..at + 4)?.try_into().ok()?));
        (sector.get(..4)? == b"QXGU").then_some(())?;
        Some(Mark { count: word(4)?, sectors: word(8)? })
    }
}

/// The CD: an empty ISO 9660 volume that boots the program without emulating a disk (El Torito).
pub fn iso() -> Vec<u8> {
    let mut iso = vec![0; SECTORS * SECTOR];
    let mut put = |sector: usize, at: usize, bytes: &[u8]| {
        let at = sector * SECTOR + at;
        iso[at..at + bytes.len()].copy_from_slice(bytes);
    };
    let both32 = |n: u32| [n.to_le_bytes(), n.to_be_bytes()].concat();
    let both16 = |n: u16| [n.to_le_bytes(), n.to_be_bytes()].concat();
    put(VOLUME, 0, b"\x01CD001\x01");
    put(VOLUME, 8, &[b' '; 64]);
    put(VOLUME, 40, b"QUANTIX_COUNTER");
    put(VOLUME, 80, &both32(SECTORS as u32));
    for (at, n) in [(120, 1), (124, 1), (128, SECTOR as u16)] {
        put(VOLUME, at, &both16(n));
    }
    let root = |name: u8| {
        let mut entry = vec![34, 0];
        entry.extend(both32(ROOT as u32));
        entry.extend(both32(SECTOR as u32));
        entry.extend([126, 1, 1, 0, 0, 0, 0, 2, 0, 0]);
        entry.extend(both16(1));
        entry.extend([1, name]);
        entry
    };
    put(VOLUME, 156, &root(0));
    put(VOLUME, 881, &[1]);
    put(BOOT_RECORD, 0, b"\x00CD001\x01EL TORITO SPECIFICATION");
    put(BOOT_RECORD, 71, &(CATALOG as u32).to_le_bytes());
    put(END, 0, b"\xffCD001\x01");
    // Its sixteen words add up to nothing.
    let sum = 0u16.wrapping_sub(0x0001).wrapping_sub(0xaa55);
    put(CATALOG, 0, &[1]);
    put(CATALOG, 28, &sum.to_le_bytes());
    put(CATALOG, 30, &[0x55, 0xaa]);
    // Bootable, no emulation, the usual segment, four sectors of 512 bytes.
    put(CATALOG, 32, &[0x88, 0, 0, 0, 0, 0, 4, 0]);
    put(CATALOG, 40, &(IMAGE as u32).to_le_bytes());
    put(IMAGE, 0, &PROGRAM);
    put(ROOT, 0, &[root(0), root(1)].concat());
    iso
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_known_from_anything_else() {
        let mut sector = [0; 512];
        assert_eq!(Mark::read(&sector), None);
        sector[..12].copy_from_slice(&[b'Q', b'X', b'G', b'U', 7, 0, 0, 0, 0, 0, 2, 0]);
        assert_eq!(Mark::read(&sector), Some(Mark { count: 7, sectors: 131_072 }));
        assert_eq!(Mark::read(&sector[..9]), None);
    }

    #[test]
    fn the_catalog_adds_up() {
        let iso = iso();
        let entry = &iso[CATALOG * SECTOR..CATALOG * SECTOR + 32];
        let words = entry.chunks(2).map(|w| u16::from_le_bytes([w[0], w[1]]));
        assert_eq!(words.fold(0u16, u16::wrapping_add), 0);
    }
}
