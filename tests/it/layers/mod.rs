//! The layers of the crate stay apart: "Layers" in docs/design.md lists the modules in order, says what must never be, and `src` is
//! held to it.
//!
//! A module is a file or folder directly under `src`. It uses only modules that stand above it in the list, each type at the
//! place where it is defined. Within a module, the files that use each other in a circle are two at most. Tests are left out,
//! and so is the binary, which is a user of the crate like any other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

mod source;

use source::{File, Source};

/// Crates and parts of the standard library that reach outside of the program.
const OUTSIDE: &[&str] =
    &["std::env", "std::fs", "std::net", "std::process", "std::thread", "rusqlite", "r2d2", "tungstenite", "ureq", "rustls"];

/// What is plain data among those.
const PLAIN: &[&str] = &["IpAddr", "Ipv4Addr", "Ipv6Addr"];

/// Where SQL stands that changes rowferry's own tables. `store` makes them.
const SQL: &[&str] = &["state", "ledger", "store"];

#[test]
fn modules_use_only_what_stands_above_them() {
    let (source, order) = (source(), design().order);
    let place = |module: &str| order.iter().position(|name| name == module);
    let modules: BTreeSet<&str> = source.files.iter().map(File::top).filter(|top| *top != "lib").collect();
    let unlisted = modules.iter().filter(|module| place(module).is_none()).map(|module| format!("`{module}` is not listed"));
    let gone = order.iter().filter(|name| !modules.contains(&name[..])).map(|name| format!("there is no module `{name}`"));
    let mut wrong: Vec<String> = unlisted.chain(gone).collect();
    for link in source.links() {
        let (from, to) = (&source.files[link.from], &source.files[link.to]);
        if from.top() != "lib" && from.top() != to.top() && place(from.top()) <= place(to.top()) {
            wrong.push(format!("{} uses {} of `{}`, which stands below", from.path, link.path, to.top()));
        }
    }
    none(wrong, "the list of modules in docs/design.md and src/ disagree");
}

#[test]
fn a_type_is_used_where_it_is_defined() {
    let source = source();
    let mut wrong = Vec::new();
    for link in source.links() {
        let (from, to) = (&source.files[link.from], &source.files[link.to]);
        let through = link.through.iter().map(|file| source.files[*file].top());
        let third = through.filter(|top| *top != from.top() && *top != to.top()).collect::<BTreeSet<_>>();
        if from.top() != "lib" && !third.is_empty() {
            wrong.push(format!("{} uses {} of {} through {third:?}", from.path, link.path, to.path));
        }
    }
    none(wrong, "types are passed on by re-export");
}

#[test]
fn no_more_than_two_files_use_each_other() {
    let wrong = circles(&source()).into_iter().map(|circle| circle.join(", "));
    none(wrong.collect(), "files that use each other in a circle");
}

#[test]
fn what_must_never_be_is_not() {
    let (source, nevers) = (source(), design().nevers);
    let mut wrong = Vec::new();
    for never in &nevers {
        let of = |file: &File| never.of(file.top());
        let (files, links) = (&source.files, source.links());
        match never.what {
            What::Outside => {
                let reached =
                    files.iter().filter(|file| of(file)).flat_map(|file| file.paths().map(move |path| (file, path)));
                let reached = reached.filter(|(_, path)| reaches_outside(path));
                wrong.extend(reached.map(|(file, path)| format!("{} reaches outside: {}", file.path, path.join("::"))));
            }
            What::Sees => {
                let seen = links.iter().filter(|link| of(&files[link.from]) && never.others.contains(files[link.to].top()));
                wrong.extend(seen.map(|link| format!("{} sees {}", files[link.from].path, link.path)));
            }
            What::WritesState => {
                let others = files.iter().filter(|file| !of(file) && !SQL.contains(&file.top()));
                wrong.extend(
                    others.clone().filter(|file| has_sql(file)).map(|file| format!("SQL over state: {}", file.path)),
                );
                wrong.extend(others.filter(|file| opens(file)).map(|file| format!("{} opens state to write", file.path)));
            }
        }
    }
    none(wrong, "docs/design.md says that this must never be");
}

