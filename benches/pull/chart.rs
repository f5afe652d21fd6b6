//! The chart of a pull's speed, for the README: bars that say how many times as long as a pull another way takes.

use serde::{Deserialize, Serialize};

/// What was measured: pulls into an empty table, and other ways to copy the same rows.
#[derive(Debug, Serialize, Deserialize)]
pub struct Speed {
    pub tables: Vec<Measured>,
}

/// One table.
#[derive(Debug, Serialize, Deserialize)]
pub struct Measured {
    pub table: String,
    pub rows: u64,
    /// The median time of a pull, in milliseconds.
    pub pull_ms: f64,
    pub others: Vec<Way>,
}

/// Another way to copy the table.
#[derive(Debug, Serialize, Deserialize)]
pub struct Way {
    pub way: String,
    /// Its time as a multiple of a pull's in the same run: the median.
    pub of_pull: f64,
}

const WIDTH: f64 = 720.0;
/// Where bars begin, and how long the longest is.
const BARS: (f64, f64) = (200.0, 430.0);
const BAR: f64 = 14.0;
const LINE: f64 = 20.0;
const HEAD: f64 = 34.0;
const GAP: f64 = 12.0;

/// Follows the reader's light or dark theme.
const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#1f2328}.title{font-weight:600}.note{fill:#59636e}\
    .pull{fill:#0969da}.other{fill:#afb8c1}.one{stroke:#0969da;stroke-dasharray:3 3}\
    @media(prefers-color-scheme:dark){text{fill:#f0f6fc}.note{fill:#9198a1}.pull{fill:#4493f8}.other{fill:#656c76}.one{stroke:#4493f8}}";

/// The chart as SVG.
pub fn svg(speed: &Speed) -> String {
    let most = speed.tables.iter().flat_map(|table| &table.others).map(|way| way.of_pull).fold(1.0, f64::max);
    let mut body = String::new();
    let mut y = HEAD;
    for table in &speed.tables {
        body += &text(0.0, y, "title", &format!("{}: {} rows", table.table, thousands(table.rows)));
        y += LINE;
        let pull = ("rowferry pull", 1.0, "pull", format!("1 ({} ms)", thousands(table.pull_ms.round() as u64)));
        let others = table.others.iter().map(|way| (way.way.as_str(), way.of_pull, "other", format!("{:.1}", way.of_pull)));
        for (name, times, class, label) in std::iter::once(pull).chain(others) {
            let length = BARS.1 * times / most;
            body += &text(12.0, y, "", name);
            body += &format!(
                "<rect class=\"{class}\" x=\"{}\" y=\"{:.1}\" width=\"{length:.1}\" height=\"{BAR}\" rx=\"2\"/>\n",
                BARS.0,
                y - BAR + 3.0
            );
            body += &text(BARS.0 + length + 6.0, y, "note", &label);
            y += LINE;
        }
        y += GAP;
    }
    let one = BARS.0 + BARS.1 / most;
    let (top, height) = (HEAD, y - GAP);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\">\n\
        <style>{STYLE}</style>\n{}<line class=\"one\" x1=\"{one:.1}\" y1=\"{top}\" x2=\"{one:.1}\" y2=\"{}\"/>\n{body}</svg>\n",
        text(0.0, 14.0, "note", "Time to copy a table into an empty file, as a multiple of a pull's. Shorter is faster."),
        height - LINE + 4.0
    )
}

fn text(x: f64, y: f64, class: &str, words: &str) -> String {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    format!("<text{class} x=\"{x:.1}\" y=\"{y:.1}\">{words}</text>\n")
}

/// The number with commas.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(|group| String::from_utf8_lossy(group).into_owned());
    groups.collect::<Vec<_>>().join(",")
}
