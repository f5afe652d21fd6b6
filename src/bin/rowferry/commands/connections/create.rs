//! Connections and tokens that are made, and shown once.

use rowferry::{
    Connection, ConnectionDirection, ConnectionWithToken, Error, ErrorKind, NewConnection, Policy, RegisterOutcome,
    RegisterReport, Strategy,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::tell::{self, Teller, Told};
use super::{Shown, find, shown, warn_of_unknown_tables};
use crate::args::connections::{ChangeArgs, CreateArgs, Secrets};
use crate::args::secret::Secret;
use crate::args::{Db, Network};
use crate::commands::plain::warn_of_plain_http;
use crate::commands::{cancelled_by_signals, connect_options, open_existing};
use crate::database::without_password;
use crate::failure::Failure;
use crate::output::{Out, printable};

/// A connection with its token, and what the other site said to it.
#[derive(Serialize)]
struct Made<'c, N: Serialize> {
    #[serde(flatten)]
    connection: Shown<'c>,
    token: Option<&'c str>,
    notified: Option<N>,
}

/// A connection with its new token, and what the other site said to it.
#[derive(Serialize)]
struct Rotated<'c> {
    #[serde(flatten)]
    connection: Shown<'c>,
    token: &'c str,
    /// Whether the other site can be told at all: where the old token is lost, it must be given the new one by hand.
    queued: bool,
    notified: Option<&'c Told>,
}

pub fn run(args: &CreateArgs, out: &mut Out) -> Result<(), Failure> {
    let secrets = args.secrets()?;
    let new = new_connection(args, &secrets)?;
    let site = open_existing(&args.db)?;
    // Whatever can fail here does so before there is a token that is shown only once.
    let ours = site.settings().site_url()?;
    let notifier = site.notifier(connect_options(&args.network, &cancelled_by_signals()?)?).by(&args.by.name);
    let ConnectionWithToken { connection, token, .. } =
        site.connections().by(&args.by.name).create(new).map_err(Failure::typed)?;
    if connection.direction == ConnectionDirection::Receiver {
        return match args.format.json {
            true => out.json(&Made::<Value> { connection: shown(&connection), token: None, notified: None }),
            false => receiver(args, &connection, out),
        };
    }
    warn_of_unknown_tables(&site, &connection);
    let asked = match (args.no_notify, &ours) {
        (true, _) => None,
        (false, None) => Some(Registration::NoUrl),
        (false, Some(_)) => {
            // The connection is there, and its token is known only here: whatever goes wrong, both are shown.
            warn_of_plain_http(&connection.site_url);
            let password = secrets.remote_password.as_ref().map(Secret::as_str);
            let asked = notifier.register(connection.uuid, &token, password);
            Some(asked.map_or_else(Registration::Failed, Registration::Asked))
        }
    };
    // With what the registration left in its notes, which are not worth the token.
    let connection = site.connections().get(connection.uuid).unwrap_or(connection);
    if args.format.json {
        let notified = asked.as_ref().map(Registration::json);
        return out.json(&Made { connection: shown(&connection), token: Some(token.as_str()), notified });
    }
    if out.is_quiet() {
        return out.line(token.as_str());
    }
    let name = printable(&connection.name);
    out.line(format!("Connection {name} is made: {} may pull from this site.", printable(&connection.site_url)))?;
    out.line("")?;
    show_token(&connection, token.as_str(), out)?;
    out.line("")?;
    match &asked {
        Some(asked) if !asked.by_hand() => out.line(asked.text()),
        Some(asked) => {
            out.line(asked.text())?;
            by_hand(ours.as_deref(), &connection, out)
        }
        None => by_hand(ours.as_deref(), &connection, out),
    }
}

