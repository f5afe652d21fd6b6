//! `rowferry serve`

use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use rowferry::{CancelToken, ConnectionFilter, ConnectionStatus, Direction, Error, Limits, NotCopied, Session, Site};
use rowferry::{Server, ServerHandle, ServerTls};
use serde_json::json;

use super::addresses::urls_for_others;
use super::maintain::Maintainer;
use super::plain::warn_of_plain_http;
use super::{connect_options, moment, open_with, read_file};
use crate::args::Network;
use crate::args::site::ServeArgs;
use crate::database::without_password;
use crate::failure::{Done, Failure};
use crate::output::{Out, complain, counted, printable};
use crate::signals::on_signal;

pub fn run(args: &ServeArgs, out: &mut Out) -> Result<Done, Failure> {
    let mut limits = Limits::default();
    let count = |given: Option<u32>| given.map(|count| count as usize);
    limits.server.connections = count(args.connections).unwrap_or(limits.server.connections);
    limits.server.connections_per_address = count(args.connections_per_address);
    let site = open_with(&args.db, limits)?;
    let cancel = CancelToken::new();
    let network = Network { prefix: args.remote_prefix.clone(), ca_cert: args.ca_cert.clone(), timeout: None };
    let outgoing = connect_options(&network, &cancel)?;
    if let Some(url) = &args.site_url {
        site.settings().set_site_url(url).map_err(Failure::typed)?;
    }
    let mut builder = Server::builder(&site);
    if let Some(prefix) = &args.prefix {
        builder = builder.prefix(prefix).map_err(Failure::typed)?;
    }
    builder = builder.trust_proxies(args.trusted_proxies.iter().copied());
    // clap takes both or none.
    if let (Some(certificate), Some(key)) = (&args.tls_cert, &args.tls_key) {
        builder = builder.tls(ServerTls::from_pem(&read_file(certificate)?, &read_file(key)?)?);
    }
    let server = builder.bind(args.listen.as_str()).map_err(|error| error.while_doing(&args.listen))?;
    if !server.local_addr().ip().is_loopback() && args.tls_cert.is_none() {
        complain(format!(
            "warning: {} can be reached from other machines, and nothing is encrypted. Use --tls-cert and --tls-key, \
             or a proxy that speaks https.",
            server.local_addr()
        ));
    }
    warn_of_plain_sites(&site)?;
    let (signal, signalled) = mpsc::channel();
    on_signal(move || {
        // The receiver is gone when the program is ending anyway.
        let _ = signal.send(());
    })?;
    let server = server.spawn()?;
    let maintainer = Maintainer::start(site.clone(), outgoing, cancel)?;
    let session = match args.code {
        true => Some(site.sessions().create(Direction::Send)?),
        false => None,
    };
    match args.format.json {
        true => announce_json(&site, &server, session.as_ref(), out)?,
        false if out.is_quiet() => session.as_ref().map_or(Ok(()), |session| out.line(session.code()))?,
        false => announce(args, &site, &server, session.as_ref(), out)?,
    }
    let ended = wait(&site, &signalled);
    // Nobody is let in while the maintenance ends, which may be waiting for another site.
    maintainer.cancel();
    server.stop();
    maintainer.stop();
    ended?;
    if !args.format.json {
        out.say("Stopped.")?;
    }
    Ok(Done::Whole)
}

/// Warns where this site tells other sites of their connections over http, each time with a secret.
fn warn_of_plain_sites(site: &Site) -> Result<(), Failure> {
    let active = site.connections().list(&ConnectionFilter::new().status(ConnectionStatus::Active))?;
    active.iter().for_each(|connection| warn_of_plain_http(&connection.site_url));
    Ok(())
}

/// How often the served file is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Waits for a signal.
///
/// # Errors
/// When the served file was deleted or replaced: every call fails from then on. It may be missing for a moment, while somebody puts
/// it back.
fn wait(site: &Site, signalled: &Receiver<()>) -> Result<(), Error> {
    let mut was_wrong = false;
    loop {
        // Disconnected: there will never be a signal. The handler, which has the sender, stays until the program ends.
        match signalled.recv_timeout(LOOK_INTERVAL) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {}
        }
        match site.check_file() {
            Ok(()) => was_wrong = false,
            Err(error) if was_wrong => return Err(error),
            Err(_) => was_wrong = true,
        }
    }
}

