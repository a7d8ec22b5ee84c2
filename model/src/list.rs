//! The order of lists, the same words for all of them.

/// What a list may be ordered by. Each list has some of these, and an index for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortBy {
    /// Any case.
    Name,
    /// When the vDC was told of it.
    Created,
    /// Of an image or a volume.
    Size,
    /// Of a VM.
    Vcpus,
    /// Of a VM.
    Memory,
    /// Of an alert.
    Urgency,
}

/// In which order a list comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// By what.
    pub by: SortBy,
    /// The largest first.
    pub descending: bool,
}
