//! Sizes a person can hold in mind: files, functions, traits; and a head on every module.
//!
//! It leans on rustfmt: an item ends at the first `}` that stands at the item's own indentation.

use super::Source;

const CODE_LINES_MAX: usize = 600;
const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;
const TRAIT_METHODS_MAX: usize = 10;

/// Complaints about one file's sizes.
pub fn check(source: &Source) -> Vec<String> {
    if !source.has_kind(&[".rs", ".ts", ".tsx", ".mjs", ".css", ".proto"]) {
        return Vec::new();
    }
    let lines: Vec<&str> = source.text.lines().collect();
    let mut complaints = files(source, &lines);
    if source.has_kind(&[".rs"]) {
        if !lines.first().is_some_and(|line| line.starts_with("//!")) {
            complaints
                .push(format!("{}:1: begins without a `//!` head that says why it exists", source.path));
        }
        complaints.extend(items(source, &lines));
    }
    complaints
}

fn files(source: &Source, lines: &[&str]) -> Vec<String> {
    let tests_only = source.path.contains("/tests/") || source.path.contains(".test.");
    let code = lines.iter().position(|line| line.starts_with("#[cfg(test)]")).unwrap_or(lines.len());
    let mut complaints = Vec::new();
    if code > CODE_LINES_MAX && !tests_only {
        complaints.push(format!("{}: {code} lines of code, at most {CODE_LINES_MAX}", source.path));
    } else if lines.len() > FILE_LINES_MAX {
        complaints.push(format!(
            "{}: {} lines with tests, at most {FILE_LINES_MAX}",
            source.path,
            lines.len()
        ));
    }
    complaints
}

fn items(source: &Source, lines: &[&str]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let number = at + 1;
        if let Some(name) = item_name(line, "fn ") {
            let body = &lines[at..at + length(&lines[at..])];
            let length = body.len() - quoted(body);
            if length > FUNCTION_LINES_MAX {
                complaints.push(format!(
                    "{}:{number}: `{name}` has {length} lines, at most {FUNCTION_LINES_MAX}",
                    source.path
                ));
            }
        }
        if let Some(name) = item_name(line, "trait ") {
            let body = &lines[at..at + length(&lines[at..])];
            let inner = indentation(line) + 4;
            let methods = body
                .iter()
                .filter(|line| indentation(line) == inner && item_name(line, "fn ").is_some())
                .count();
            if methods > TRAIT_METHODS_MAX {
                complaints.push(format!(
                    "{}:{number}: trait `{name}` has {methods} methods, at most {TRAIT_METHODS_MAX}",
                    source.path
                ));
            }
        }
    }
    complaints
}

/// The name of the function or trait that begins on this line.
fn item_name<'a>(line: &'a str, keyword: &str) -> Option<&'a str> {
    const BEFORE: [&str; 8] =
        ["pub ", "pub(crate) ", "pub(super) ", "const ", "async ", "unsafe ", "extern \"C\" ", "default "];
    let mut rest = line.trim_start();
    while let Some(shorter) = BEFORE.iter().find_map(|word| rest.strip_prefix(word)) {
        rest = shorter;
    }
    let name = rest.strip_prefix(keyword)?;
    Some(name.split(|sign: char| !sign.is_alphanumeric() && sign != '_').next().unwrap_or(name))
}

fn length(lines: &[&str]) -> usize {
    let Some(first) = lines.first() else { return 0 };
    // A signature without a body, or a body on one line.
    let whole = |line: &str| line.ends_with(';') || line.ends_with('}');
    if whole(first) {
        return 1;
    }
    let own = indentation(first);
    let last = lines
        .iter()
        .skip(1)
        .position(|line| indentation(line) == own && (line.trim_start().starts_with('}') || whole(line)));
    last.map_or(lines.len(), |last| last + 2)
}

/// Lines inside raw strings: recorded output is data, not code.
fn quoted(lines: &[&str]) -> usize {
    let mut inside = None;
    let mut count = 0;
    for line in lines {
        match inside {
            Some(end) if line.contains(end) => inside = None,
            Some(_) => count += 1,
            None => {
                let open = [("r##\"", "\"##"), ("r#\"", "\"#"), ("r\"", "\"")];
                let open = open.into_iter().find_map(|(open, end)| Some((line.split_once(open)?.1, end)));
                inside = open.filter(|(rest, end)| !rest.contains(end)).map(|(_, end)| end);
            }
        }
    }
    count
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(text: String) -> Vec<String> {
        check(&Source { path: "a/src/b.rs".into(), text })
    }

    #[test]
    fn a_long_function_is_named_with_its_line() {
        let long =
            format!("//! Head.\npub async fn long(\n    x: u8,\n) -> u8 {{\n{}}}\n", "    x;\n".repeat(70));
        assert_eq!(complaints(long), ["a/src/b.rs:2: `long` has 74 lines, at most 70"]);
        let short = format!(
            "//! Head.\nfn short() {{\n{}}}\nfn next() {{\n{}}}\n",
            "    x;\n".repeat(60),
            "    x;\n".repeat(60)
        );
        assert!(complaints(short).is_empty());
    }

    #[test]
    fn recorded_output_is_no_code() {
        let data =
            format!("//! Head.\nfn short() {{\n    check(r#\"\n{}\"#);\n}}\n", "<x a=\"1\"/>\n".repeat(90));
        assert!(complaints(data).is_empty());
    }

    #[test]
    fn a_wide_trait_is_named() {
        let wide = format!("//! Head.\ntrait Wide {{\n{}}}\n", "    fn x(&self);\n".repeat(11));
        assert_eq!(complaints(wide), ["a/src/b.rs:2: trait `Wide` has 11 methods, at most 10"]);
    }

    #[test]
    fn heads_and_lengths_are_counted() {
        assert_eq!(complaints("fn x() {}\n".into()).len(), 1);
        assert_eq!(complaints(format!("//! Head.\n{}", "// x\n".repeat(600))).len(), 1);
        let tested = format!("//! Head.\n{}#[cfg(test)]\n{}", "// x\n".repeat(590), "// t\n".repeat(180));
        assert!(complaints(tested).is_empty());
    }
}
