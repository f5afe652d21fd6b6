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

use clap::{ArgMatches, CommandFactory, FromArgMatches};

use args::{Cli, Command};
use failure::{Done, Failure};
use output::Out;

fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let json = wants_json(&matches);
    let command = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()).command;
    start_log(&command);
    let mut out = Out::new();
    match run(&command, &mut out) {
        Ok(done) => done.into(),
        Err(failure) => failure.tell(&mut out, json),
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
        Command::Connections { command } => commands::connections::run(command, out),
        Command::Transfers { command } => commands::transfers::run(command, out),
        Command::Keymap { command } => commands::keymap::run(command, out),
        Command::Events(args) => commands::events::run(args, out),
        Command::Status(args) => commands::status::run(args, out),
    }
}

/// Whether the command was to answer in JSON.
fn wants_json(matches: &ArgMatches) -> bool {
    match matches.subcommand() {
        Some((_, matches)) => wants_json(matches),
        // Not every command has the option.
        None => matches.try_get_one("json").ok().flatten().copied().unwrap_or(false),
    }
}

/// One who serves wants to see on stderr who came; the other commands say what is to be said themselves. `RUST_LOG` asks for
/// more or less of it, but not for what dependencies say of the bytes that they move: codes and rows are in them.
fn start_log(command: &Command) {
    let default = if matches!(command, Command::Serve(_)) { "rowferry=info" } else { "off" };
    let mut builder = env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(default));
    for talkative in ["tungstenite", "ureq", "ureq_proto", "rustls"] {
        builder.filter_module(talkative, log::LevelFilter::Warn);
    }
    builder.init();
}
