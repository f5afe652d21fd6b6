//! Which file of `src` uses which, read from the text of the files.
//!
//! A path (`crate::a::B`, `super::B`, `self::c::d`, or one that begins with an imported name) is followed through re-exports to the
//! file where the name is defined. Comments, and what is only there for tests, are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// One file, and what stands in it.
pub struct File {
    /// As in `src/pull/apply.rs`.
    pub path: String,
    /// As in `["pull", "apply"]`.
    pub module: Vec<String>,
    /// The code without comments and tests: words, signs and texts.
    pub tokens: Vec<String>,
    uses: Vec<Use>,
    defined: BTreeSet<String>,
    /// Paths and single names in the code itself.
    paths: Vec<Vec<String>>,
}

/// One name of a `use`.
struct Use {
    name: String,
    path: Vec<String>,
    /// With `pub`: other modules may use the name as well.
    passes_on: bool,
}

/// That one file uses a name of another.
pub struct Link {
    pub from: usize,
    pub to: usize,
    pub path: String,
    /// The files whose `use` was followed.
    pub through: Vec<usize>,
    /// Whether the code needs it, and not only passes it on.
    pub is_used: bool,
    /// Whether it is a name of that file, and not the module itself.
    pub is_name: bool,
}

/// All files of a library, without its tests.
pub struct Source {
    pub files: Vec<File>,
    modules: BTreeMap<Vec<String>, usize>,
}

impl File {
    /// All paths in the file, other crates' too.
    pub fn paths(&self) -> impl Iterator<Item = &[String]> {
        self.uses.iter().map(|one| &one.path[..]).chain(self.paths.iter().map(|path| &path[..]))
    }

    /// The module at the top that the file is part of.
    pub fn top(&self) -> &str {
        self.module.first().map_or("lib", String::as_str)
    }
}

impl Source {
    pub fn read(src: &Path, leave_out: &[&str]) -> Source {
        let mut texts = Vec::new();
        walk(src, &mut Vec::new(), &mut texts);
        texts.retain(|(_, module, _)| module.first().is_none_or(|top| !leave_out.contains(&top.as_str())));
        Source::of(texts)
    }

    /// Of the path, module and text of each file.
    pub fn of(texts: Vec<(String, Vec<String>, String)>) -> Source {
        let (mut files, mut tests) = (Vec::new(), Vec::new());
        for (path, module, text) in texts {
            if module.iter().any(|name| name == "tests" || name.ends_with("_tests")) {
                continue;
            }
            let (tokens, of_tests) = without_tests(tokens(&text));
            tests.extend(of_tests.into_iter().map(|name| [&module[..], &[name]].concat()));
            files.push(parsed(path, module, tokens));
        }
        files.retain(|file: &File| !tests.iter().any(|test| file.module.starts_with(test)));
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let modules = files.iter().enumerate().map(|(at, file)| (file.module.clone(), at)).collect();
        Source { files, modules }
    }

    /// All uses of a file by another one.
    pub fn links(&self) -> Vec<Link> {
        let mut links = Vec::new();
        for (from, file) in self.files.iter().enumerate() {
            let uses = file.uses.iter().map(|one| (&one.path, !one.passes_on));
            for (path, is_used) in uses.chain(file.paths.iter().map(|path| (path, true))) {
                let Some((to, is_name, through)) = self.find(&file.module, path, 0) else { continue };
                if to != from {
                    links.push(Link { from, to, path: path.join("::"), through, is_used, is_name });
                }
            }
        }
        links
    }

    /// The file that a path leads to from a module, whether to a name in it, and the files whose `use` was followed.
    fn find(&self, from: &[String], path: &[String], depth: usize) -> Option<(usize, bool, Vec<usize>)> {
        let mut at = from.to_vec();
        for (step, name) in path.iter().enumerate() {
            match name.as_str() {
                "crate" => at.clear(),
                "self" => (),
                "super" => drop(at.pop()),
                "*" => return Some((self.file_of(&at)?, true, Vec::new())),
                name => {
                    let child = [&at[..], &[name.to_owned()]].concat();
                    if self.modules.contains_key(&child) {
                        at = child;
                        continue;
                    }
                    let here = self.file_of(&at)?;
                    if self.files[here].defined.contains(name) {
                        return Some((here, true, Vec::new()));
                    }
                    return self.imported(here, name, &path[step + 1..], depth);
                }
            }
        }
        Some((self.file_of(&at)?, false, Vec::new()))
    }

