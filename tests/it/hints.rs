//! The library's messages name its own calls, and no commands or flags: a program that is not the command has none.

use std::fs;
use std::path::{Path, PathBuf};

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

/// Whether a text has `--flag`, `rowferry command` or a command alone, like `connections list`, in it.
fn names_the_command(text: &str) -> bool {
    let flag = |rest: &str| rest.starts_with(|c: char| c.is_ascii_lowercase());
    let flags = text.match_indices("--").any(|(at, _)| flag(&text[at + 2..]) && !text[..at].ends_with('-'));
    const COMMANDS: [&str; 10] =
        ["pull", "serve", "connections", "transfers", "sessions", "settings", "keymap", "events", "state", "doctor"];
    let typed = |command: &&str| {
        [format!("rowferry {command} "), format!("rowferry {command}`"), format!("`{command} ")]
            .map(|said| text.contains(&said))
    };
    flags || COMMANDS.iter().any(|command| typed(command).contains(&true))
}

#[test]
fn commands_are_found_with_and_without_their_program() {
    for text in ["`connections list` shows", "`rowferry doctor`", "see rowferry pull --help", "with --max-time"] {
        assert!(names_the_command(text), "{text}");
    }
    for text in ["`Connections::list` has", "the connections that wait", "a -- b", "`pull`"] {
        assert!(!names_the_command(text), "{text}");
    }
}

#[test]
fn no_message_names_the_command() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let mut wrong = Vec::new();
    for file in &files {
        let text = fs::read_to_string(file).unwrap();
        // Tests stand at the foot of a file.
        let text = text.split("\n#[cfg(test)]").next().unwrap_or_default();
        let code = |line: &&str| !line.trim_start().starts_with("//") && !line.contains("doc = ");
        for line in text.lines().filter(code).filter(|line| line.contains(['"', '`'])) {
            if names_the_command(line) {
                wrong.push(format!("{}: {}", file.strip_prefix(&src).unwrap().display(), line.trim()));
            }
        }
    }
    assert!(wrong.is_empty() && files.len() > 200, "{wrong:#?}");
}
