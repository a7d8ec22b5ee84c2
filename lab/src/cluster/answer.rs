//! An HTTP answer, taken apart by hand: also what breaks the rules must be seen as it is.

/// An answer to a plain HTTP request.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// 0 when none came.
    pub status: u16,
    /// As sent.
    pub head: String,
    /// As text.
    pub body: String,
}

impl Answer {
    pub(super) fn read(bytes: &[u8]) -> Answer {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}
