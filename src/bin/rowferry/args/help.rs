//! The help of the command itself: its commands in groups, the exit status, examples.

use std::collections::BTreeMap;
use std::fmt::Write;

use clap::Command;
use clap::builder::Styles;

use crate::status::Status;

/// The commands, as they are listed; what stands nowhere here is listed with the last ones.
const GROUPS: &[(&str, &[&str])] = &[
    ("Share and pull", &["pull", "verify", "serve", "sessions", "connections"]),
    ("Look at another site", &["tables", "schema", "count", "records"]),
    ("Look after a site", &["status", "doctor", "transfers", "events", "settings", "keymap", "state"]),
    ("More", &["demo", "completions", "man"]),
];

pub const EXAMPLES: &[&str] = &[
    "rowferry demo",
    "rowferry serve --db shop.db --code",
    "rowferry pull http://127.0.0.1:7171 --code A7X9K2M4 --db backup.db --strategy overwrite",
];

/// The widest that help gets, in characters; a narrower terminal makes it narrower.
const WIDTH: usize = 100;

/// The command with its help.
pub fn with_help(command: Command) -> Command {
    let styles = Styles::styled();
    let variables = variables(&command, &styles);
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{}{{options}}{{after-help}}",
        groups(&command, &styles)
    );
    let template = template.replace("{options}", &format!("{}\n{{options}}", heading("Options", &styles)));
    command
        .max_term_width(WIDTH)
        .help_template(template)
        .after_help(format!(
            "`rowferry COMMAND --help` says all about a command, `-h` the most important.\n\n{}",
            examples(&styles)
        ))
        .after_long_help(format!("{variables}\n{}\n{}", statuses(&styles), examples(&styles)))
}

fn groups(command: &Command, styles: &Styles) -> String {
    let mut text = String::new();
    let is_grouped = |name: &str| GROUPS.iter().any(|(_, names)| names.contains(&name));
    let width = command.get_subcommands().map(|command| command.get_name().len()).max().unwrap_or(0);
    let literal = styles.get_literal();
    for (at, (title, names)) in GROUPS.iter().enumerate() {
        let rest =
            command.get_subcommands().map(Command::get_name).filter(|name| at + 1 == GROUPS.len() && !is_grouped(name));
        _ = writeln!(text, "{}", heading(title, styles));
        for name in names.iter().copied().chain(rest) {
            let about =
                command.find_subcommand(name).and_then(Command::get_about).map(ToString::to_string).unwrap_or_default();
            _ = writeln!(text, "  {literal}{name:<width$}{literal:#}  {about}");
        }
        text.push('\n');
    }
    text
}

fn heading(title: &str, styles: &Styles) -> String {
    let header = styles.get_header();
    format!("{header}{title}:{header:#}")
}

fn statuses(styles: &Styles) -> String {
    let list = Status::ALL.iter().map(|(status, meaning)| format!("  {}  {meaning}\n", *status as u8));
    let pull = "A pull whose tables all failed ends with the status that all of their errors have, or with 1 if they differ. A pull that \
                brought some of its tables ends with 3, whatever became of the others.\n";
    format!("{}\n{}\n{pull}", heading("Exit status", styles), list.collect::<String>())
}

/// The variables of the environment that options are read from, and what they stand for.
pub fn environment(command: &Command) -> BTreeMap<String, String> {
    let own = command.get_arguments().filter_map(|option| {
        let variable = option.get_env()?.to_str()?.to_owned();
        Some((variable, format!("stands for --{}", option.get_long()?)))
    });
    own.chain(command.get_subcommands().flat_map(environment)).collect()
}

/// Where variables stand among the other ways to say something.
pub const ENVIRONMENT_NOTE: &str =
    "What is typed goes before a variable. RUST_LOG is read where --log, -q and -v say nothing.";

fn variables(command: &Command, styles: &Styles) -> String {
    let all = environment(command);
    let width = all.keys().map(String::len).max().unwrap_or(0);
    let list = all.iter().map(|(variable, option)| format!("  {variable:<width$}  {option}\n"));
    format!("{}\n{}\n{ENVIRONMENT_NOTE}\n", heading("Environment", styles), list.collect::<String>())
}

fn examples(styles: &Styles) -> String {
    let list = EXAMPLES.iter().map(|example| format!("\n  {example}"));
    format!("{}{}", heading("Examples", styles), list.collect::<String>())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::Cli;

    #[test]
    fn every_command_is_listed_once_with_one_line() {
        let mut command = with_help(Cli::command());
        command.build();
        let help = command.render_help().to_string();
        for name in command.get_subcommands().map(Command::get_name).filter(|name| *name != "help") {
            let lines: Vec<&str> = help.lines().filter(|line| line.trim_start().split(' ').next() == Some(name)).collect();
            assert!(lines.len() == 1 && lines[0].len() <= 80, "{name}: {lines:?} in {help}");
        }
        assert!(GROUPS.iter().flat_map(|(_, names)| *names).all(|name| command.find_subcommand(name).is_some()));
    }

    #[test]
    fn lines_are_not_longer_than_a_terminal() {
        let help = with_help(Cli::command()).term_width(80).render_long_help().to_string();
        assert!(help.lines().all(|line| line.len() <= 100), "{help}");
    }
}
