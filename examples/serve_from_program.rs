//! Lets others pull from a program's own database, in two ways: with the small server that comes with rowferry, and with the
//! handler, which knows no sockets and fits into any HTTP server.
//!
//! ```text
//! cargo run --example serve_from_program -- shop.db
//! ```
//!
//! It prints what to type elsewhere, and ends when Enter is pressed.

use std::process::ExitCode;

use rowferry::{Direction, Result, Server, Site};

fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("usage: serve_from_program DATABASE");
        return ExitCode::from(2);
    };
    let until_enter = |url: &str, code: &str| {
        println!("To pull it: rowferry pull {url} --code {code} --db backup.db");
        println!("Press Enter to end.");
        if let Err(error) = std::io::stdin().read_line(&mut String::new()) {
            eprintln!("serve_from_program: cannot read from the terminal: {error}");
        }
    };
    match serve(&path, until_enter) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("serve_from_program: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Serves a database for as long as `serving` takes, which gets the URL and a code.
pub fn serve(path: &str, serving: impl FnOnce(&str, &str)) -> Result<()> {
    // The program's other connections to the file keep working meanwhile. Tables that nobody else should ever see are hidden.
    let shop = Site::builder().hide_tables(["passwords"]).open(path)?;

    // The handler turns a request into an answer; a host calls it from its own server, whatever that is. Requests for the
    // WebSocket (`Handler::is_upgrade`) go to `Handler::upgrade`, and its stream to `ChannelSession::serve`. The folder
    // `examples/servers` does so with tiny_http and with axum.
    let handler = shop.handler();
    if let Ok(request) = http::Request::get("/sync/api/status").body(Vec::new()) {
        let answer = handler.handle(&request, None);
        let status = answer.status();
        // A body may be long: a server reads it piece by piece and sends each as it comes.
        match answer.into_body().into_bytes() {
            Ok(bytes) => println!("{status} {}", String::from_utf8_lossy(&bytes)),
            Err(error) => eprintln!("serve_from_program: the answer ends early: {error}"),
        }
    }

    // The small server does all of this on a thread of its own. Port 0 picks a free port.
    let server = Server::bind(&shop, "127.0.0.1:0")?.spawn()?;

    // Nobody gets a row without a code. This one lives until it is used, or until the guard is dropped.
    let session = shop.sessions().create(Direction::Send)?;
    let code = session.code().to_owned();
    let _guard = session.guard();

    serving(server.url(), &code);
    server.stop();
    Ok(())
}
