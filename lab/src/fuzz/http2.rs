//! HTTP/2 as no client speaks it: frames (RFC 9113) in any order, of any length, for any stream.

use super::Targets;
use super::case::Case;
use super::shape::noise;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or(0).to_be_bytes();
    let mut out = vec![length[1], length[2], length[3], kind, flags];
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(body);
    out
}

/// A literal header that is not indexed, its texts not squeezed (RFC 7541, 6.2.2).
fn header(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str, out: &mut Vec<u8>| {
        let mut length = text.len();
        if length < 127 {
            out.push(length as u8);
        } else {
            out.push(127);
            length -= 127;
            while length >= 128 {
                out.push((length & 0x7f) as u8 | 0x80);
                length >>= 7;
            }
            out.push(length as u8);
        }
        out.extend_from_slice(text.as_bytes());
    };
    let mut out = vec![0];
    text(name, &mut out);
    text(value, &mut out);
    out
}

fn request(path: &str) -> Vec<u8> {
    let all = [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", path),
        (":authority", "quantix.example"),
        ("content-type", "application/json"),
    ];
    all.iter().flat_map(|(name, value)| header(name, value)).collect()
}

/// One connection's worth of it.
pub fn case(number: u64, targets: &Targets, dice: &mut StdRng) -> Case {
    let path = targets.paths.choose(dice).map_or("/healthz", String::as_str);
    let headers = request(path);
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    for _ in 0..dice.random_range(1..6) {
        bytes.extend(frames(&headers, dice));
    }
    if dice.random_bool(0.1) {
        super::shape::spoil(&mut bytes, dice);
    }
    Case {
        number,
        kind: "http2",
        about: path.to_owned(),
        at: targets.either(dice),
        is_http2: true,
        bytes,
        is_whole: false,
        is_head: false,
        is_grpc: false,
        has_deadline: false,
    }
}

fn frames(headers: &[u8], dice: &mut StdRng) -> Vec<u8> {
    let stream = 1 + 2 * dice.random_range(0..50u32);
    let begin = frame(HEADERS, END_HEADERS, stream, headers);
    match dice.random_range(0..14) {
        // A request as it should be.
        0 => [begin, frame(DATA, END_STREAM, stream, b"{}")].concat(),
        // Begun and taken back, over and over.
        1 => (0..300u32)
            .flat_map(|n| {
                let stream = 1 + 2 * (stream + n);
                [
                    frame(HEADERS, END_HEADERS | END_STREAM, stream, headers),
                    frame(RESET, 0, stream, &[0, 0, 0, 8]),
                ]
            })
            .flatten()
            .collect(),
        // Headers that never end.
        2 => {
            let more = frame(CONTINUATION, 0, stream, &header("x", &"y".repeat(4000)));
            [frame(HEADERS, 0, stream, headers), more.repeat(dice.random_range(1..100))].concat()
        }
        3 => frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff]),
        4 => frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1]).repeat(500),
        5 => frame(SETTINGS, 0, stream, &[1, 2, 3]),
        6 => frame(PING, 0, 0, &[7; 8]).repeat(1000),
        7 => frame(WINDOW, 0, stream, &[0; 4]),
        8 => frame(WINDOW, 0, 0, &[0x7f, 0xff, 0xff, 0xff]).repeat(3),
        9 => [begin, frame(DATA, 8, stream, &[255, 1, 2])].concat(),
        10 => frame(HEADERS, END_HEADERS, 2 * stream, headers),
        // Longer than it may be, and cut off.
        11 => vec![0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1],
        12 => frame(dice.random(), dice.random(), dice.random::<u32>() & 0xff, &noise(dice, 300)),
        // A table of headers that is grown and looked into beyond its end.
        _ => frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            stream,
            &[0x3f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0x0f],
        ),
    }
}
