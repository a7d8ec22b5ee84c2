//! Basic encoding rules as LDAP uses them (RFC 4511, 5.1): definite lengths, tags of one byte.
//!
//! Reading never recurses and copies nothing: each level is opened by whoever knows what should stand there. What does
//! not fit is [`Rubbish`].

use thiserror::Error;

/// Universal tags, and those of LDAP that are shared.
pub const BOOLEAN: u8 = 0x01;
/// See [`BOOLEAN`].
pub const INTEGER: u8 = 0x02;
/// See [`BOOLEAN`].
pub const OCTETS: u8 = 0x04;
/// See [`BOOLEAN`].
pub const ENUMERATED: u8 = 0x0a;
/// See [`BOOLEAN`].
pub const SEQUENCE: u8 = 0x30;
/// See [`BOOLEAN`].
pub const SET: u8 = 0x31;

/// What was answered is not what LDAP says it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the answer is not LDAP: {0}")]
pub struct Rubbish(pub &'static str);

/// One after the other, the elements of something that was opened.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Over the content of an element.
    pub fn new(content: &'a [u8]) -> Reader<'a> {
        Reader(content)
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tag of the next element.
    pub fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next element: tag and content.
    pub fn any(&mut self) -> Result<(u8, &'a [u8]), Rubbish> {
        let (&tag, rest) = self.0.split_first().ok_or(Rubbish("something is missing"))?;
        if tag & 0x1f == 0x1f {
            return Err(Rubbish("a tag of several bytes"));
        }
        let (len, rest) = length(rest)?.ok_or(Rubbish("a length is cut off"))?;
        let content = rest.get(..len).ok_or(Rubbish("an element is cut off"))?;
        self.0 = &rest[len..];
        Ok((tag, content))
    }

    /// The content of the next element, which has this tag.
    pub fn expect(&mut self, tag: u8, otherwise: &'static str) -> Result<&'a [u8], Rubbish> {
        match self.any()? {
            (found, content) if found == tag => Ok(content),
            _ => Err(Rubbish(otherwise)),
        }
    }
}

/// A length and what follows it; `None` while bytes of it are missing.
pub fn length(bytes: &[u8]) -> Result<Option<(usize, &[u8])>, Rubbish> {
    let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
    let count = usize::from(first & 0x7f);
    if first < 0x80 {
        return Ok(Some((count, rest)));
    }
    if !(1..=4).contains(&count) {
        return Err(Rubbish("a length that LDAP does not use"));
    }
    let Some(digits) = rest.get(..count) else { return Ok(None) };
    let len = digits.iter().fold(0_usize, |len, byte| (len << 8) | usize::from(*byte));
    Ok(Some((len, &rest[count..])))
}

/// An INTEGER or ENUMERATED that is not negative.
pub fn number(content: &[u8]) -> Result<u32, Rubbish> {
    match content {
        [] => Err(Rubbish("a number without digits")),
        [first, ..] if first & 0x80 != 0 => Err(Rubbish("a negative number")),
        [0, rest @ ..] | rest if rest.len() <= 4 => {
            Ok(rest.iter().fold(0, |number, byte| (number << 8) | u32::from(*byte)))
        }
        _ => Err(Rubbish("a number that is too large")),
    }
}

/// Adds an element.
pub fn put(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.push(tag);
    let len = content.len();
    match u8::try_from(len) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let digits = len.to_be_bytes();
            let skip = digits.iter().take_while(|digit| **digit == 0).count();
            // A usize has 8 bytes at most.
            out.push(0x80 | u8::try_from(digits.len() - skip).unwrap_or(8));
            out.extend_from_slice(&digits[skip..]);
        }
    }
    out.extend_from_slice(content);
}

/// Adds a number that is not negative.
pub fn put_number(out: &mut Vec<u8>, tag: u8, number: u32) {
    let [a, b, c, d] = number.to_be_bytes();
    let digits = [0, a, b, c, d];
    // No more leading zeros than it takes to stay positive (X.690, 8.3.2).
    let first = (0..4).find(|at| digits[*at] != 0 || digits[at + 1] & 0x80 != 0).unwrap_or(4);
    put(out, tag, &digits[first..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(bytes in proptest::collection::vec(any::<u8>(), 0..600), n: u32) {
            let mut out = Vec::new();
            put(&mut out, OCTETS, &bytes);
            put_number(&mut out, INTEGER, n);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.expect(OCTETS, "bytes").unwrap(), &bytes[..]);
            prop_assert_eq!(number(reader.expect(INTEGER, "a number").unwrap()).unwrap(), n);
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn anything_may_come(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = Reader::new(&bytes);
            while let Ok((_, content)) = reader.any() {
                let _ = number(content);
            }
        }
    }

    #[test]
    fn lengths_that_are_none() {
        assert_eq!(length(&[0x80]), Err(Rubbish("a length that LDAP does not use")));
        assert_eq!(length(&[0x85, 1, 1, 1, 1, 1]), Err(Rubbish("a length that LDAP does not use")));
        let mut long = Vec::new();
        put(&mut long, OCTETS, &vec![7; 70_000]);
        assert_eq!(Reader::new(&long).any(), Ok((OCTETS, &vec![7; 70_000][..])));
        assert_eq!(length(&[0x82, 1]), Ok(None));
        assert_eq!(length(&[]), Ok(None));
        assert_eq!(length(&[0x84, 0xff, 0xff, 0xff, 0xff]), Ok(Some((0xffff_ffff, &[][..]))));
        assert_eq!(
            Reader::new(&[0x04, 0x84, 0xff, 0xff, 0xff, 0xff, 1]).any(),
            Err(Rubbish("an element is cut off"))
        );
        assert_eq!(Reader::new(&[0x3f, 0x01, 0x00]).any(), Err(Rubbish("a tag of several bytes")));
        assert_eq!(number(&[0, 0xff, 0xff, 0xff, 0xff]), Ok(u32::MAX));
        assert!(number(&[1, 0, 0, 0, 0]).is_err() && number(&[0xff]).is_err() && number(&[]).is_err());
    }
}