fn none(wrong: Vec<String>, what: &str) {
    assert!(
        wrong.is_empty(),
        "{what}:\n  {}",
        wrong.into_iter().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join("\n  ")
    );
}

/// The library. The fuzz targets' way in is only there when fuzzing, and the guide is Markdown.
fn source() -> Source {
    Source::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &["bin", "fuzzing", "guide"])
}

fn reaches_outside(path: &[String]) -> bool {
    let text = path.join("::");
    let begins = |outside: &str| text.strip_prefix(outside).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    OUTSIDE.iter().any(|outside| begins(outside)) && !PLAIN.iter().any(|plain| path.iter().any(|name| name == plain))
}

/// Whether a text of the file is SQL that changes rows of rowferry's own.
fn has_sql(file: &File) -> bool {
    let changes =
        |text: &str| ["INSERT INTO", "UPDATE", "DELETE FROM", "REPLACE INTO"].iter().any(|word| text.contains(word));
    file.tokens.iter().any(|token| token.contains('"') && token.contains("rowferry_") && changes(token))
}

/// Whether the file begins a transaction over state: `state::write(..)`, or a store's `state(..)`.
fn opens(file: &File) -> bool {
    let writes = file.paths().any(|path| path.ends_with(&["state", "write"].map(String::from)));
    let call = |four: &[String]| four[..3] == [".", "state", "("] && four[3] != ")";
    writes || file.tokens.windows(4).any(call)
}

/// The circles of more than two files within a module, each with its files in order.
fn circles(source: &Source) -> Vec<Vec<String>> {
    let files = &source.files;
    let mut used: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for link in source.links() {
        if link.is_used && link.is_name && files[link.from].top() == files[link.to].top() {
            used.entry(link.from).or_default().insert(link.to);
        }
    }
    let reached = |from: usize| {
        let (mut reached, mut todo) = (BTreeSet::new(), vec![from]);
        while let Some(file) = todo.pop() {
            todo.extend(used.get(&file).into_iter().flatten().filter(|other| reached.insert(**other)));
        }
        reached
    };
    let reached: Vec<BTreeSet<usize>> = (0..files.len()).map(reached).collect();
    let circle =
        |file: usize| reached[file].iter().copied().filter(|other| reached[*other].contains(&file)).collect::<Vec<_>>();
    let circles: BTreeSet<Vec<usize>> = (0..files.len()).map(circle).filter(|circle| circle.len() > 2).collect();
    circles.into_iter().map(|circle| circle.into_iter().map(|file| files[file].path.clone()).collect()).collect()
}

/// What docs/design.md says of the modules.
struct Design {
    order: Vec<String>,
    nevers: Vec<Never>,
}

struct Never {
    /// The modules that the sentence is about.
    modules: BTreeSet<String>,
    what: What,
    others: BTreeSet<String>,
}

#[derive(Debug, PartialEq)]
enum What {
    Outside,
    Sees,
    WritesState,
}

impl Never {
    fn of(&self, module: &str) -> bool {
        self.modules.contains(module)
    }
}

fn design() -> Design {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/design.md");
    let design = rules(&fs::read_to_string(path).expect("docs/design.md can be read"));
    assert_eq!(design.nevers.len(), 5, "docs/design.md has five nevers");
    design
}