/// What is there and not offered: what belongs to the tables is told to who pulls them.
fn not_offered(site: &Site) -> NotCopied {
    let mut found = site.not_copied().unwrap_or_else(|error| {
        complain(format!("what is not offered cannot be told: {error}"));
        NotCopied::default()
    });
    found.parts.clear();
    found.checks.clear();
    found.triggers.clear();
    found
}

fn announce_json(site: &Site, server: &ServerHandle, session: Option<&Session>, out: &mut Out) -> Result<(), Failure> {
    let url = server.url();
    let others = urls_for_others(server.local_addr(), url);
    let listening = match not_offered(site) {
        nothing if nothing.is_empty() => json!({ "event": "listening", "url": url, "urls": others }),
        some => {
            let mut kinds = json!(some);
            if let Some(kinds) = kinds.as_object_mut() {
                kinds.retain(|kind, _| kind != "checks" && kind != "triggers");
            }
            json!({ "event": "listening", "url": url, "urls": others, "not_offered": kinds })
        }
    };
    out.json(&listening)?;
    match session {
        Some(session) => out.json(&json!({
            "event": "session",
            "code": session.code(),
            "uuid": session.uuid().to_string(),
            "expires_at": moment(session.expires_at()),
        })),
        None => Ok(()),
    }
}

fn announce(
    args: &ServeArgs,
    site: &Site,
    server: &ServerHandle,
    session: Option<&Session>,
    out: &mut Out,
) -> Result<(), Failure> {
    let url = server.url();
    let others = urls_for_others(server.local_addr(), url);
    let site_url = site.settings().site_url()?;
    let tables = site.list_tables()?;
    let rows: u64 = tables.iter().map(|table| table.row_count).sum();
    let db = printable(&without_password(&args.db.path));
    out.line(format!("Serving {db} ({}, {}) at {url}", counted(tables.len() as u64, "table"), counted(rows, "row")))?;
    let not_offered = not_offered(site);
    if !not_offered.is_empty() {
        out.line(printable(&format!("Not offered: {not_offered}.")))?;
    }
    reached_by(site_url.as_deref(), &others, server.local_addr().port(), out)?;
    out.line("Ctrl-C ends it.")?;
    if !site.settings().enabled()? {
        out.line("Sync is switched off: nobody gets anything until `rowferry settings set enabled true`.")?;
    }
    out.line("")?;
    let Some(session) = session else {
        return out.line(format!("To let somebody pull, make a code: rowferry sessions create --db {db}"));
    };
    let theirs = site_url.as_deref().or(others.first().map(String::as_str));
    let place = if theirs.is_some() { "on another machine" } else { "on this machine" };
    let theirs = theirs.unwrap_or(url);
    out.line(format!("To pull it, run this {place}. The code works once, until {}:", moment(session.expires_at())))?;
    out.line("")?;
    out.line(format!("  rowferry pull {theirs} --code {} --db backup.db", session.code()))
}

/// Says how other machines reach this one.
fn reached_by(site_url: Option<&str>, others: &[String], port: u16, out: &mut Out) -> Result<(), Failure> {
    match (site_url, others) {
        // Who set it knows how others come here: by a proxy, say.
        (Some(url), _) => out.line(format!("Other sites reach it at {}, the setting site_url.", printable(url))),
        (None, []) => out.line(format!(
            "Only this machine reaches it. For others: --listen 0.0.0.0:{port} with --tls-cert and --tls-key, or a proxy that speaks \
             https and --site-url."
        )),
        (None, [one]) => out.line(format!("Other machines reach it at {one}, if no firewall is in the way.")),
        (None, all) => {
            out.line("Other machines reach it at one of these, if no firewall is in the way:")?;
            all.iter().try_for_each(|url| out.line(format!("  {url}")))
        }
    }
}