    /// Where a name leads to that a file imports.
    fn imported(&self, here: usize, name: &str, rest: &[String], depth: usize) -> Option<(usize, bool, Vec<usize>)> {
        let file = &self.files[here];
        let named = file.uses.iter().filter(|one| one.name == name).map(|one| [&one.path[..], rest].concat());
        let globs = file.uses.iter().filter(|one| one.name == "*").map(|one| {
            let module = &one.path[..one.path.len() - 1];
            [module, &[name.to_owned()], rest].concat()
        });
        // A name that is its own path is another crate's.
        let mut found = named.chain(globs).filter(|path| depth < 8 && path.len() > rest.len() + 1);
        let (to, is_name, mut through) = found.find_map(|path| self.find(&file.module, &path, depth + 1))?;
        through.push(here);
        Some((to, is_name, through))
    }

    fn file_of(&self, module: &[String]) -> Option<usize> {
        self.modules.get(module).copied()
    }
}

fn walk(folder: &Path, module: &mut Vec<String>, found: &mut Vec<(String, Vec<String>, String)>) {
    for entry in fs::read_dir(folder).expect("src can be read") {
        let path = entry.expect("src can be read").path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).expect("names are UTF-8").to_owned();
        let is_of_folder = stem == "mod" || (stem == "lib" && module.is_empty());
        if !is_of_folder {
            module.push(stem);
        }
        if path.is_dir() {
            walk(&path, module, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("src can be read");
            let name =
                path.strip_prefix(env!("CARGO_MANIFEST_DIR")).expect("src is part of the crate").display().to_string();
            found.push((name, module.clone(), text));
        }
        if !is_of_folder {
            module.pop();
        }
    }
}

/// The words, signs and quoted texts of a code, `::` as one. Comments and characters are left out.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if first.is_alphanumeric() || first == '_' {
            let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            let length = raw_text(rest).unwrap_or(word);
            tokens.push(rest[..length].to_owned());
            length
        } else if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if first == '"' {
            let length = quoted(rest, '"');
            tokens.push(rest[..length].to_owned());
            length
        } else if first == '\'' {
            // A lifetime has no second quote.
            let is_character = rest[1..].starts_with('\\') || rest.chars().nth(2) == Some('\'');
            if is_character { quoted(rest, '\'') } else { 1 }
        } else {
            let sign = if rest.starts_with("::") { "::" } else { &rest[..first.len_utf8()] };
            if !first.is_whitespace() {
                tokens.push(sign.to_owned());
            }
            sign.len()
        };
        rest = &rest[length..];
    }
    tokens
}

/// The length of a text with its quotes, where `\` takes the next character with it.
fn quoted(text: &str, quote: char) -> usize {
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            c if c == quote => return at + 1,
            _ => (),
        }
    }
    text.len()
}

