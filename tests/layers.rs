//! The layers of the crate stay apart: a module uses only those that the table in README.md allows it.
//!
//! A module is a file or folder directly under `src`. What it uses is read from its `crate::` paths, tests at the foot of a
//! file (or in a file `..tests.rs`) left out. The table is the README's one with the heading `| module | may use |`. Its rows go upwards: a module may
//! use only those of rows above its own, so that no two can depend on each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

type Edges = BTreeMap<String, BTreeSet<String>>;

/// Crates and parts of the standard library that reach outside of the program.
const OUTSIDE: &[&str] =
    &["std::env", "std::fs", "std::net", "std::process", "std::thread", "rusqlite", "r2d2", "tungstenite", "ureq", "rustls"];

/// What is plain data among those.
const PLAIN: &[&str] = &["IpAddr", "Ipv4Addr", "Ipv6Addr"];

/// Modules that neither read nor write anything but memory.
const PURE: &[&str] = &["domain", "plan", "wire", "error", "limits"];

#[test]
fn modules_use_only_what_the_readme_allows() {
    let allowed = table(&read(&root().join("README.md")));
    let used = used();
    let mut wrong = Vec::new();
    for (module, uses) in &used {
        match allowed.get(module) {
            None => wrong.push(format!("README's table has no row for `{module}`")),
            Some(may) => wrong.extend(uses.difference(may).map(|other| format!("`{module}` uses `{other}`"))),
        }
    }
    wrong.extend(allowed.keys().filter(|row| !used.contains_key(*row)).map(|row| format!("there is no module `{row}`")));
    assert!(wrong.is_empty(), "README's table of modules and src/ disagree:\n  {}", wrong.join("\n  "));
}

#[test]
fn pure_modules_reach_nothing_outside() {
    for (module, file) in files() {
        if PURE.contains(&module.as_str()) {
            let code = code(&read(&file));
            let reached: Vec<_> = OUTSIDE
                .iter()
                .filter(|path| paths(&code, path).iter().any(|name| !PLAIN.contains(&name.as_str())))
                .collect();
            assert!(reached.is_empty(), "{} is of a pure module and uses {reached:?}", file.display());
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// For each module the others that it uses. The binary is left out: it is a user of the crate like any other.
fn used() -> Edges {
    let library = code(&read(&root().join("src/lib.rs")));
    let modules: BTreeSet<String> = files().into_iter().map(|(module, _)| module).collect();
    let mut edges: Edges = modules.iter().map(|module| (module.clone(), BTreeSet::new())).collect();
    for (module, file) in files() {
        for name in paths(&code(&read(&file)), "crate") {
            // A name that lib.rs passes on belongs to the module that it comes from.
            let other = match modules.contains(&name) {
                true => Some(name.clone()),
                false => modules.iter().find(|other| paths(&library, other).contains(&name)).cloned(),
            };
            let other = other.unwrap_or_else(|| panic!("{}: whose is crate::{name}?", file.display()));
            if other != module {
                edges.entry(module.clone()).or_default().insert(other);
            }
        }
    }
    edges
}

/// All source files of the library with the module that each is part of.
fn files() -> Vec<(String, PathBuf)> {
    fn walk(folder: &Path, module: Option<&str>, found: &mut Vec<(String, PathBuf)>) {
        for entry in fs::read_dir(folder).expect("src can be read") {
            let path = entry.expect("src can be read").path();
            let stem = path.file_stem().and_then(|stem| stem.to_str()).expect("names are UTF-8").to_owned();
            let module = module.unwrap_or(&stem);
            if stem == "tests" || stem.ends_with("_tests") {
                continue;
            }
            if path.is_dir() {
                walk(&path, Some(module), found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((module.to_owned(), path));
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join("src"), None, &mut found);
    // The fuzz targets' way in is only there when fuzzing.
    found.retain(|(module, _)| !["lib", "bin", "fuzzing"].contains(&module.as_str()));
    found
}

/// The code of a file: without comments, and without the tests at its foot.
fn code(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let tests = line.starts_with("#[cfg(") && line.contains("test");
        if tests && lines.peek().is_some_and(|next| next.starts_with("mod ")) {
            break;
        }
        if !line.trim_start().starts_with("//") {
            code.push_str(line);
            code.push('\n');
        }
    }
    code
}

/// The names that stand directly behind `prefix::` in the code; of `prefix::{a::b, c}` it is a and c, and of `prefix::{self}`
/// nothing. `"*"` stands for a glob.
fn paths(code: &str, prefix: &str) -> Vec<String> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut names = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        let before = code[..at].chars().next_back();
        let Some(rest) = code[at + prefix.len()..].strip_prefix("::") else { continue };
        if before.is_some_and(|c| is_name(c) || c == ':') {
            continue;
        }
        match rest.strip_prefix('{') {
            None => names.push(rest.chars().take_while(|c| is_name(*c) || *c == '*').collect()),
            Some(list) => names.extend(outer_names(list)),
        }
    }
    names.retain(|name: &String| !name.is_empty() && name != "self");
    names
}

/// The first name of each element of a list that ends with the brace that closes it.
fn outer_names(list: &str) -> Vec<String> {
    let mut names = Vec::new();
    let (mut element, mut depth) = (String::new(), 0);
    for c in list.chars() {
        match c {
            '}' if depth == 0 => break,
            ',' if depth == 0 => names.push(std::mem::take(&mut element)),
            _ => element.push(c),
        }
        depth += i32::from(c == '{') - i32::from(c == '}');
    }
    names.push(element);
    names.iter().map(|path| path.split("::").next().unwrap_or_default().trim().to_owned()).collect()
}

/// The rows of the table under `| module | may use |`: names stand in backquotes, anything else is prose.
fn table(markdown: &str) -> Edges {
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(String::from).collect::<Vec<_>>();
    let rows = markdown.lines().skip_while(|line| !line.starts_with("| module | may use")).skip(2);
    let mut edges = Edges::new();
    for row in rows.take_while(|line| line.starts_with('|')) {
        let mut cells = row.split('|').skip(1);
        let (modules, uses) = (cells.next().unwrap_or_default(), names(cells.next().unwrap_or_default()));
        for other in &uses {
            assert!(edges.contains_key(other), "`{other}` must stand in a row above the one that uses it: {row}");
        }
        edges.extend(names(modules).into_iter().map(|module| (module, uses.iter().cloned().collect())));
    }
    assert!(!edges.is_empty(), "README.md has no table under `| module | may use |`");
    edges
}

#[test]
fn tables_and_paths_are_read() {
    let text = "x\n| module | may use | what |\n|---|---|---|\n| `c`, `d` | - | |\n| `a`, `b` | `c`, `d` | e `f` |\n\n| `g` | `h` | |";
    let set = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<BTreeSet<_>>();
    let uses = [("a", set(&["c", "d"])), ("b", set(&["c", "d"])), ("c", set(&[])), ("d", set(&[]))];
    let expected: Edges = uses.map(|(name, uses)| (name.to_owned(), uses)).into();
    assert_eq!(table(text), expected);

    let code = code(
        "use crate::a::X;\n/// [`Y`](crate::no)\n    // crate::no\npub(crate) use crate::{\n    b::{Y, crate_x::Z},\n    c,\n};\n\
         fn f() -> crate::d::E {}\nuse mycrate::no;\nuse x::crate::no;\n#[cfg(test)]\nuse crate::e;\n#[cfg(test)]\nmod tests {\n\
         use crate::no;\n}\n",
    );
    assert_eq!(paths(&code, "crate"), ["a", "b", "c", "d", "e"]);
}
