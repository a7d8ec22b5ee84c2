//! Fewer and larger steps for bulk on TLS lines; lines that carry little cost no memory for it.
//!
//! ```text
//!   hyper ◀── Gather: until the caller's buffer is full ◀── TLS, 16 KiB at a time ◀── ReadAhead: 64 KiB ◀── TCP
//! ```
//! rustls asks its socket for 4 KiB at a time and gives out single records. Between a browser, the vDC and a host that
//! is a system call for every page and a task switch for every record of a disk image.

use bytes::{Buf as _, BytesMut};
use std::io::{Error, IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

/// Read from the socket at once, while it has so much. From 128 KiB on the C library maps each buffer anew, and every
/// page of it costs a fault.
const AHEAD_BYTES: usize = 64 << 10;
/// After so many reads that the socket could fill in a row, a line carries bulk.
const FULL_READS: u8 = 4;

/// Reads large pieces from a socket whose reader asks for small ones. Holds memory only while bytes pour in.
#[derive(Debug)]
pub struct ReadAhead<S> {
    inner: S,
    ahead: BytesMut,
    full_reads: u8,
}

impl<S> ReadAhead<S> {
    /// A stream that is read ahead once it carries bulk.
    pub fn new(inner: S) -> ReadAhead<S> {
        ReadAhead { inner, ahead: BytesMut::new(), full_reads: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let this = &mut *self;
        if this.ahead.is_empty() && this.full_reads < FULL_READS {
            let room = buf.remaining();
            let before = buf.filled().len();
            ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
            let full = buf.filled().len() - before == room;
            this.full_reads = if full { this.full_reads + 1 } else { 0 };
            return Poll::Ready(Ok(()));
        }
        if this.ahead.is_empty() {
            this.ahead.reserve(AHEAD_BYTES);
            match poll_read_buf(Pin::new(&mut this.inner), cx, &mut this.ahead) {
                Poll::Ready(Ok(n)) if n > 0 => {
                    if n < buf.remaining() {
                        this.full_reads = 0;
                    }
                }
                other => {
                    // The line may stay quiet for hours now.
                    this.ahead = BytesMut::new();
                    return other.map_ok(|_| ());
                }
            }
        }
        let length = this.ahead.len().min(buf.remaining());
        buf.put_slice(&this.ahead[..length]);
        this.ahead.advance(length);
        Poll::Ready(Ok(()))
    }
}

/// Fills its reader's buffer with as many records as are there, instead of one.
#[derive(Debug)]
pub struct Gather<S> {
    inner: S,
    /// Happened behind bytes that had to be told first.
    error: Option<Error>,
}

impl<S> Gather<S> {
    /// A stream that gives as much as it has.
    pub fn new(inner: S) -> Gather<S> {
        Gather { inner, error: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gather<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        if let Some(error) = self.error.take() {
            return Poll::Ready(Err(error));
        }
        let begun = buf.filled().len();
        loop {
            let before = buf.filled().len();
            match Pin::new(&mut self.inner).poll_read(cx, buf) {
                // The end comes again at the next call.
                Poll::Ready(Ok(())) if buf.filled().len() == before || buf.remaining() == 0 => {
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) if before > begun => {
                    self.error = Some(error);
                    return Poll::Ready(Ok(()));
                }
                Poll::Pending if before > begun => return Poll::Ready(Ok(())),
                other => return other,
            }
        }
    }
}

/// What is written goes through as it is: only reading is bundled.
macro_rules! writes_through {
    ($reader:ident) => {
        impl<S: AsyncWrite + Unpin> AsyncWrite for $reader<S> {
            fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
                Pin::new(&mut self.inner).poll_write(cx, buf)
            }

            fn poll_write_vectored(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[IoSlice<'_>],
            ) -> Poll<Result<usize>> {
                Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
            }

            fn is_write_vectored(&self) -> bool {
                self.inner.is_write_vectored()
            }

            fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
                Pin::new(&mut self.inner).poll_flush(cx)
            }

            fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
                Pin::new(&mut self.inner).poll_shutdown(cx)
            }
        }
    };
}

writes_through!(ReadAhead);
writes_through!(Gather);

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    proptest! {
        /// Whatever sizes bytes come and are asked for in, they come out the same and end at the same place.
        #[test]
        fn bytes_come_through_as_they_are(
            sizes in prop::collection::vec(1usize..40_000, 1..40),
            pipe in 1usize..300_000,
            ask in 1usize..9_000,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async move {
                let sent: Vec<u8> = (0..sizes.iter().sum::<usize>()).map(|n| (n % 251) as u8).collect();
                let (mut far, near) = tokio::io::duplex(pipe);
                let expected = sent.clone();
                let sender = tokio::spawn(async move {
                    let mut rest = sent.as_slice();
                    for size in sizes {
                        far.write_all(&rest[..size]).await.unwrap();
                        rest = &rest[size..];
                    }
                });
                let mut stream = Gather::new(ReadAhead::new(near));
                let (mut got, mut piece) = (Vec::new(), vec![0; ask]);
                loop {
                    let n = stream.read(&mut piece).await.unwrap();
                    if n == 0 {
                        break;
                    }
                    got.extend_from_slice(&piece[..n]);
                }
                sender.await.unwrap();
                assert!(got == expected, "{} of {} bytes", got.len(), expected.len());
                assert_eq!(stream.read(&mut piece).await.unwrap(), 0, "the end stays the end");
            });
        }
    }

    #[tokio::test]
    async fn a_quiet_line_holds_no_memory() {
        let (mut far, near) = tokio::io::duplex(1 << 20);
        let mut line = ReadAhead::new(near);
        far.write_all(&vec![7; 600_000]).await.unwrap();
        let mut piece = vec![0; 4096];
        let mut seen = 0;
        let mut ahead = 0;
        while seen < 600_000 {
            seen += line.read(&mut piece).await.unwrap();
            ahead = ahead.max(line.ahead.capacity());
        }
        assert!(ahead > 4 * piece.len(), "{ahead}");
        let quiet = tokio::time::timeout(std::time::Duration::from_millis(10), line.read(&mut piece)).await;
        assert!(quiet.is_err());
        assert_eq!(line.ahead.capacity(), 0);
    }

    #[tokio::test]
    async fn what_came_before_an_error_is_told_first() {
        let pieces =
            [Ok(Bytes::from_static(b"abc")), Ok(Bytes::from_static(b"def")), Err(Error::other("cut"))];
        let inner = tokio_util::io::StreamReader::new(futures::stream::iter(pieces));
        let mut stream = Gather::new(inner);
        let mut piece = [0; 16];
        assert_eq!(stream.read(&mut piece).await.unwrap(), 6);
        assert_eq!(&piece[..6], b"abcdef");
        assert!(stream.read(&mut piece).await.is_err());
    }
}
