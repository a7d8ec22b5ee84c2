//! Images on the wire.

use crate::quantix::image::v1 as wire;
use crate::quantix::node::v1 as node;
use crate::twin::{self, twins};
use quantix_model::Fault;
use quantix_model::image::{ImageFacts, ImageFormat, ImagePhase};

twins!(ImageFormat => wire::ImageFormat, "format" {
    Iso = IMAGE_FORMAT_ISO,
    Qcow2 = IMAGE_FORMAT_QCOW2,
    Raw = IMAGE_FORMAT_RAW,
});

twins!(ImagePhase => wire::ImagePhase, "phase" {
    Uploading = IMAGE_PHASE_UPLOADING,
    Verifying = IMAGE_PHASE_VERIFYING,
    Ready = IMAGE_PHASE_READY,
    Error = IMAGE_PHASE_ERROR,
    Deleting = IMAGE_PHASE_DELETING,
});

impl From<&ImageFacts> for node::ImageReport {
    fn from(facts: &ImageFacts) -> node::ImageReport {
        node::ImageReport {
            format: twin::write(facts.format),
            virtual_size_bytes: facts.virtual_size_bytes,
            sha256: facts.sha256.clone(),
            ..Default::default()
        }
    }
}

impl TryFrom<&node::ImageReport> for ImageFacts {
    type Error = Fault;
    fn try_from(report: &node::ImageReport) -> Result<ImageFacts, Fault> {
        Ok(ImageFacts {
            format: twin::read("format", report.format)?,
            virtual_size_bytes: report.virtual_size_bytes,
            sha256: report.sha256.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::twin::check_table;

    #[test]
    fn tables() {
        check_table::<ImageFormat>();
        check_table::<ImagePhase>();
    }

    #[test]
    fn facts_both_ways() {
        let facts = ImageFacts { format: ImageFormat::Iso, virtual_size_bytes: 7, sha256: "ab".into() };
        assert_eq!(ImageFacts::try_from(&node::ImageReport::from(&facts)), Ok(facts));
    }
}
