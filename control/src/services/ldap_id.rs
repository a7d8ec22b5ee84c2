//! How the id of somebody in a directory is written here: as text where it is text, and never two ids alike.

use uuid::Uuid;

/// Longest id of a person, in bytes.
pub const ID_BYTES_MAX: usize = 128;
/// Sixteen bytes that Windows shows as a UUID.
const OBJECT_GUID: &str = "objectGUID";
/// Before bytes that are no text.
const HEX: &str = "hex:";

/// An id as text: two ids are never written alike.
pub fn text_of(attribute: &str, id: &[u8]) -> String {
    if attribute.eq_ignore_ascii_case(OBJECT_GUID)
        && let Ok(bytes) = <[u8; 16]>::try_from(id)
    {
        return Uuid::from_bytes_le(bytes).to_string();
    }
    match std::str::from_utf8(id) {
        Ok(text) if !text.starts_with(HEX) && !text.chars().any(char::is_control) => text.to_owned(),
        _ => id.iter().fold(HEX.to_owned(), |text, byte| text + &format!("{byte:02x}")),
    }
}

/// The bytes of an id that [`text_of`] wrote.
pub fn value_of(attribute: &str, text: &str) -> Vec<u8> {
    if attribute.eq_ignore_ascii_case(OBJECT_GUID)
        && let Ok(uuid) = text.parse::<Uuid>()
    {
        return uuid.to_bytes_le().to_vec();
    }
    let digits = text.strip_prefix(HEX).filter(|digits| digits.len().is_multiple_of(2) && digits.is_ascii());
    let pairs = digits.map(|digits| {
        (0..digits.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16))
            .collect::<Result<_, _>>()
    });
    match pairs {
        Some(Ok(bytes)) => bytes,
        _ => text.as_bytes().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ids_come_back_and_differ(
            one in proptest::collection::vec(any::<u8>(), 0..20),
            other in proptest::collection::vec(any::<u8>(), 0..20),
            text in "(hex:)?[0-9a-f-]{0,8}",
        ) {
            for id in [&one[..], &other, text.as_bytes()] {
                prop_assert_eq!(&value_of("entryUUID", &text_of("entryUUID", id)), id);
            }
            prop_assert_eq!(one == other, text_of("entryUUID", &one) == text_of("entryUUID", &other));
        }

        #[test]
        fn object_guids(id: [u8; 16]) {
            prop_assert_eq!(value_of(OBJECT_GUID, &text_of("objectguid", &id)), id);
        }
    }

    #[test]
    fn an_object_guid_is_shown_as_windows_shows_it() {
        let id = [0x04, 0x03, 0x02, 0x01, 0x06, 0x05, 0x08, 0x07, 9, 10, 11, 12, 13, 14, 15, 16];
        assert_eq!(text_of("objectGUID", &id), "01020304-0506-0708-090a-0b0c0d0e0f10");
    }
}
