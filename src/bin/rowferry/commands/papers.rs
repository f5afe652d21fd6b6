//! `rowferry completions` and `rowferry man`: what is made of the command line's own description.

use std::fs;

use clap::{Arg, Command, CommandFactory, ValueHint};
use clap_complete::Shell;
use clap_mangen::Man;
use rowferry::{Error, ErrorKind};

use crate::args::help::{ENVIRONMENT_NOTE, environment, with_help};
use crate::args::{Cli, ManArgs};
use crate::failure::{Done, Failure};
use crate::output::{Out, counted};
use crate::status::Status;

/// Prints the script that completes the command in this shell.
pub fn completions(shell: Shell, out: &mut Out) -> Result<Done, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut hinted(with_help(Cli::command()), shell), "rowferry", &mut script);
    out.bytes(&script)?;
    Ok(Done::Whole)
}

/// The command with a hint for every value: where there is none, shells offer files.
fn hinted(command: Command, shell: Shell) -> Command {
    let hint = |option: &Arg| match option.get_value_hint() {
        ValueHint::Unknown => ValueHint::Other,
        ValueHint::AnyPath => ValueHint::FilePath,
        // The scripts for bash know no URLs, and offer files for them, too.
        ValueHint::Url if shell == Shell::Bash => ValueHint::Other,
        hint => hint,
    };
    let takes_value = |option: &Arg| option.get_action().takes_values();
    command
        .mut_args(|option| {
            if takes_value(&option) {
                let hint = hint(&option);
                option.value_hint(hint)
            } else {
                option
            }
        })
        .mut_subcommands(|command| hinted(command, shell))
}

/// Prints a manual page, or writes all of them into a folder.
pub fn man(args: &ManArgs, out: &mut Out) -> Result<Done, Failure> {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let Some(folder) = &args.out else {
        let mut command = &root;
        for name in &args.command {
            command = command.find_subcommand(name).ok_or_else(|| no_command(name))?;
        }
        out.bytes(&page(command, &root)?)?;
        return Ok(Done::Whole);
    };
    let written = fs::create_dir_all(folder).map_err(|error| cannot_write(&folder.display().to_string(), error));
    written?;
    let mut pages = 0;
    let mut commands = vec![&root];
    while let Some(command) = commands.pop() {
        let path = folder.join(format!("{}.1", page_name(command)));
        fs::write(&path, page(command, &root)?).map_err(|error| cannot_write(&path.display().to_string(), error))?;
        pages += 1;
        commands.extend(command.get_subcommands());
    }
    out.say(format!("{} written to {}.", counted(pages, "page"), folder.display()))?;
    Ok(Done::Whole)
}

/// The name of a command's page, as `man` is asked for it: `rowferry-sessions-create`.
fn page_name(command: &Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned()
}

fn page(command: &Command, root: &Command) -> Result<Vec<u8>, Failure> {
    let example = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    let name = page_name(command);
    // What stands below the help has sections of its own here.
    let plain = command.clone().after_help(None::<&str>).after_long_help(None::<&str>);
    let man = Man::new(plain).title(name).source(format!("rowferry {}", root.get_version().unwrap_or_default()));
    let mut page = Vec::new();
    let sections =
        [Man::render_title, Man::render_name_section, Man::render_synopsis_section, Man::render_description_section];
    let rendered = sections.iter().try_for_each(|section| section(&man, &mut page));
    let rendered = rendered.and_then(|()| man.render_options_section(&mut page));
    let rendered = rendered.and_then(|()| match command.has_subcommands() {
        true => man.render_subcommands_section(&mut page),
        false => Ok(()),
    });
    rendered
        .map_err(|error| Error::new(ErrorKind::System, format!("the page cannot be made: {error}")).with_source(error))?;
    let is_root = command.get_name() == root.get_name();
    if is_root {
        section(&mut page, "ENVIRONMENT");
        environment(root).iter().for_each(|(variable, meaning)| item(&mut page, variable, meaning));
        paragraph(&mut page, ENVIRONMENT_NOTE);
    }
    section(&mut page, "EXIT STATUS");
    Status::ALL.iter().for_each(|(status, meaning)| item(&mut page, &(*status as u8).to_string(), meaning));
    section(&mut page, "EXAMPLES");
    let examples = match is_root {
        true => crate::args::help::EXAMPLES.to_vec(),
        false => example.lines().map(str::trim).filter(|line| line.starts_with("rowferry")).collect(),
    };
    examples.into_iter().for_each(|example| verbatim(&mut page, example));
    if !is_root {
        section(&mut page, "SEE ALSO");
        paragraph(&mut page, "rowferry(1)");
    }
    Ok(page)
}

fn section(page: &mut Vec<u8>, title: &str) {
    page.extend(format!(".SH \"{title}\"\n").bytes());
}

fn item(page: &mut Vec<u8>, name: &str, meaning: &str) {
    page.extend(format!(".TP\n\\fB{}\\fR\n{}\n", escaped(name), escaped(meaning)).bytes());
}

fn paragraph(page: &mut Vec<u8>, text: &str) {
    page.extend(format!(".PP\n{}\n", escaped(text)).bytes());
}

fn verbatim(page: &mut Vec<u8>, text: &str) {
    page.extend(format!(".PP\n.nf\n{}\n.fi\n", escaped(text)).bytes());
}

/// A line that means itself.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

fn no_command(name: &str) -> Failure {
    let error = Error::new(ErrorKind::NotFound, format!("there is no command {name:?}"));
    Failure::usage(error.with_hint("`rowferry --help` lists them."))
}

fn cannot_write(name: &str, error: std::io::Error) -> Failure {
    let message = format!("cannot write {name}: {error}");
    Error::new(ErrorKind::File, message).with_hint("Check the path.").with_source(error).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_means_itself() {
        assert_eq!(escaped(".x \\ --db"), "\\&.x \\e \\-\\-db");
    }
}
