//! What both programs do beside serving.

use std::io;

use rowferry::{Direction, Result, Site};

/// Opens the site in the file that the command line names.
///
/// # Errors
/// When there is no such argument, or the file cannot be opened.
pub fn open() -> std::result::Result<Site, Box<dyn std::error::Error + Send + Sync>> {
    let path = std::env::args_os().nth(1).ok_or("usage: PROGRAM DATABASE")?;
    Ok(Site::open(path)?)
}

/// Prints the URL, and a code to pull with once.
///
/// # Errors
/// When no code can be made.
pub fn announce(site: &Site, url: &str) -> Result<()> {
    let session = site.sessions().create(Direction::Send)?;
    println!("{url} {}", session.code());
    Ok(())
}

/// Waits until the standard input ends (Ctrl-D), and with it the program.
pub fn wait_for_the_end() {
    if let Err(error) = io::copy(&mut io::stdin(), &mut io::sink()) {
        eprintln!("the input cannot be read: {error}");
    }
}
