//! `rowferry serve`

use std::sync::mpsc;

use rowferry::serve::{Server, ServerTls};
use rowferry::{CancelToken, Direction, NotCopied, Session, Site};
use serde_json::json;

use super::maintain::Maintainer;
use super::report::not_copied_json;
use super::{connect_options, moment, on_signal, open_existing, read_file};
use crate::args::Network;
use crate::args::site::ServeArgs;
use crate::failure::{Done, Failure};
use crate::output::{Out, complain, counted, printable};

pub fn run(args: &ServeArgs, out: &mut Out) -> Result<Done, Failure> {
    let site = open_existing(&args.db)?;
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
        true => announce_json(&site, server.url(), session.as_ref(), out)?,
        false => announce(args, &site, server.url(), session.as_ref(), out)?,
    }
    // An error means that there will never be a signal: the handler, which has the sender, stays until the program ends.
    let _ = signalled.recv();
    // Nobody is let in while the maintenance ends, which may be waiting for another site.
    maintainer.cancel();
    server.stop();
    maintainer.stop();
    if !args.format.json {
        out.line("Stopped.")?;
    }
    Ok(Done::Whole)
}

/// What is there and not offered: what belongs to the tables is told to who pulls them.
fn not_offered(site: &Site) -> NotCopied {
    let mut found = site.not_copied().unwrap_or_else(|error| {
        complain(format!("what is not offered cannot be told: {error}"));
        NotCopied::default()
    });
    found.checks.clear();
    found.triggers.clear();
    found
}

fn announce_json(site: &Site, url: &str, session: Option<&Session>, out: &mut Out) -> Result<(), Failure> {
    let listening = match not_offered(site) {
        nothing if nothing.is_empty() => json!({ "event": "listening", "url": url }),
        some => {
            let mut kinds = not_copied_json(&some);
            if let Some(kinds) = kinds.as_object_mut() {
                kinds.retain(|kind, _| kind != "checks" && kind != "triggers");
            }
            json!({ "event": "listening", "url": url, "not_offered": kinds })
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

fn announce(args: &ServeArgs, site: &Site, url: &str, session: Option<&Session>, out: &mut Out) -> Result<(), Failure> {
    let tables = site.list_tables()?;
    let rows: u64 = tables.iter().map(|table| table.row_count).sum();
    let db = printable(&args.db.path);
    out.line(format!("Serving {db} ({}, {}) at {url}", counted(tables.len() as u64, "table"), counted(rows, "row")))?;
    let not_offered = not_offered(site);
    if !not_offered.is_empty() {
        out.line(printable(&format!("Not offered: {not_offered}.")))?;
    }
    out.line("Ctrl-C ends it.")?;
    if !site.settings().enabled()? {
        out.line("Sync is switched off: nobody gets anything until `rowferry settings set enabled true`.")?;
    }
    out.line("")?;
    let Some(session) = session else {
        return out.line(format!("To let somebody pull, make a code: rowferry sessions create --db {db}"));
    };
    let theirs = site.settings().site_url()?.unwrap_or_else(|| url.to_owned());
    out.line(format!("To pull it, run this elsewhere. The code works once, until {}:", moment(session.expires_at())))?;
    out.line("")?;
    out.line(format!("  rowferry pull {theirs} --code {} --db backup.db", session.code()))
}
