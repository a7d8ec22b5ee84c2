//! Bodies that look right and are not: JSON and protobuf made from the contract's own descriptors, then spoiled.
//!
//! Nothing that answers are searched for (see `judge`) may be made here: a refusal may quote what it refuses.

use prost_reflect::{Cardinality, FieldDescriptor, Kind, MessageDescriptor};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, RngCore as _};

/// Messages within messages are made so deep.
const DEPTH_MAX: u32 = 4;

/// Texts that lead further into the product than random ones.
#[derive(Clone, Debug, Default)]
pub struct Words {
    /// By the name of the field they fit, or `""` for any.
    pub texts: Vec<(String, String)>,
    /// For fields of bytes.
    pub bytes: Vec<Vec<u8>>,
}

impl Words {
    fn text(&self, field: &str, dice: &mut StdRng) -> String {
        let fitting: Vec<&String> =
            self.texts.iter().filter(|(name, _)| name == field).map(|(_, text)| text).collect();
        match fitting.choose(dice) {
            Some(text) if dice.random_bool(0.7) => (*text).clone(),
            _ => text(dice),
        }
    }

    fn bytes(&self, dice: &mut StdRng) -> Vec<u8> {
        match self.bytes.choose(dice) {
            Some(bytes) if dice.random_bool(0.5) => bytes.clone(),
            _ => noise(dice, 200),
        }
    }
}

/// Random bytes, up to so many.
pub fn noise(dice: &mut StdRng, most: usize) -> Vec<u8> {
    let mut bytes = vec![0; dice.random_range(0..=most)];
    dice.fill_bytes(&mut bytes);
    bytes
}

/// A text, plain or not.
pub fn text(dice: &mut StdRng) -> String {
    let long = 1 << dice.random_range(4..18);
    let all = [
        String::new(),
        "admin".into(),
        "Admin ".into(),
        "root".into(),
        "0".into(),
        "-1".into(),
        "null".into(),
        "00000000-0000-7000-8000-000000000000".into(),
        "' OR 1=1 --".into(),
        "%s%n%x".into(),
        "${jndi}".into(),
        "<script>".into(),
        "..".into(),
        "\u{0}".into(),
        "a\u{0}b".into(),
        "line\r\nSet-Cookie: x=y".into(),
        "\u{202e}gnirts".into(),
        "\u{feff}".into(),
        "\u{10ffff}".into(),
        "e\u{301}".repeat(300),
        "a".repeat(long),
        "ß".repeat(long / 2),
        "123456".into(),
        "https://192.0.2.1:9443".into(),
        "not a url".into(),
        "2026-01-01T00:00:00Z".into(),
        "9999-99-99T99:99:99Z".into(),
        "1e400".into(),
    ];
    all.choose(dice).cloned().unwrap_or_default()
}

/// A message as JSON, more or less as the contract wants it.
pub fn json(of: &MessageDescriptor, words: &Words, dice: &mut StdRng) -> Vec<u8> {
    let mut out = Vec::new();
    json_message(of, words, dice, 0, &mut out);
    if dice.random_bool(0.15) {
        spoil(&mut out, dice);
    }
    out
}

fn json_message(of: &MessageDescriptor, words: &Words, dice: &mut StdRng, depth: u32, out: &mut Vec<u8>) {
    // Well-known types are texts in JSON.
    if of.full_name() == "google.protobuf.Timestamp" && dice.random_bool(0.8) {
        return quote(&text(dice), out);
    }
    out.push(b'{');
    let mut first = true;
    for field in of.fields().filter(|_| depth <= DEPTH_MAX) {
        let times = match dice.random_range(0..20) {
            0..2 => 0,
            2 => 2,
            _ => 1,
        };
        for _ in 0..times {
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            let name = if dice.random_bool(0.9) { field.json_name() } else { field.name() };
            let name = if dice.random_bool(0.02) { "__proto__" } else { name };
            quote(name, out);
            out.push(b':');
            json_field(&field, words, dice, depth, out);
        }
    }
    if dice.random_bool(0.05) {
        let comma: &[u8] = if first { b"" } else { b"," };
        out.extend_from_slice(&[comma, b"\"unheardOf\":"].concat());
        hostile(dice, out);
    }
    out.push(b'}');
}

fn json_field(field: &FieldDescriptor, words: &Words, dice: &mut StdRng, depth: u32, out: &mut Vec<u8>) {
    if dice.random_bool(0.12) {
        return hostile(dice, out);
    }
    if field.cardinality() == Cardinality::Repeated && !field.is_map() {
        out.push(b'[');
        for n in 0..dice.random_range(0..3) {
            if n > 0 {
                out.push(b',');
            }
            json_value(field, words, dice, depth, out);
        }
        return out.push(b']');
    }
    json_value(field, words, dice, depth, out);
}

fn json_value(field: &FieldDescriptor, words: &Words, dice: &mut StdRng, depth: u32, out: &mut Vec<u8>) {
    use base64::Engine as _;
    match field.kind() {
        Kind::Message(message) => json_message(&message, words, dice, depth + 1, out),
        Kind::String => quote(&words.text(field.name(), dice), out),
        Kind::Bytes => {
            quote(&base64::engine::general_purpose::STANDARD.encode(words.bytes(dice)), out);
        }
        Kind::Bool => out.extend_from_slice(if dice.random() { b"true" } else { b"false" }),
        Kind::Enum(_) if dice.random() => quote(&text(dice), out),
        _ => {
            let numbers = ["0", "1", "-1", "4294967295", "4294967296", "18446744073709551616", "1.5", "1e9"];
            out.extend_from_slice(numbers.choose(dice).copied().unwrap_or("7").as_bytes());
        }
    }
}

