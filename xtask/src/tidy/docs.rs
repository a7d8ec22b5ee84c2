//! Documents that stay true: every path they name exists, and every promise has its command.

use super::Source;
use std::path::Path;

/// Complaints about all Markdown files.
pub fn check(root: &Path, sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources.iter().filter(|source| source.path.ends_with(".md")) {
        for (at, line) in source.text.lines().enumerate() {
            let gone = named(line).into_iter().filter(|path| !exists(root, &source.path, path));
            complaints.extend(
                gone.map(|path| format!("{}:{}: names `{path}`, which does not exist", source.path, at + 1)),
            );
        }
    }
    match sources.iter().find(|source| source.path == "docs/promises.md") {
        Some(promises) => complaints.extend(check_promises(promises)),
        None => complaints.push("docs/promises.md is missing".into()),
    }
    complaints
}

/// Paths a line names: link targets, and code spans that begin with a place in this repository.
fn named(line: &str) -> Vec<String> {
    let links = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let links = links
        .filter(|link| !link.contains("://") && !link.starts_with('#'))
        .map(|link| link.split('#').next().unwrap_or(link));
    let spans = line.split('`').skip(1).step_by(2).filter(|span| {
        let vague = span.contains(|sign: char| sign.is_whitespace() || "<>*…{}$:".contains(sign));
        span.contains('/') && !vague && !span.starts_with(['/', '.', '-']) && !span.contains("://")
    });
    let in_house = spans.filter(|span| ROOMS.contains(&span.split('/').next().unwrap_or_default()));
    links.chain(in_house).filter(|path| !path.is_empty()).map(str::to_owned).collect()
}

const ROOMS: [&str; 14] = [
    "client",
    "contract",
    "control",
    "docs",
    "host",
    "hypervisor",
    "lab",
    "model",
    "node",
    "storage",
    "store",
    "web",
    "xtask",
    ".ci",
];

/// A path as written, or beside the document, or inside the room's `src`.
fn exists(root: &Path, document: &str, path: &str) -> bool {
    let beside = Path::new(document).parent().map(|folder| root.join(folder).join(path));
    let inside =
        path.split_once('/').map(|(room, rest)| root.join(room).join("src").join(rest.trim_end_matches('/')));
    let module = inside.as_ref().map(|inside| inside.with_extension("rs"));
    let places = [Some(root.join(path)), beside, inside, module];
    places.into_iter().flatten().any(|place| place.exists())
}

/// Each row: the promise, the command that measures it, and a figure or the words `not measured yet`.
fn check_promises(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    let rows = source.text.lines().enumerate().filter(|(_, line)| line.starts_with('|'));
    for (at, row) in rows.filter(|(_, row)| !row.contains("---")).skip(1) {
        let cells: Vec<&str> = row.trim().trim_matches('|').split('|').map(str::trim).collect();
        let place = format!("{}:{}", source.path, at + 1);
        let [_, command, measured] = cells[..] else {
            complaints.push(format!("{place}: a promise has three cells: promise, command, measured"));
            continue;
        };
        if command.matches('`').count() < 2 {
            complaints.push(format!("{place}: no command that measures it"));
        }
        if measured != "not measured yet" && !measured.contains(|sign: char| sign.is_ascii_digit()) {
            complaints.push(format!("{place}: neither a figure nor `not measured yet`"));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_in_links_and_code() {
        let line = "See [it](docs/a.md#x), `web/e2e/`, `node/api`, `./x up`, `services/<noun>`, `https://x/y`, `/etc/x`.";
        assert_eq!(named(line), ["docs/a.md", "web/e2e/", "node/api"]);
    }

    #[test]
    fn promises_need_commands_and_figures() {
        let text = "| P | C | M |\n|---|---|---|\n| a | `x` | 3 s |\n| b | x | 3 s |\n| c | `x` | soon |\n| d | `x` | not measured yet |\n| e |\n";
        let complaints = check_promises(&Source { path: "p".into(), text: text.into() });
        assert_eq!(complaints.len(), 3, "{complaints:?}");
    }
}
