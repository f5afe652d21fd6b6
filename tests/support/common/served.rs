//! A site that is served on loopback.

use rowferry::{Auth, Client, ConnectOptions, Direction, PullOptions, Report, Server, ServerHandle, Site};

use super::Fixture;

pub struct Sender {
    pub there: Fixture,
    pub server: ServerHandle,
}

impl Sender {
    /// A site on a database of its own, made by this SQL.
    pub fn new(sql: &str) -> Self {
        let there = Fixture::new(sql);
        let server = Server::bind(&there.site, "127.0.0.1:0").unwrap().spawn().unwrap();
        Sender { there, server }
    }

    pub fn code(&self) -> String {
        self.there.site.sessions().create(Direction::Send).unwrap().code().to_owned()
    }

    pub fn client(&self) -> Client {
        Client::connect(self.server.url(), Auth::code(self.code()), ConnectOptions::default()).unwrap()
    }

    pub fn pull(&self, here: &Site, options: PullOptions<'_>) -> Report {
        self.client().pull(here, options).unwrap()
    }
}