/// The length of `r#".."#`, if one begins here.
fn raw_text(text: &str) -> Option<usize> {
    let body = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = body.len() - body.trim_start_matches('#').len();
    let inner = body[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let before = text.len() - inner.len();
    Some(inner.find(&end).map_or(text.len(), |at| before + at + end.len()))
}

/// The tokens without items that are only there for tests, and the names of modules among those.
fn without_tests(tokens: Vec<String>) -> (Vec<String>, Vec<String>) {
    let (mut kept, mut modules) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        let end = match tokens[at..].starts_with(&["#", "[", "cfg"].map(String::from)) {
            true => end_of(&tokens, at + 1),
            false => at,
        };
        let says = |word: &str| tokens[at..end].iter().any(|token| token == word);
        if !says("test") || says("any") || says("not") {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let mut item = end;
        while tokens[item] == "#" {
            item = end_of(&tokens, item + 1);
        }
        let mut word = item;
        if tokens[word] == "pub" {
            word = if tokens[word + 1] == "(" { end_of(&tokens, word + 1) } else { word + 1 };
        }
        if tokens[word] == "mod" && tokens[word + 2] == ";" {
            modules.push(tokens[word + 1].clone());
        }
        at = item;
        while at < tokens.len() {
            match tokens[at].as_str() {
                "(" | "[" => at = end_of(&tokens, at),
                "{" => {
                    at = end_of(&tokens, at);
                    break;
                }
                ";" | "," => {
                    at += 1;
                    break;
                }
                "}" => break,
                _ => at += 1,
            }
        }
    }
    (kept, modules)
}

/// Where the bracket that opens at `at` has been closed.
fn end_of(tokens: &[String], at: usize) -> usize {
    let mut depth = 0;
    for (offset, token) in tokens[at..].iter().enumerate() {
        depth += i32::from(["(", "[", "{"].contains(&token.as_str())) - i32::from([")", "]", "}"].contains(&token.as_str()));
        if depth == 0 {
            return at + offset + 1;
        }
    }
    tokens.len()
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_') && !token.ends_with(['"', '#'])
}

fn parsed(path: String, module: Vec<String>, tokens: Vec<String>) -> File {
    const ITEMS: [&str; 8] = ["fn", "struct", "enum", "union", "trait", "type", "const", "static"];
    let (mut uses, mut defined, mut paths) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    let (mut at, mut depth) = (0, 0);
    while at < tokens.len() {
        let (token, next) = (tokens[at].as_str(), tokens.get(at + 1).map_or("", String::as_str));
        let before = at.checked_sub(1).map_or("", |before| tokens[before].as_str());
        depth += i32::from(token == "{") - i32::from(token == "}");
        if token == "use" && [";", "{", "}", ")", "]", "pub", ""].contains(&before) {
            let passes_on =
                before == "pub" || (before == ")" && tokens[at.saturating_sub(4)..at].contains(&"pub".to_owned()));
            at = names_of_use(&tokens, at + 1, &[], &mut |name, path| uses.push(Use { name, path, passes_on }));
            continue;
        }
        // An enum or a struct may also stand in a macro.
        let may_define = depth == 0 || (depth == 1 && ["struct", "enum"].contains(&token));
        if may_define && ITEMS.contains(&token) && is_name(next) {
            defined.insert(next.to_owned());
        } else if token == "macro_rules" {
            defined.insert(tokens[at + 2].clone());
        }
        if is_name(token) && before != "::" && before != "." && before != "mod" {
            let mut found = vec![token.to_owned()];
            while tokens[at + 1..].first().is_some_and(|token| token == "::")
                && tokens.get(at + 2).is_some_and(|t| is_name(t))
            {
                at += 2;
                found.push(tokens[at].clone());
            }
            paths.insert(found);
        }
        at += 1;
    }
    // A single name says something only where it is also passed on.
    paths.retain(|path| path.len() > 1 || uses.iter().any(|one| one.passes_on && one.name == path[0]));
    File { path, module, tokens, uses, defined, paths: paths.into_iter().collect() }
}

/// Gives each name of a `use` and its path, and says where the `use` ends.
fn names_of_use(tokens: &[String], mut at: usize, prefix: &[String], give: &mut dyn FnMut(String, Vec<String>)) -> usize {
    let mut path = prefix.to_vec();
    loop {
        match tokens.get(at).map_or(";", String::as_str) {
            "{" => {
                at += 1;
                while tokens[at] != "}" {
                    at = names_of_use(tokens, at, &path, give);
                    at += usize::from(tokens[at] == ",");
                }
                return at + 1;
            }
            "as" => {
                give(tokens[at + 1].clone(), path);
                return at + 2;
            }
            ";" | "," | "}" => {
                if path.last().is_some_and(|last| last == "self") && path.len() > 1 {
                    path.pop();
                }
                give(path.last().cloned().unwrap_or_default(), path);
                return at;
            }
            "::" => at += 1,
            name => {
                path.push(name.to_owned());
                at += 1;
            }
        }
    }
}
