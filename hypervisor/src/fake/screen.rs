//! A screen for a fake machine: as much of RFB 3.8 (RFC 6143) as a viewer needs to show a moving picture. No
//! authentication, raw encoding only, any true-colour pixel format the viewer asks for.

use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

const WIDTH: u16 = 320;
const HEIGHT: u16 = 200;
/// Height of the bar that moves down the screen.
const BAR: u16 = 20;
/// Pause before an update the viewer did not ask to have whole.
const FRAME: Duration = Duration::from_millis(100);
/// More clipboard text than this ends the session.
const TEXT_BYTES_MAX: u32 = 1 << 20;

/// Starts a screen; it ends when the viewer leaves or `alive` turns false.
pub(super) fn open(name: String, mut alive: watch::Receiver<bool>) -> io::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    theirs.set_nonblocking(true)?;
    let stream = tokio::net::UnixStream::from_std(ours)?;
    tokio::spawn(async move {
        tokio::select! {
            _ = alive.wait_for(|alive| !alive) => {}
            ended = serve(stream, &name) => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "the viewer of a fake screen left");
                }
            }
        }
    });
    Ok(theirs)
}

/// How the viewer wants its pixels.
#[derive(Clone, Copy)]
struct PixelFormat {
    bytes: usize,
    big_endian: bool,
    max: [u16; 3],
    shift: [u8; 3],
}

const FORMAT: [u8; 16] = [32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0];

impl PixelFormat {
    fn parse(raw: &[u8; 16]) -> io::Result<PixelFormat> {
        let bytes = match raw[0] {
            8 => 1,
            16 => 2,
            32 => 4,
            _ => return Err(io::Error::other("pixel size")),
        };
        let shift = [raw[10], raw[11], raw[12]];
        if raw[3] == 0 || shift.iter().any(|s| *s > 31) {
            return Err(io::Error::other("not a true-colour format"));
        }
        let max = |at: usize| u16::from_be_bytes([raw[at], raw[at + 1]]);
        Ok(PixelFormat { bytes, big_endian: raw[2] != 0, max: [max(4), max(6), max(8)], shift })
    }

    fn pixel(&self, rgb: [u8; 3]) -> Vec<u8> {
        let value = (0..3).fold(0u32, |value, i| {
            let scaled = u32::from(rgb[i]) * u32::from(self.max[i]) / 255;
            value | scaled.wrapping_shl(u32::from(self.shift[i]))
        });
        if self.big_endian {
            value.to_be_bytes()[4 - self.bytes..].to_vec()
        } else {
            value.to_le_bytes()[..self.bytes].to_vec()
        }
    }
}

async fn serve(mut stream: tokio::net::UnixStream, name: &str) -> io::Result<()> {
    greet(&mut stream, name).await?;
    let mut format = PixelFormat::parse(&FORMAT)?;
    let mut frame: u16 = 0;
    loop {
        match stream.read_u8().await? {
            0 => {
                skip(&mut stream, 3).await?;
                let mut raw = [0; 16];
                stream.read_exact(&mut raw).await?;
                format = PixelFormat::parse(&raw)?;
            }
            2 => {
                skip(&mut stream, 1).await?;
                let count = stream.read_u16().await?;
                skip(&mut stream, usize::from(count) * 4).await?;
            }
            3 => {
                let incremental = stream.read_u8().await? != 0;
                skip(&mut stream, 8).await?;
                if incremental {
                    tokio::time::sleep(FRAME).await;
                }
                stream.write_all(&picture(frame, format)).await?;
                frame = (frame + 2) % (HEIGHT - BAR);
            }
            4 => skip(&mut stream, 7).await?,
            5 => skip(&mut stream, 5).await?,
            6 => {
                skip(&mut stream, 3).await?;
                let length = stream.read_u32().await?;
                if length > TEXT_BYTES_MAX {
                    return Err(io::Error::other("clipboard too large"));
                }
                skip(&mut stream, usize::try_from(length).map_err(io::Error::other)?).await?;
            }
            other => return Err(io::Error::other(format!("message {other}"))),
        }
    }
}

async fn greet(stream: &mut tokio::net::UnixStream, name: &str) -> io::Result<()> {
    stream.write_all(b"RFB 003.008\n").await?;
    let mut version = [0; 12];
    stream.read_exact(&mut version).await?;
    // One security type: none. The console's ticket is checked long before this.
    stream.write_all(&[1, 1]).await?;
    if stream.read_u8().await? != 1 {
        return Err(io::Error::other("security type"));
    }
    stream.write_all(&0u32.to_be_bytes()).await?;
    stream.read_u8().await?;
    let mut init = Vec::with_capacity(24 + name.len());
    init.extend(WIDTH.to_be_bytes());
    init.extend(HEIGHT.to_be_bytes());
    init.extend(FORMAT);
    init.extend(u32::try_from(name.len()).map_err(io::Error::other)?.to_be_bytes());
    init.extend(name.as_bytes());
    stream.write_all(&init).await
}

/// One whole update: a bar at row `top` on a plain ground.
fn picture(top: u16, format: PixelFormat) -> Vec<u8> {
    let ground = format.pixel([0x12, 0x2b, 0x45]);
    let bar = format.pixel([0x2f, 0xb9, 0x8a]);
    let mut update = vec![0, 0, 0, 1];
    for field in [0, 0, WIDTH, HEIGHT] {
        update.extend(field.to_be_bytes());
    }
    update.extend(0i32.to_be_bytes());
    for row in 0..HEIGHT {
        let pixel = if (top..top + BAR).contains(&row) { &bar } else { &ground };
        update.extend(pixel.repeat(usize::from(WIDTH)));
    }
    update
}

async fn skip(stream: &mut tokio::net::UnixStream, mut bytes: usize) -> io::Result<()> {
    let mut sink = [0; 512];
    while bytes > 0 {
        let part = bytes.min(sink.len());
        stream.read_exact(&mut sink[..part]).await?;
        bytes -= part;
    }
    Ok(())
}
