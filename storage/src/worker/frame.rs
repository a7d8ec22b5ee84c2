//! Frames on the socket: two little-endian lengths, a JSON head, raw bytes behind it.
//!
//! ```text
//!   ┌──────────┬──────────┬───────────┬─────────┐
//!   │ head u32 │ body u32 │ head JSON │ body    │
//!   └──────────┴──────────┴───────────┴─────────┘
//! ```

use crate::error::Result;
use bytes::Bytes;
use quantix_model::Fault;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, IoSlice, Read, Write};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The largest head: a list of a hundred thousand volumes.
pub const HEAD_BYTES_MAX: usize = 32 << 20;
/// The largest body: one piece of an upload.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// Pieces given to the kernel in one call; it takes 1024 at most.
const PIECES_AT_ONCE: usize = 64;

/// Lengths and head of a frame, ready to send; the body follows unchanged.
pub fn encode(head: &impl Serialize, body_bytes: usize) -> Result<Vec<u8>> {
    let mut out = vec![0; 8];
    serde_json::to_writer(&mut out, head).map_err(Fault::internal)?;
    let head_bytes = out.len() - 8;
    if head_bytes > HEAD_BYTES_MAX || body_bytes > BODY_BYTES_MAX {
        return Err(Fault::internal(format!("a frame of {head_bytes} + {body_bytes} bytes is too large")));
    }
    let lengths = [head_bytes as u32, body_bytes as u32];
    out[..4].copy_from_slice(&lengths[0].to_le_bytes());
    out[4..8].copy_from_slice(&lengths[1].to_le_bytes());
    Ok(out)
}

fn lengths(prefix: [u8; 8]) -> io::Result<(usize, usize)> {
    let [a, b, c, d, e, f, g, h] = prefix;
    let head = u32::from_le_bytes([a, b, c, d]) as usize;
    let body = u32::from_le_bytes([e, f, g, h]) as usize;
    if head > HEAD_BYTES_MAX || body > BODY_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "frame too large"));
    }
    Ok((head, body))
}

fn parse<T: DeserializeOwned>(head: &[u8]) -> io::Result<T> {
    serde_json::from_slice(head).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

/// Writes one frame.
pub fn write(stream: &mut impl Write, head: &impl Serialize, body: &[u8]) -> io::Result<()> {
    let start = encode(head, body.len()).map_err(|f| io::Error::new(io::ErrorKind::InvalidData, f))?;
    stream.write_all(&start)?;
    stream.write_all(body)
}

/// Writes a head and the pieces of its body, in as few steps as the socket allows.
pub async fn write_pieces(
    sink: &mut (impl AsyncWrite + Unpin),
    head: &[u8],
    body: &[Bytes],
) -> io::Result<()> {
    let mut all: Vec<IoSlice<'_>> =
        std::iter::once(head).chain(body.iter().map(|b| &b[..])).map(IoSlice::new).collect();
    let mut rest = &mut all[..];
    // Empty pieces at the front would look like a socket that takes nothing.
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        match sink.write_vectored(&rest[..rest.len().min(PIECES_AT_ONCE)]).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            n => IoSlice::advance_slices(&mut rest, n),
        }
    }
    Ok(())
}

/// Reads one frame, its body into `body`. `None` when the other side closed between frames.
pub fn read<T: DeserializeOwned>(stream: &mut impl Read, body: &mut Vec<u8>) -> io::Result<Option<T>> {
    let mut prefix = [0; 8];
    let mut got = 0;
    while got < prefix.len() {
        match stream.read(&mut prefix[got..]) {
            Ok(0) if got == 0 => return Ok(None),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => got += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    let (head_bytes, body_bytes) = lengths(prefix)?;
    let mut head = vec![0; head_bytes];
    stream.read_exact(&mut head)?;
    body.resize(body_bytes, 0);
    stream.read_exact(body)?;
    parse(&head).map(Some)
}

/// Reads one frame without blocking the thread. `None` when the other side closed between frames.
pub async fn read_async<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<(T, Bytes)>> {
    let mut prefix = [0; 8];
    match stream.read_exact(&mut prefix).await {
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e),
    }
    let (head_bytes, body_bytes) = lengths(prefix)?;
    let mut head = vec![0; head_bytes];
    stream.read_exact(&mut head).await?;
    let mut body = vec![0; body_bytes];
    stream.read_exact(&mut body).await?;
    Ok(Some((parse(&head)?, body.into())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn frames_come_back(head in ".*", body in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut wire = Vec::new();
            write(&mut wire, &head, &body).unwrap();
            let mut pieces = Vec::new();
            let cut: Vec<Bytes> = body.chunks(7).map(Bytes::copy_from_slice).chain([Bytes::new()]).collect();
            let start = encode(&head, body.len()).unwrap();
            let writing = write_pieces(&mut pieces, &start, &cut);
            tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(writing).unwrap();
            prop_assert_eq!(&pieces, &wire);
            write(&mut wire, &head, &[]).unwrap();
            let mut source = wire.as_slice();
            let mut got = Vec::new();
            prop_assert_eq!(read::<String>(&mut source, &mut got).unwrap(), Some(head.clone()));
            prop_assert_eq!(&got, &body);
            prop_assert_eq!(read::<String>(&mut source, &mut got).unwrap(), Some(head));
            prop_assert!(got.is_empty());
            prop_assert_eq!(read::<String>(&mut source, &mut got).unwrap(), None);
        }

        #[test]
        fn rubbish_is_an_error_never_a_panic(wire in prop::collection::vec(any::<u8>(), 1..200)) {
            let _ = read::<String>(&mut wire.as_slice(), &mut Vec::new());
        }
    }

    #[test]
    fn lengths_beyond_the_limits_are_refused_before_memory_is_taken() {
        let wire = [0xff; 8];
        assert!(read::<String>(&mut wire.as_slice(), &mut Vec::new()).is_err());
        assert!(encode(&"x", BODY_BYTES_MAX + 1).is_err());
    }
}