/// What was typed, as the connection that is to be made.
fn new_connection(args: &CreateArgs, secrets: &Secrets) -> Result<NewConnection, Failure> {
    let new = match (args.direction, &secrets.token) {
        (ConnectionDirection::Sender, None) => NewConnection::sender(&args.name, &args.site_url),
        (ConnectionDirection::Receiver, Some(token)) => {
            // The other site made the connection: there is nothing to tell it.
            let Network { prefix, ca_cert, timeout } = &args.network;
            let given = [
                (secrets.remote_password.is_some(), "--remote-password"),
                (args.no_notify, "--no-notify"),
                (prefix.is_some(), "--prefix"),
                (ca_cert.is_some(), "--ca-cert"),
                (timeout.is_some(), "--timeout"),
            ];
            if let Some((_, flag)) = given.iter().find(|(given, _)| *given) {
                return Err(wrong(&format!("a receiver registers with nobody, and takes no {flag}"), "Leave it out."));
            }
            NewConnection::receiver(&args.name, &args.site_url, token.token()?)
        }
        (ConnectionDirection::Sender, Some(_)) => {
            return Err(no_token_of_a_sender(
                "Leave --token out, or add --direction receiver if the other site gave the token out.",
            ));
        }
        (ConnectionDirection::Receiver, None) => {
            return Err(wrong("a receiver needs the token that the other site gave out", "Give --token-file or --token."));
        }
    };
    let mut policy = Policy::default();
    args.policy.apply(&mut policy, &args.policy.hours().map_err(Failure::typed)?);
    let mut new = new.policy(policy);
    if let Some(password) = &secrets.download_password {
        new = new.download_password(password.as_str());
    }
    if let Some(metadata) = &args.notes.metadata {
        new = new.metadata(metadata.clone());
    }
    Ok(new)
}

pub fn no_token_of_a_sender(hint: &str) -> Failure {
    wrong("the token of a sender is made here", hint)
}

pub fn no_strategy_of_a_sender(strategy: Strategy) -> Failure {
    wrong(
        "the strategy of a sender's pulls is told to the other site when it is registered, and is up to that site afterwards",
        &format!(
            "Leave --default-conflict-strategy out. The other site's people set it: `rowferry connections update CONNECTION \
             --default-conflict-strategy {strategy} --db DB`."
        ),
    )
}

fn wrong(message: &str, hint: &str) -> Failure {
    Failure::usage(Error::new(ErrorKind::InvalidInput, message).with_hint(hint))
}

fn receiver(args: &CreateArgs, connection: &Connection, out: &mut Out) -> Result<(), Failure> {
    let (name, url) = (printable(&connection.name), printable(&connection.site_url));
    out.say(format!("Connection {name} is made: this site may pull from {url}."))?;
    out.say("")?;
    out.say(format!("  rowferry pull --connection {}{}", connection.uuid, database(&args.db)))
}

/// The flags that name this site's database again.
fn database(db: &Db) -> String {
    let mut flags = format!(" --db {}", super::quoted(&without_password(&db.path)));
    let mut add = |flag: &str, value: &str| flags.push_str(&format!(" {flag} {}", super::quoted(value)));
    db.postgres.schemas.iter().for_each(|schema| add("--db-schema", schema));
    for (flag, file) in [("--db-ca-cert", &db.postgres.ca_cert), ("--key-file", &db.key_file)] {
        if let Some(file) = file {
            add(flag, &file.display().to_string());
        }
    }
    if db.trust_schema {
        flags.push_str(" --trust-schema");
    }
    flags
}

/// What became of the registration with the other site.
enum Registration {
    /// The other site was asked, or could not be.
    Asked(RegisterReport),
    /// This site does not know its own URL, by which the other site would know it.
    NoUrl,
    /// It could not even be tried.
    Failed(Error),
}

impl Registration {
    /// Whether the token has to be shared by hand.
    fn by_hand(&self) -> bool {
        match self {
            Registration::Asked(result) => !matches!(result.outcome, RegisterOutcome::Registered | RegisterOutcome::Pending),
            Registration::NoUrl | Registration::Failed(_) => true,
        }
    }

