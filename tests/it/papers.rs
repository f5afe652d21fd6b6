//! The papers hold together: links lead somewhere, README.md is short, and the chart shows what was measured.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

#[path = "../../benches/pull/chart.rs"]
mod chart;

/// What README.md may have.
const README_LINES: usize = 200;

#[test]
fn the_readme_is_short() {
    let lines = read(&root().join("README.md")).lines().count();
    assert!(lines <= README_LINES, "README.md has {lines} lines: move what is too much into docs/");
}

#[test]
fn links_lead_somewhere() {
    let papers = papers();
    let mut wrong = Vec::new();
    for path in &papers {
        let text = read(path);
        for target in links(&text) {
            let name = path.strip_prefix(root()).expect("it is below").display();
            if let Err(why) = follow(path, &target) {
                wrong.push(format!("{name}: {target}: {why}"));
            }
        }
    }
    assert!(papers.len() > 10 && wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_chart_shows_what_was_measured() {
    let docs = root().join("docs");
    let speed: chart::Speed = serde_json::from_str(&read(&docs.join("speed.json"))).expect("what the benchmark wrote");
    let drawn = read(&docs.join("speed.svg"));
    assert!(chart::svg(&speed) == drawn, "docs/speed.svg is old: cargo bench --bench pull -- draw");
    let bars: usize = speed.tables.iter().map(|table| 1 + table.others.len()).sum();
    assert_eq!(drawn.matches("<rect").count(), bars);
}

#[test]
fn the_front_page_names_each_type() {
    let text = read(&root().join("src/lib.rs"));
    let (front, code) = text.split_once("\n#![").expect("the crate's documentation ends where its attributes begin");
    let exports = code.split("\npub use ").skip(1).filter_map(|rest| rest.split_once(';')).map(|(path, _)| path);
    let names = exports.flat_map(|path| path.split([':', '{', '}', ',', ' ', '\n']));
    let types: BTreeSet<&str> = names.filter(|name| name.starts_with(char::is_uppercase)).collect();
    let missing: Vec<_> = types.iter().filter(|name| !front.contains(&format!("[`{name}`]"))).collect();
    assert!(types.len() > 100 && missing.is_empty(), "not in the tables at the head of src/lib.rs: {missing:?}");
}

#[test]
fn each_code_is_in_the_page_about_trouble() {
    let page = read(&root().join("docs/guide/troubleshooting.md"));
    let lists = ["src/error_codes.md", "src/domain/reason_codes.md"].map(|list| read(&root().join(list)));
    let codes: Vec<&str> = lists
        .iter()
        .flat_map(|list| list.lines())
        .filter_map(|line| line.strip_prefix("| `").and_then(|rest| rest.split('`').next()))
        .collect();
    let missing: Vec<_> = codes.iter().filter(|code| !page.contains(&format!("`{code}`"))).collect();
    assert!(codes.len() > 70 && missing.is_empty(), "not in docs/guide/troubleshooting.md: {missing:?}");
}

#[test]
fn links_and_anchors_are_found() {
    let text = "# A `b`: c, d\n[x](y.md#z) and [`f`](crate::f) `[no](link)`\n```\n[no](link)\n# no\n```\n[u]: v.md\n## A b c d\n![p](q.svg)\n";
    assert_eq!(links(text), ["y.md#z", "crate::f", "v.md", "q.svg"]);
    assert_eq!(anchors(text), BTreeSet::from(["a-b-c-d".to_owned(), "a-b-c-d-1".to_owned()]));
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All Markdown that comes with the crate.
fn papers() -> Vec<PathBuf> {
    let mut papers = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let is_root = folder == root();
            let is_ours = ["docs", "contrib", "examples"].iter().any(|name| path.ends_with(name));
            if path.is_dir() && !path.ends_with("target") && (!is_root || is_ours) {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "md") {
                papers.push(path);
            }
        }
    }
    papers
}

/// Whether a link of this paper leads somewhere. Links into the API are rustdoc's to check; they are for what it shows.
fn follow(paper: &Path, target: &str) -> Result<(), String> {
    if target.starts_with("https://") || target.starts_with("http://") {
        return Ok(());
    }
    if target == "crate" || target.starts_with("crate::") || target.starts_with("crate#") {
        let is_shown = paper.parent().is_some_and(|folder| folder.ends_with("docs/guide"));
        return if is_shown { Ok(()) } else { Err("only the guide is shown by rustdoc".into()) };
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = if file.is_empty() { paper.to_owned() } else { paper.parent().expect("a folder").join(file) };
    if !path.exists() {
        return Err("there is no such file".into());
    }
    if !anchor.is_empty() && !anchors(&read(&path)).contains(anchor) {
        return Err("there is no such heading".into());
    }
    Ok(())
}

/// The targets of the links in a text, those in code left out.
fn links(text: &str) -> Vec<String> {
    let mut targets = Vec::new();
    for line in prose(text) {
        let definition =
            line.split_once("]: ").filter(|(name, target)| name.starts_with('[') && !target.trim().contains(' '));
        if let Some((_, target)) = definition {
            targets.push(target.trim().to_owned());
            continue;
        }
        let code: String = line.split('`').step_by(2).collect::<Vec<_>>().join("");
        let ends = code.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        targets.extend(ends.map(|(target, _)| target.to_owned()));
    }
    targets
}

/// The anchors of the headings in a text, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let headings = prose(text).filter(|line| line.starts_with('#'));
    let anchors = headings.map(|line| {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|letter| letter.is_alphanumeric() || [' ', '-', '_'].contains(letter));
        let anchor: String = kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect();
        let before = seen.entry(anchor.clone()).or_default();
        *before += 1;
        if *before == 1 { anchor } else { format!("{anchor}-{}", *before - 1) }
    });
    anchors.collect()
}

/// The lines that are no code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}
