//! LDAP messages, as far as a sign-in needs them: bind, search, StartTLS, unbind (RFC 4511, 4).

use crate::ldap::ber::{self, BOOLEAN, ENUMERATED, INTEGER, OCTETS, Reader, Rubbish, SEQUENCE, SET};
use crate::ldap::filter::Filter;
use zeroize::{Zeroize as _, Zeroizing};

/// Goes over to TLS (RFC 4511, 4.14).
const START_TLS: &[u8] = b"1.3.6.1.4.1.1466.20037";
/// Asks why an account may not come in (draft-behera-ldap-password-policy); who does not know it leaves it out.
const PASSWORD_POLICY: &[u8] = b"1.3.6.1.4.1.42.2.27.8.5.1";
const CONTROLS: u8 = 0xa0;

/// What is asked.
#[derive(Clone, Copy)]
pub enum Ask<'a> {
    /// Says who asks.
    Bind {
        /// Name in the directory; empty: nobody.
        dn: &'a str,
        /// Simple authentication.
        password: &'a str,
    },
    /// Looks for entries.
    Search(&'a Search<'a>),
    /// Goes over to TLS.
    StartTls,
    /// Says good-bye.
    Unbind,
}

/// Which entries, and what of them.
#[derive(Clone, Copy, Debug)]
pub struct Search<'a> {
    /// Beneath which, it itself included.
    pub base: &'a str,
    /// Which ones.
    pub filter: &'a Filter,
    /// What of them; none: only that they are there.
    pub attributes: &'a [&'a str],
    /// So many at most.
    pub entries_max: u32,
    /// The directory takes no longer, in seconds.
    pub seconds_max: u32,
}

impl Ask<'_> {
    /// As it goes over the line. What was written is wiped: it may be a password.
    pub fn encode(self, id: u32) -> Zeroizing<Vec<u8>> {
        let mut body = Zeroizing::new(Vec::with_capacity(4096));
        ber::put_number(&mut body, INTEGER, id);
        match self {
            Ask::Bind { dn, password } => {
                let mut bind = Zeroizing::new(Vec::with_capacity(32 + dn.len() + password.len()));
                ber::put_number(&mut bind, INTEGER, 3);
                ber::put(&mut bind, OCTETS, dn.as_bytes());
                ber::put(&mut bind, 0x80, password.as_bytes());
                ber::put(&mut body, 0x60, &bind);
                ber::put(&mut body, CONTROLS, &control(PASSWORD_POLICY));
            }
            Ask::Search(search) => ber::put(&mut body, 0x63, &search.encode()),
            Ask::StartTls => {
                let mut name = Vec::new();
                ber::put(&mut name, 0x80, START_TLS);
                ber::put(&mut body, 0x77, &name);
            }
            Ask::Unbind => ber::put(&mut body, 0x42, &[]),
        }
        let mut out = Zeroizing::new(Vec::with_capacity(body.len() + 8));
        ber::put(&mut out, SEQUENCE, &body);
        body.zeroize();
        out
    }
}

fn control(oid: &[u8]) -> Vec<u8> {
    let (mut inner, mut out) = (Vec::new(), Vec::new());
    ber::put(&mut inner, OCTETS, oid);
    ber::put(&mut out, SEQUENCE, &inner);
    out
}

impl Search<'_> {
    fn encode(&self) -> Vec<u8> {
        /// Whole subtree; aliases are not followed.
        const SUBTREE: u32 = 2;
        const NEVER: u32 = 0;
        let (mut out, mut attributes) = (Vec::new(), Vec::new());
        ber::put(&mut out, OCTETS, self.base.as_bytes());
        ber::put_number(&mut out, ENUMERATED, SUBTREE);
        ber::put_number(&mut out, ENUMERATED, NEVER);
        ber::put_number(&mut out, INTEGER, self.entries_max);
        ber::put_number(&mut out, INTEGER, self.seconds_max);
        ber::put(&mut out, BOOLEAN, &[0]);
        out.extend_from_slice(self.filter.bytes());
        // "1.1" names no attribute (RFC 4511, 4.5.1.8); an empty list would mean all.
        let named = if self.attributes.is_empty() { &["1.1"] } else { self.attributes };
        named.iter().for_each(|name| ber::put(&mut attributes, OCTETS, name.as_bytes()));
        ber::put(&mut out, SEQUENCE, &attributes);
        out
    }
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// To a bind.
    Bound(Outcome),
    /// One of what a search finds.
    Entry(Entry),
    /// The search goes on elsewhere, where we do not follow.
    Elsewhere,
    /// The search is over.
    Found(Outcome),
    /// To StartTLS.
    Extended(Outcome),
}

