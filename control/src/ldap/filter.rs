//! Search filters (RFC 4515) with places for what people typed, so that nothing typed is ever part of the filter.
//!
//! Every byte that is no plain letter or digit goes in as `\xx`: after that no text can end a value or begin another.

use crate::ldap::ber;
use ldap3::asn1::{ASNTag as _, PL, StructureTag};
use quantix_model::Fault;
use std::fmt::Write as _;

/// Longest filter that is taken.
pub const FILTER_BYTES_MAX: usize = 4096;
/// Deepest nesting that is taken: it is read by recursion.
const DEPTH_MAX: usize = 32;

/// A filter as it goes over the line (RFC 4511, 4.5.1.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(Vec<u8>);

impl Filter {
    /// The encoded filter.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Both must be true.
    pub fn and(&self, other: &Filter) -> Filter {
        let mut out = Vec::new();
        ber::put(&mut out, 0xa0, &[&self.0[..], &other.0].concat());
        Filter(out)
    }

    /// An attribute has exactly this value.
    pub fn equal(attribute: &str, value: &[u8]) -> Filter {
        let (mut pair, mut out) = (Vec::new(), Vec::new());
        ber::put(&mut pair, ber::OCTETS, attribute.as_bytes());
        ber::put(&mut pair, ber::OCTETS, value);
        ber::put(&mut out, 0xa3, &pair);
        Filter(out)
    }
}

/// What stands in the places of a template.
#[derive(Clone, Copy, Debug)]
pub enum Fill<'a> {
    /// A person: their name, and their name in the directory.
    Person {
        /// As typed.
        name: &'a str,
        /// Distinguished name.
        dn: &'a str,
    },
    /// Anybody: each place holds `*`.
    Anybody,
}

/// A text that stands for itself in a filter, whatever is in it.
pub fn escape(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte));
        } else {
            // A String takes everything.
            let _ = write!(out, "\\{byte:02x}");
        }
        out
    })
}

/// The filter of a template; `field` names it where it cannot be read.
pub fn fill(field: &str, template: &str, with: Fill<'_>) -> Result<Filter, Fault> {
    let wrong = |why: &str| {
        let remedy = "Write it as RFC 4515 says, for example `(&(objectClass=person)(uid={name}))`.";
        Fault::invalid(field, format!("The filter {why}."), remedy)
    };
    if template.len() > FILTER_BYTES_MAX {
        return Err(wrong("is longer than 4096 bytes"));
    }
    let mut depth = 0_usize;
    for letter in template.bytes() {
        match letter {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return Err(wrong("is nested more than 32 deep"));
        }
    }
    let (name, dn) = match with {
        Fill::Person { name, dn } => (escape(name), escape(dn)),
        Fill::Anybody => ("*".to_owned(), "*".to_owned()),
    };
    // What was put in holds no brace any more.
    let text = template.replace("{name}", &name).replace("{dn}", &dn);
    let tree = ldap3::parse_filter(&text).map_err(|()| wrong("cannot be read"))?;
    let mut out = Vec::new();
    encode(&tree.into_structure(), &mut out);
    Ok(Filter(out))
}

fn encode(tree: &StructureTag, out: &mut Vec<u8>) {
    // Filters have tags below 10.
    let tag = (tree.class as u8) << 6 | u8::try_from(tree.id & 0x1f).unwrap_or(0);
    match &tree.payload {
        PL::P(content) => ber::put(out, tag, content),
        PL::C(elements) => {
            let mut content = Vec::new();
            elements.iter().for_each(|element| encode(element, &mut content));
            ber::put(out, tag | 0x20, &content);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PERSON: &str = "(&(objectClass=person)(|(uid={name})(mail={name})))";

    fn equals(pairs: &[(&str, &str)]) -> Vec<u8> {
        pairs.iter().flat_map(|(attribute, value)| Filter::equal(attribute, value.as_bytes()).0).collect()
    }

    /// What [`PERSON`] must become, made by hand.
    fn by_hand(name: &str) -> Filter {
        let mut either = Vec::new();
        ber::put(&mut either, 0xa1, &equals(&[("uid", name), ("mail", name)]));
        let mut all = Vec::new();
        ber::put(&mut all, 0xa0, &[equals(&[("objectClass", "person")]), either].concat());
        Filter(all)
    }

    fn person(template: &str, name: &str, dn: &str) -> Result<Filter, Fault> {
        fill("user_filter", template, Fill::Person { name, dn })
    }

    proptest! {
        #[test]
        fn what_was_typed_is_a_value_and_nothing_else(name in any::<String>()) {
            prop_assert_eq!(person(PERSON, &name, "").unwrap(), by_hand(&name));
        }

        #[test]
        fn also_what_is_meant_to_be_more(name in "[*()&|!\\\\=a-z{}\u{0}]{0,40}") {
            prop_assert_eq!(person(PERSON, &name, "").unwrap(), by_hand(&name));
            let one = person("(member={dn})", "x", &name).unwrap();
            prop_assert_eq!(one, Filter::equal("member", name.as_bytes()));
        }

        #[test]
        fn any_template_is_taken_or_refused(template in "[(){}&|!=*a-z:.\\\\]{0,60}") {
            let _ = person(&template, "ada", "uid=ada");
        }
    }

    #[test]
    fn known_tricks() {
        for name in
            ["*", "ada)(uid=*", "ada)(|(uid=*", "*)(objectClass=*", "\\2a", "a\0b", "{dn}", "jörg", ""]
        {
            assert_eq!(person(PERSON, name, "uid=other").unwrap(), by_hand(name), "{name:?}");
        }
    }

    #[test]
    fn anybody_is_a_question_for_presence() {
        let presence = fill("user_filter", "(uid={name})", Fill::Anybody).unwrap();
        assert_eq!(presence.0, [&[0x87, 3][..], b"uid"].concat());
        let nested = fill(
            "group_filter",
            "(member:1.2.840.113556.1.4.1941:={dn})",
            Fill::Person { name: "", dn: "a" },
        );
        assert_eq!(nested.unwrap().0[0], 0xa9);
    }

    #[test]
    fn templates_that_are_refused() {
        let deep = format!("{}(uid={{name}}){}", "(!".repeat(5_000), ")".repeat(5_000));
        let long = format!("(uid={}{{name}})", "x".repeat(5_000));
        for bad in
            ["", "uid", "(uid={name}", "(uid={name}))", "(&(uid={name})", &deep, &long, &"(".repeat(4_000)]
        {
            let fault = person(bad, "ada", "").expect_err(bad);
            assert_eq!(fault.field, "user_filter");
        }
    }
}
