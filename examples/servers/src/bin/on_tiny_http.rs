//! rowferry in a server of tiny_http: one thread for each request, and no async runtime.
//!
//! ```text
//! cargo run --bin on_tiny_http -- shop.db
//! ```
//!
//! tiny_http reads without a time-out: a peer that is silent keeps its thread until its connection ends. Let only peers that you know
//! reach such a server, or put a proxy before it that ends silent connections (nginx: `proxy_read_timeout`).

use std::error::Error;
use std::io::{Read, empty};
use std::sync::Arc;
use std::thread;

use http::request::Builder;
use rowferry::{Body, Handler};
use tiny_http::{Header, Request, Response, Server, StatusCode};

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let site = servers::open()?;
    // Made once and cloned: it counts wrong codes, and remembers pulls that may resume.
    let handler = site.handler();
    let server = Arc::new(Server::http("127.0.0.1:0")?);
    let address = server.server_addr().to_ip().ok_or("no address of IP")?;
    servers::announce(&site, &format!("http://{address}"))?;
    let stopped = Arc::clone(&server);
    thread::spawn(move || {
        servers::wait_for_the_end();
        stopped.unblock();
    });
    for request in server.incoming_requests() {
        let handler = handler.clone();
        thread::spawn(move || {
            if let Err(error) = answer(&handler, request) {
                eprintln!("a request ended early: {error}");
            }
        });
    }
    Ok(())
}

/// Answers what is rowferry's, and the rest as a shop would.
fn answer(handler: &Handler, mut request: Request) -> Result<(), Box<dyn Error + Send + Sync>> {
    if !request.url().starts_with("/sync/") {
        return Ok(request.respond(Response::from_string("a shop\n"))?);
    }
    let peer = request.remote_addr().map(|address| address.ip());
    let head = head(&request)?;
    if handler.is_upgrade(&head) {
        return match handler.upgrade(&head, peer) {
            Ok(upgrade) => {
                let answer = Response::new(StatusCode(101), headers(upgrade.response.headers()), empty(), None, None);
                upgrade.session.serve(request.upgrade("websocket", answer));
                Ok(())
            }
            Err(refused) => respond(request, refused),
        };
    }
    // One byte more than is allowed: the handler refuses it.
    let mut body = Vec::new();
    request.as_reader().take(handler.site().limits().server.body_bytes as u64 + 1).read_to_end(&mut body)?;
    let answer = handler.handle(&head.map(|()| body), peer);
    respond(request, answer)
}

/// The head of a request in the types of `http`.
fn head(request: &Request) -> http::Result<http::Request<()>> {
    let builder = http::Request::builder().method(request.method().as_str()).uri(request.url());
    let headers = request.headers().iter();
    let add = |builder: Builder, header: &Header| builder.header(header.field.as_str().as_str(), header.value.as_str());
    headers.fold(builder, add).body(())
}

fn headers(headers: &http::HeaderMap) -> Vec<Header> {
    headers.iter().filter_map(|(name, value)| Header::from_bytes(name.as_str(), value.as_bytes()).ok()).collect()
}

/// Sends an answer. One of unknown length is read from the database while it is sent, in chunks.
fn respond(request: Request, answer: http::Response<Body>) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (head, body) = answer.into_parts();
    let length = body.known_length().map(|length| length as usize);
    Ok(request.respond(Response::new(StatusCode(head.status.as_u16()), headers(&head.headers), body, length, None))?)
}
