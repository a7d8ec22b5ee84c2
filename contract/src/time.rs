//! Times on the wire and in the rules.

use buffa_types::google::protobuf::Timestamp;
use quantix_model::UnixMs;

/// A rule's time as the wire has it.
pub fn to_proto(at: UnixMs) -> Timestamp {
    let nanos = i32::try_from(at.0.rem_euclid(1000)).expect("below 1000") * 1_000_000;
    Timestamp::from_unix(at.0.div_euclid(1000), nanos)
}

/// A wire's time as the rules have it. Absurd values stay at the ends of time.
pub fn from_proto(at: &Timestamp) -> UnixMs {
    UnixMs(at.seconds.saturating_mul(1000).saturating_add(i64::from(at.nanos / 1_000_000)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn there_and_back(ms in -62_135_596_800_000i64..253_402_300_799_999) {
            prop_assert_eq!(from_proto(&to_proto(UnixMs(ms))), UnixMs(ms));
        }
    }
}
