//! Each line of the log has the target that the crate's documentation names for its part of `src`.

use std::fs;
use std::path::{Path, PathBuf};

/// The parts of `src`, and the targets of what they log.
const TARGETS: &[(&str, &[&str])] = &[
    ("rowferry::pull", &["pull", "ledger"]),
    ("rowferry::serve", &["serve", "export"]),
    ("rowferry::access", &["access"]),
    ("rowferry::client", &["client", "net"]),
    ("rowferry::notify", &["notify", "maintain"]),
    ("rowferry::site", &["site"]),
    ("rowferry::store", &["store"]),
];

const MACROS: [&str; 5] = ["log::error!(", "log::warn!(", "log::info!(", "log::debug!(", "log::trace!("];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        match entry.is_dir() {
            true if entry.ends_with("bin") => {}
            true => sources(&entry, found),
            false if entry.extension().is_some_and(|end| end == "rs") => found.push(entry),
            false => {}
        }
    }
}

#[test]
fn each_line_of_the_log_has_its_target() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let documentation = fs::read_to_string(src.join("lib.rs")).unwrap();
    let mut files = Vec::new();
    sources(&src, &mut files);
    let (mut lines, mut wrong) = (0, Vec::new());
    for file in &files {
        let within = file.strip_prefix(&src).unwrap();
        let part = within.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        let text = fs::read_to_string(file).unwrap();
        for (at, name) in MACROS.iter().flat_map(|name| text.match_indices(name)) {
            lines += 1;
            let target = TARGETS.iter().find(|(_, parts)| parts.contains(&part)).map_or("none", |(target, _)| target);
            if !text[at + name.len()..].trim_start().starts_with(&format!("target: \"{target}\",")) {
                wrong.push(format!("{}: {name} is not of {target}", within.display()));
            }
        }
    }
    assert!(wrong.is_empty() && lines > 50, "{lines}: {wrong:#?}");
    for (target, _) in TARGETS {
        assert!(documentation.contains(&format!("//! | `{target}` |")), "{target} is not in the documentation");
    }
}
