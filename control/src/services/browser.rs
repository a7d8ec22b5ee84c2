//! What signed in, in words that its owner knows again: `Firefox on Linux`.

/// Letters kept of what nobody knows.
const CHARS_MAX: usize = 40;

/// In the order in which they must be looked for: nearly all call themselves by the names of others, too.
const BROWSERS: [(&str, &str); 12] = [
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("Vivaldi/", "Vivaldi"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("HeadlessChrome/", "Chrome (headless)"),
    ("CriOS/", "Chrome"),
    ("Chromium/", "Chromium"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("curl/", "curl"),
];

const SYSTEMS: [(&str, &str); 8] = [
    ("Windows", "Windows"),
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
    ("FreeBSD", "FreeBSD"),
];

/// The words for a `User-Agent`; empty for an empty one. Never longer than a line, never anything but printable ASCII.
pub fn in_words(user_agent: &str) -> String {
    let look = |table: &[(&'static str, &'static str)]| {
        table.iter().find(|(mark, _)| user_agent.contains(mark)).map(|(_, word)| *word)
    };
    match (look(&BROWSERS), look(&SYSTEMS)) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(browser), None) => browser.to_owned(),
        (None, _) => {
            let first = user_agent.split(' ').next().unwrap_or_default();
            first.chars().filter(char::is_ascii_graphic).take(CHARS_MAX).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::in_words;

    #[test]
    fn browsers() {
        for (text, words) in [
            ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
            (
                "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/140.0 Safari/537.36 Edg/140.0",
                "Edge on Windows",
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5) AppleWebKit/605.1 Version/17.5 Safari/605.1",
                "Safari on macOS",
            ),
            ("curl/8.5.0", "curl"),
            ("quantix-cli/0.1 (x)", "quantix-cli/0.1"),
            ("", ""),
            ("\u{1b}[31mevil\u{202e} x", "[31mevil"),
        ] {
            assert_eq!(in_words(text), words);
        }
        assert_eq!(in_words(&"x".repeat(5000)).len(), 40);
    }
}