fn quote(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
}

/// What fits no field, as JSON or nearly.
fn hostile(dice: &mut StdRng, out: &mut Vec<u8>) {
    let deep = 1 << dice.random_range(3..15);
    let all: [Vec<u8>; 16] = [
        b"null".to_vec(),
        b"true".to_vec(),
        b"-0".to_vec(),
        b"1e999".to_vec(),
        b"NaN".to_vec(),
        b"Infinity".to_vec(),
        b"[]".to_vec(),
        b"{}".to_vec(),
        "9".repeat(5000).into_bytes(),
        b"\"\xff\xfe\"".to_vec(),
        b"\"\\ud800\"".to_vec(),
        b"\"\\u0000\"".to_vec(),
        b"\"\x01\x1f\"".to_vec(),
        b"\"no end".to_vec(),
        [vec![b'['; deep], vec![b']'; deep]].concat(),
        ["{\"a\":".repeat(deep).into_bytes(), b"1".to_vec(), vec![b'}'; deep]].concat(),
    ];
    out.extend_from_slice(all.choose(dice).map_or(b"0", Vec::as_slice));
}

/// A message in protobuf's own form.
pub fn proto(of: &MessageDescriptor, words: &Words, dice: &mut StdRng) -> Vec<u8> {
    let mut out = proto_message(of, words, dice, 0);
    if dice.random_bool(0.3) {
        spoil(&mut out, dice);
    }
    out
}

fn proto_message(of: &MessageDescriptor, words: &Words, dice: &mut StdRng, depth: u32) -> Vec<u8> {
    let mut out = Vec::new();
    for field in of.fields().filter(|_| depth <= DEPTH_MAX) {
        if dice.random_bool(0.1) {
            continue;
        }
        let number = u64::from(field.number()) << 3;
        if dice.random_bool(0.08) {
            odd_field(number, dice, &mut out);
            continue;
        }
        match field.kind() {
            Kind::Message(message) => {
                sized(number, &proto_message(&message, words, dice, depth + 1), &mut out);
            }
            Kind::String => sized(number, words.text(field.name(), dice).as_bytes(), &mut out),
            Kind::Bytes => sized(number, &words.bytes(dice), &mut out),
            Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => {
                varint(number | 1, &mut out);
                out.extend_from_slice(&dice.random::<[u8; 8]>());
            }
            Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => {
                varint(number | 5, &mut out);
                out.extend_from_slice(&dice.random::<[u8; 4]>());
            }
            _ => {
                varint(number, &mut out);
                varint(dice.random::<u64>() >> dice.random_range(0..64), &mut out);
            }
        }
    }
    out
}

/// A field that no encoder writes.
fn odd_field(number: u64, dice: &mut StdRng, out: &mut Vec<u8>) {
    match dice.random_range(0..9) {
        // Text that is no UTF-8.
        0 => sized(number, b"\xff\xfe\xfd", out),
        // Another wire type than the field's.
        1 => varint(number | dice.random_range(0..8), out),
        // Longer than what follows, and longer than memory.
        2 => {
            varint(number | 2, out);
            varint(u64::MAX >> dice.random_range(0..40), out);
        }
        // A number that never ends.
        3 => out.extend_from_slice(&[0xff; 20]),
        // Groups within groups.
        4 => out.extend_from_slice(&vec![(number | 3) as u8; 1 << dice.random_range(2..16)]),
        // The end of a group that never began.
        5 => varint(number | 4, out),
        // Field 0, and one beyond the largest.
        6 => varint(dice.random_range(0..8), out),
        7 => varint(u64::MAX, out),
        // Messages within themselves.
        _ => {
            let mut inner = Vec::new();
            for _ in 0..dice.random_range(1..300) {
                let mut outer = Vec::new();
                sized(number, &inner, &mut outer);
                inner = outer;
            }
            out.extend_from_slice(&inner);
        }
    }
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

fn sized(number: u64, bytes: &[u8], out: &mut Vec<u8>) {
    varint(number | 2, out);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Cuts, flips, doubles or fills in.
pub fn spoil(bytes: &mut Vec<u8>, dice: &mut StdRng) {
    for _ in 0..dice.random_range(1..4) {
        let at = dice.random_range(0..=bytes.len());
        match dice.random_range(0..5) {
            0 => bytes.truncate(at),
            1 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << dice.random_range(0..8);
                }
            }
            2 => {
                let tail = bytes.split_off(at);
                bytes.extend(noise(dice, 16));
                bytes.extend(tail);
            }
            3 => {
                let tail: Vec<u8> = bytes.get(at..).unwrap_or_default().iter().take(4096).copied().collect();
                bytes.extend(tail);
            }
            _ => bytes.insert(at, *[0u8, 0xff, b'"', b'{', b'\\'].choose(dice).unwrap_or(&0)),
        }
    }
}