/// How it went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// RFC 4511, appendix A.
    pub code: u32,
    /// The directory's own words, printable ones.
    pub words: String,
    /// Where it sends us instead.
    pub referral: String,
    /// Why an account may not come in, by its password policy.
    pub policy: Option<u32>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name in the directory.
    pub dn: String,
    attributes: Vec<(String, Vec<Vec<u8>>)>,
}

impl Entry {
    /// The values of an attribute.
    pub fn values(&self, attribute: &str) -> &[Vec<u8>] {
        // `;binary` and other options may be added by the directory (RFC 4512, 2.5).
        let base = |name: &str| name.split(';').next().unwrap_or_default().to_ascii_lowercase();
        let found = self.attributes.iter().find(|(name, _)| name.eq_ignore_ascii_case(attribute));
        let found = found.or_else(|| self.attributes.iter().find(|(name, _)| base(name) == base(attribute)));
        found.map_or(&[], |(_, values)| values)
    }

    /// The values of an attribute that are text.
    pub fn texts(&self, attribute: &str) -> impl Iterator<Item = &str> {
        self.values(attribute).iter().filter_map(|value| std::str::from_utf8(value).ok())
    }
}

/// Reads the content of a message: its number and what it says.
pub fn read(message: &[u8]) -> Result<(u32, Told), Rubbish> {
    let mut message = Reader::new(message);
    let id = ber::number(message.expect(INTEGER, "a message without a number")?)?;
    let (tag, content) = message.any()?;
    let mut body = Reader::new(content);
    let told = match tag {
        0x61 => Told::Bound(Outcome { policy: policy(message), ..outcome(&mut body)? }),
        0x64 => Told::Entry(entry(&mut body)?),
        0x73 => Told::Elsewhere,
        0x65 => Told::Found(outcome(&mut body)?),
        0x78 => Told::Extended(outcome(&mut body)?),
        _ => return Err(Rubbish("an answer to what was not asked")),
    };
    Ok((id, told))
}

fn outcome(body: &mut Reader<'_>) -> Result<Outcome, Rubbish> {
    let code = ber::number(body.expect(ENUMERATED, "a result without a code")?)?;
    body.expect(OCTETS, "a result without a name")?;
    let words = printable(body.expect(OCTETS, "a result without words")?);
    let mut referral = String::new();
    if body.peek() == Some(0xa3) {
        let (_, places) = body.any()?;
        referral = printable(Reader::new(places).expect(OCTETS, "a referral to nowhere")?);
    }
    Ok(Outcome { code, words, referral, policy: None })
}

/// The error of a password policy in the controls that follow: `SEQUENCE { warning [0], error [1] }`. What cannot be
/// read is none: the result itself decides.
fn policy(mut message: Reader<'_>) -> Option<u32> {
    let mut controls = Reader::new(message.expect(CONTROLS, "").ok()?);
    while let Ok(control) = controls.expect(SEQUENCE, "") {
        let mut control = Reader::new(control);
        if control.expect(OCTETS, "").ok()? != PASSWORD_POLICY {
            continue;
        }
        if control.peek() == Some(BOOLEAN) {
            control.any().ok()?;
        }
        let mut value = Reader::new(Reader::new(control.expect(OCTETS, "").ok()?).expect(SEQUENCE, "").ok()?);
        while let Ok((tag, content)) = value.any() {
            if tag == 0x81 {
                return ber::number(content).ok();
            }
        }
    }
    None
}

