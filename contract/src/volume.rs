//! Virtual disks on the wire.

use crate::quantix::volume::v1 as wire;
use crate::twin::twins;
use quantix_model::volume::{Allocation, VolumeFormat, VolumePhase};

twins!(VolumeFormat => wire::VolumeFormat, "format" {
    Qcow2 = VOLUME_FORMAT_QCOW2,
    Raw = VOLUME_FORMAT_RAW,
});

twins!(Allocation => wire::VolumeAllocation, "allocation" {
    Thin = VOLUME_ALLOCATION_THIN,
    Thick = VOLUME_ALLOCATION_THICK,
});

twins!(VolumePhase => wire::VolumePhase, "phase" {
    Creating = VOLUME_PHASE_CREATING,
    Ready = VOLUME_PHASE_READY,
    Error = VOLUME_PHASE_ERROR,
    Deleting = VOLUME_PHASE_DELETING,
});

#[cfg(test)]
mod tests {
    use crate::twin::check_table;

    #[test]
    fn tables() {
        check_table::<super::VolumeFormat>();
        check_table::<super::Allocation>();
        check_table::<super::VolumePhase>();
    }
}