    fn json(&self) -> Value {
        match self {
            Registration::Asked(result) => json!({
                "outcome": result.outcome,
                "http_status": result.http_status,
                "message": result.message,
                "remote_uuid": result.remote_uuid,
            }),
            Registration::NoUrl => json!({
                "outcome": RegisterOutcome::Skipped,
                "http_status": null,
                "message": NO_URL,
                "remote_uuid": null,
            }),
            Registration::Failed(error) => json!({
                "outcome": RegisterOutcome::Failed,
                "http_status": null,
                "message": error.to_string(),
                "remote_uuid": null,
            }),
        }
    }

    fn text(&self) -> String {
        match self {
            Registration::Asked(result) => {
                let said = printable(&result.message);
                match (result.outcome, result.http_status) {
                    (RegisterOutcome::Registered, _) => "The other site has registered it, and can pull at once.".to_owned(),
                    (RegisterOutcome::Pending, _) => {
                        "The other site has registered it. Someone there has to approve it.".to_owned()
                    }
                    (_, Some(status)) => format!("The other site refused it (HTTP {status}): {said}"),
                    (_, None) => format!("The other site was not told: {said}"),
                }
            }
            Registration::NoUrl => NO_URL.to_owned(),
            Registration::Failed(error) => format!("The other site was not told: {}", printable(&error.to_string())),
        }
    }
}

const NO_URL: &str = "The other site was not told: the setting site_url, by which it would know this one, is not set. \
                      Set it (`rowferry settings set site_url https://... --db DB`), delete the connection \
                      (`rowferry connections delete`), and create it again. Or give the token by hand.";

/// Says how the other site's people come by the connection without being told by this site.
fn by_hand(ours: Option<&str>, connection: &Connection, out: &mut Out) -> Result<(), Failure> {
    let ours = ours.unwrap_or("https://...");
    let name = super::quoted(&connection.name);
    // A registration would have told it.
    let strategy = match connection.policy.default_conflict_strategy {
        strategy if strategy == Strategy::default() => String::new(),
        strategy => format!(" --default-conflict-strategy {strategy}"),
    };
    out.line("Give the token to the other site's people by hand. They put it into a file, and run:")?;
    out.line("")?;
    out.line(format!(
        "  rowferry connections create --direction receiver --name {name} --site-url {ours} --token-file FILE{strategy} --db DB"
    ))
}

fn show_token(connection: &Connection, token: &str, out: &mut Out) -> Result<(), Failure> {
    out.line(format!("  uuid   {}", connection.uuid))?;
    out.line(format!("  token  {token}"))?;
    out.line("")?;
    out.line("The token is shown only now. Anyone who has it can pull what the connection allows.")
}

/// Makes a new token.
pub fn rotate(args: &ChangeArgs, out: &mut Out) -> Result<(), Failure> {
    let site = open_existing(&args.one.db)?;
    let uuid = find(&site, &args.one.connection)?.uuid;
    let teller = Teller::new(&site, &args.tell, &args.one.by.name)?;
    let ConnectionWithToken { connection, token, queued, .. } =
        site.connections().by(&args.one.by.name).regenerate_token(uuid).map_err(Failure::typed)?;
    // What is not queued cannot be told: nothing is asked for that.
    let told = if queued { teller.tell(&connection) } else { Some(Told::by_hand()) };
    if args.one.format.json {
        let notified = told.as_ref();
        return out.json(&Rotated { connection: shown(&connection), token: token.as_str(), queued, notified });
    }
    if out.is_quiet() {
        return out.line(token.as_str());
    }
    out.line(format!("Connection {} has a new token; the old one no longer works.", printable(&connection.name)))?;
    out.line("")?;
    show_token(&connection, token.as_str(), out)?;
    out.line("")?;
    match &told {
        Some(told) => out.line(told.text()),
        None => out.line(tell::LATER),
    }
}
