//! The command line: a user of the library like any other.
#![deny(unsafe_code)]

mod args;
mod commands;
mod demo;
mod failure;
mod output;
mod progress;
mod values;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use failure::{Done, Failure};
use output::Out;

fn main() -> ExitCode {
    let command = Cli::parse().command;
    start_log(&command);
    let mut out = Out::new();
    match run(&command, &mut out) {
        Ok(done) => done.into(),
        Err(failure) => failure.tell(&mut out, wants_json(&command)),
    }
}

fn run(command: &Command, out: &mut Out) -> Result<Done, Failure> {
    match command {
        Command::Demo(args) => demo::run(args, out),
        Command::Serve(args) => commands::serve::run(args, out),
        Command::Pull(args) => commands::pull::run(args, out),
        Command::Tables(args) => commands::inspect::tables(args, out),
        Command::Schema(args) => commands::inspect::schema(args, out),
        Command::Count(args) => commands::inspect::count(args, out),
        Command::Records(args) => commands::inspect::records(args, out),
        Command::Sessions { command } => commands::sessions::run(command, out),
        Command::Settings { command } => commands::settings::run(command, out),
        Command::Status(args) => commands::status::run(args, out),
    }
}

fn wants_json(command: &Command) -> bool {
    use args::{SessionsCommand as Sessions, SettingsCommand as Settings};

    let format = match command {
        Command::Demo(_) => return false,
        Command::Serve(args) => &args.format,
        Command::Pull(args) => &args.format,
        Command::Tables(args) => &args.format,
        Command::Schema(args) | Command::Count(args) => &args.format,
        Command::Records(args) => &args.format,
        Command::Status(args) => &args.format,
        Command::Sessions { command } => match command {
            Sessions::Create { format, .. }
            | Sessions::List { format, .. }
            | Sessions::Delete { format, .. }
            | Sessions::ResetKey { format, .. } => format,
        },
        Command::Settings { command } => match command {
            Settings::Get { format, .. } | Settings::Set { format, .. } => format,
        },
    };
    format.json
}

/// Whoever serves wants to see on stderr who came; the other commands say what is to be said themselves. `RUST_LOG` asks for
/// more or less.
fn start_log(command: &Command) {
    let default = if matches!(command, Command::Serve(_)) { "rowferry=info" } else { "off" };
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(default)).init();
}