/// The numbered modules and the nevers of "Layers": names stand in backquotes.
fn rules(markdown: &str) -> Design {
    let section = markdown.lines().skip_while(|line| *line != "## Layers").skip(1);
    let (mut order, mut nevers) = (Vec::new(), Vec::new());
    for line in section.take_while(|line| !line.starts_with("## ")) {
        let names = |text: &str| text.split('`').skip(1).step_by(2).map(String::from).collect::<BTreeSet<_>>();
        let is_numbered = line.split_once(". ").is_some_and(|(number, _)| number.parse::<u32>().is_ok());
        if is_numbered {
            order.extend(line.split('`').nth(1).map(String::from));
        } else if let Some(sentence) = line.strip_prefix("- ") {
            let (what, verb) = match sentence {
                text if text.contains(" do no I/O") => (What::Outside, " do no I/O"),
                text if text.starts_with("Only ") && text.contains(" write state") => (What::WritesState, " write state"),
                text if text.contains(" never see") => (What::Sees, " never see"),
                text => panic!("docs/design.md: what does this never mean? {text}"),
            };
            let (modules, others) = sentence.split_once(verb).expect("the verb was found");
            nevers.push(Never { modules: names(modules), what, others: names(others) });
        }
    }
    Design { order, nevers }
}

#[test]
fn rules_are_read() {
    let text = "1. `no`: x\n## Layers\n1. `a`: uses `b`\n2. `c`: d\n\nNever:\n- `a` and `c` do no I/O.\n- `a` never sees `c`.\n\
                - Only `c` write state: see `x`.\n## Next\n3. `e`: f\n";
    let design = rules(text);
    assert_eq!(design.order, ["a", "c"]);
    let nevers: Vec<_> = design.nevers.iter().map(|never| (&never.what, never.of("a"), never.of("c"))).collect();
    assert_eq!(nevers, [(&What::Outside, true, true), (&What::Sees, true, false), (&What::WritesState, false, true)]);
    assert!(design.nevers[1].others.contains("c"));
}

#[test]
fn uses_are_followed_to_where_a_name_is_defined() {
    let texts = [
        ("lib.rs", "mod a; mod b; pub use b::Y;"),
        (
            "a/mod.rs",
            "mod x; mod y; mod z; #[cfg(test)] pub(super) mod t; pub(crate) use x::{X, go as run}; pub use crate::b::Y; macro!(X);",
        ),
        ("a/x.rs", "use super::y::{self, Two}; pub struct X<'a>(&'a str); pub fn go() { y::one() } // crate::a::z::Z\n"),
        ("a/y.rs", "use crate::a::{run, z}; pub fn one() { z::Z::new('\"', r#\"crate::a::X\"#) } pub struct Two;"),
        ("a/z.rs", "pub struct Z; impl Z { fn new() { super::super::a::X } } #[cfg(test)] mod tests { use crate::b::Q; }"),
        ("a/t.rs", "use crate::a::X;"),
        ("b.rs", "pub struct Y; pub struct Q;"),
        ("c.rs", "use crate::a::Y; use std::fs::File; fn f() { INSERT(\"INSERT INTO rowferry_x\").state(1) }"),
    ];
    let module = |path: &str| {
        let names = path.trim_end_matches(".rs").split('/').filter(|name| !["lib", "mod"].contains(name));
        names.map(String::from).collect::<Vec<_>>()
    };
    let source = Source::of(texts.map(|(path, text)| (path.to_owned(), module(path), text.to_owned())).into());
    let path = |file: usize| source.files[file].path.as_str();
    let links = source.links();
    let names = links.iter().filter(|link| link.is_used && link.is_name).map(|link| (path(link.from), path(link.to)));
    let expected = [
        ("a/mod.rs", "a/x.rs"),
        ("a/x.rs", "a/y.rs"),
        ("a/y.rs", "a/x.rs"),
        ("a/y.rs", "a/z.rs"),
        ("a/z.rs", "a/x.rs"),
        ("c.rs", "b.rs"),
    ];
    assert_eq!(names.collect::<BTreeSet<_>>(), expected.into());
    assert_eq!(circles(&source), [["a/x.rs", "a/y.rs", "a/z.rs"]]);
    let last = links.iter().find(|link| path(link.from) == "c.rs").expect("c.rs uses b.rs");
    assert_eq!(last.through.iter().map(|file| path(*file)).collect::<Vec<_>>(), ["a/mod.rs"]);
    let file = &source.files[last.from];
    assert!(has_sql(file) && opens(file) && file.paths().any(reaches_outside));
}
