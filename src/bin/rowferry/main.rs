//! The command line: a user of the library like any other.
#![deny(unsafe_code)]

mod args;
mod commands;
mod database;
mod demo;
mod failure;
mod hints;
mod logging;
mod output;
mod progress;
mod signals;
mod status;
mod values;

use std::process::ExitCode;

use args::{Cli, Command};
use failure::{Done, Failure};
use output::Out;

fn main() -> ExitCode {
    signals::begin();
    let (Cli { command, talk }, matches) = match args::parse(std::env::args_os()) {
        Ok(parsed) => parsed,
        Err(error) => {
            // Of words that cannot be read no more is known than that this one is among them.
            if error.use_stderr() && std::env::args_os().any(|word| word == "--json") {
                failure::tell_usage(&error, &mut Out::new(false));
            }
            error.exit()
        }
    };
    // Not every command has the option.
    let json = args::leaf(&matches).try_get_one("json").ok().flatten().copied().unwrap_or(false);
    logging::start(&talk, matches!(command, Command::Serve(_)));
    log::debug!("rowferry {} for {} on {}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH, std::env::consts::OS);
    let mut out = Out::new(talk.quiet);
    match run(&command, &mut out) {
        Ok(done) => done.into(),
        Err(failure) => failure.tell(&mut out, matches.subcommand_name().unwrap_or_default(), json),
    }
}

fn run(command: &Command, out: &mut Out) -> Result<Done, Failure> {
    match command {
        Command::Demo(args) => demo::run(args, out),
        Command::Serve(args) => commands::serve::run(args, out),
        Command::Pull(args) => commands::pull::run(args, out),
        Command::Verify(args) => commands::verify::run(args, out),
        Command::Tables(args) => commands::inspect::tables(args, out),
        Command::Schema(args) => commands::inspect::schema(args, out),
        Command::Count(args) => commands::inspect::count(args, out),
        Command::Records(args) => commands::inspect::records(args, out),
        Command::Sessions { command } => commands::sessions::run(command, out),
        Command::Settings { command } => commands::settings::run(command, out),
        Command::Connections { command } => commands::connections::run(command, out),
        Command::Transfers { command } => commands::transfers::run(command, out),
        Command::Keymap { command } => commands::keymap::run(command, out),
        Command::Events(args) => commands::events::run(args, out),
        Command::Status(args) => commands::status::run(args, out),
        Command::State { command } => commands::state::run(command, out),
        Command::Doctor(args) => commands::doctor::run(args, out),
        Command::Site { command } => commands::site_copy::run(command, out),
        Command::Completions { shell } => commands::papers::completions(*shell, out),
        Command::Man(args) => commands::papers::man(args, out),
    }
}