fn entry(body: &mut Reader<'_>) -> Result<Entry, Rubbish> {
    let dn = body.expect(OCTETS, "an entry without a name")?;
    let dn = std::str::from_utf8(dn).map_err(|_| Rubbish("a name that is no text"))?.to_owned();
    let mut list = Reader::new(body.expect(SEQUENCE, "an entry without attributes")?);
    let mut attributes = Vec::new();
    while !list.is_empty() {
        let mut one = Reader::new(list.expect(SEQUENCE, "an attribute that is none")?);
        let name = printable(one.expect(OCTETS, "an attribute without a name")?);
        let mut set = Reader::new(one.expect(SET, "an attribute without values")?);
        let mut values = Vec::new();
        while !set.is_empty() {
            values.push(set.expect(OCTETS, "a value that is none")?.to_vec());
        }
        attributes.push((name, values));
    }
    Ok(Entry { dn, attributes })
}

/// A stranger's words as they may be shown: one line, not long. Active Directory ends them with a NUL.
pub fn printable(bytes: &[u8]) -> String {
    const SHOWN: usize = 400;
    let text = String::from_utf8_lossy(bytes);
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN).collect();
    clean.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        ber::put(&mut out, tag, content);
        out
    }

    fn result(code: u8, words: &str) -> Vec<u8> {
        [element(ENUMERATED, &[code]), element(OCTETS, b""), element(OCTETS, words.as_bytes())].concat()
    }

    #[test]
    fn answers_are_read() {
        let bound = [element(INTEGER, &[7]), element(0x61, &result(49, "no\0"))].concat();
        let told = Told::Bound(Outcome { code: 49, words: "no".into(), ..Outcome::default() });
        assert_eq!(read(&bound).unwrap(), (7, told));

        let reason = element(SEQUENCE, &[element(0xa0, &element(0x80, &[9])), element(0x81, &[1])].concat());
        let controls =
            element(SEQUENCE, &[element(OCTETS, PASSWORD_POLICY), element(OCTETS, &reason)].concat());
        let locked = [&bound[..], &element(CONTROLS, &controls)].concat();
        let Told::Bound(outcome) = read(&locked).unwrap().1 else { panic!("a bind") };
        assert_eq!((outcome.code, outcome.policy), (49, Some(1)));

        let values = element(SET, &[element(OCTETS, &[0, 0xff]), element(OCTETS, b"x")].concat());
        let attribute = element(SEQUENCE, &[element(OCTETS, b"objectGUID;binary"), values].concat());
        let entry = [element(OCTETS, "cn=Jörg".as_bytes()), element(SEQUENCE, &attribute)].concat();
        let Told::Entry(entry) = read(&[element(INTEGER, &[1]), element(0x64, &entry)].concat()).unwrap().1
        else {
            panic!("an entry")
        };
        assert_eq!(entry.dn, "cn=Jörg");
        assert_eq!(entry.values("OBJECTguid"), [vec![0, 0xff], b"x".to_vec()]);
        assert_eq!(entry.texts("objectGUID").collect::<Vec<_>>(), ["x"]);
        assert!(entry.values("other").is_empty());

        let places = element(0xa3, &element(OCTETS, b"ldap://elsewhere/"));
        let sent = [element(INTEGER, &[1]), element(0x65, &[result(10, ""), places].concat())].concat();
        let Told::Found(outcome) = read(&sent).unwrap().1 else { panic!("an end") };
        assert_eq!((outcome.code, outcome.referral.as_str()), (10, "ldap://elsewhere/"));
    }

    proptest! {
        #[test]
        fn anything_may_be_answered(
            tag in prop_oneof![Just(0x61_u8), Just(0x64), Just(0x65), Just(0x73), Just(0x78), any::<u8>()],
            body in proptest::collection::vec(prop_oneof![Just(0x04_u8), Just(0x30), Just(0x31), Just(0x0a), 0_u8..6, any::<u8>()], 0..60),
            rest in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            let message = [element(INTEGER, &[1]), element(tag & 0xde, &body), rest].concat();
            let _ = read(&message);
            let _ = read(&body);
        }
    }
}
