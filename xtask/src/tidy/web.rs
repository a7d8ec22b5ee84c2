//! The web app's packages: exact versions, and a lock that any registry can serve.

use super::Source;
use serde_json::Value;

/// Complaints about package manifests and their locks.
pub fn check(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources {
        match source.path.rsplit('/').next() {
            Some("package.json") => complaints.extend(manifest(source)),
            Some("package-lock.json") => complaints.extend(lock(source)),
            _ => {}
        }
    }
    complaints
}

fn manifest(source: &Source) -> Vec<String> {
    let Ok(value) = serde_json::from_str::<Value>(&source.text) else {
        return vec![format!("{}: is no JSON", source.path)];
    };
    let groups = ["dependencies", "devDependencies", "optionalDependencies"];
    let packages = groups.iter().filter_map(|group| value[group].as_object()).flatten();
    let loose = packages.filter(|(_, version)| !version.as_str().is_some_and(exact));
    loose
        .map(|(name, version)| format!("{}: `{name}` at {version} is no exact version", source.path))
        .collect()
}

fn exact(version: &str) -> bool {
    let core = version.split(['-', '+']).next().unwrap_or(version);
    let numbers: Vec<&str> = core.split('.').collect();
    numbers.len() == 3
        && numbers
            .iter()
            .all(|number| !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()))
}

fn lock(source: &Source) -> Vec<String> {
    let hosts = source.text.lines().enumerate().filter(|(_, line)| line.contains("\"resolved\": \"http"));
    hosts
        .take(1)
        .map(|(at, _)| {
            format!(
                "{}:{}: names a registry's host; set omit-lockfile-registry-resolved",
                source.path,
                at + 1
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_exact_and_locks_name_no_host() {
        let source = |text: &str| Source { path: "web/package.json".into(), text: text.into() };
        let text = r#"{"dependencies": {"a": "^1.0.0", "b": "1.2.3", "c": "1.2"}, "devDependencies": {"d": "1.0.0-rc.1"}}"#;
        assert_eq!(manifest(&source(text)).len(), 2);
        assert_eq!(lock(&source("{\n\"resolved\": \"https://r/x.tgz\"\n}")).len(), 1);
        assert!(lock(&source("{\n\"integrity\": \"x\"\n}")).is_empty());
    }
}
