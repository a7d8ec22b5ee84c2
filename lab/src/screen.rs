//! A guest's screen as a browser gets it: RFB (RFC 6143) in binary messages of a WebSocket.

use futures::{SinkExt as _, StreamExt as _};
use quantix_client::host::ConsoleStream;
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message;

/// A guest that is emulated twice paints slowly.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection to one screen.
pub struct Screen {
    socket: ConsoleStream,
    left: Vec<u8>,
    size: [u8; 4],
}

impl Screen {
    /// Greets the screen and learns its size.
    ///
    /// # Panics
    /// When it does not answer as RFB says.
    pub async fn open(socket: ConsoleStream) -> Screen {
        let mut screen = Screen { socket, left: Vec::new(), size: [0; 4] };
        assert!(screen.take(12).await.starts_with(b"RFB 003."), "a greeting");
        screen.send(b"RFB 003.008\n").await;
        assert_eq!(screen.take(2).await, [1, 1], "no password: whoever has the ticket may look");
        // That one, and then: shared.
        screen.send(&[1]).await;
        assert_eq!(screen.take(4).await, [0; 4], "let in");
        screen.send(&[1]).await;
        let init = screen.take(24).await;
        screen.size = [init[0], init[1], init[2], init[3]];
        let name = usize::from(u16::from_be_bytes([init[22], init[23]]));
        screen.take(name).await;
        screen
    }

    /// Waits until something on the screen changes; the first call answers with the whole screen. Answers how many
    /// pixels came.
    pub async fn painted(&mut self, whole: bool) -> usize {
        let request = [&[3, u8::from(!whole), 0, 0, 0, 0][..], &self.size].concat();
        self.send(&request).await;
        let head = self.take(4).await;
        assert_eq!(head[0], 0, "an update of the screen");
        let mut pixels = 0;
        for _ in 0..u16::from_be_bytes([head[2], head[3]]) {
            let rectangle = self.take(12).await;
            let side = |at: usize| usize::from(u16::from_be_bytes([rectangle[at], rectangle[at + 1]]));
            // Raw encoding, four bytes a pixel: nothing else was asked for.
            pixels += side(4) * side(6);
            self.take(side(4) * side(6) * 4).await;
        }
        pixels
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.socket.send(Message::binary(bytes.to_vec())).await.expect("the screen listens");
    }

    async fn take(&mut self, count: usize) -> Vec<u8> {
        while self.left.len() < count {
            let next = tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("the screen speaks");
            match next {
                Some(Ok(Message::Binary(bytes))) => self.left.extend_from_slice(&bytes),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("the screen ended: {other:?}"),
            }
        }
        let rest = self.left.split_off(count);
        std::mem::replace(&mut self.left, rest)
    }
}
