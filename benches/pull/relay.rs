//! Makes both ends of a pull speak PhoenixKit's protocol: a relay between them takes out of the join what announces rowferry.
//!
//! Each end then takes the other for PhoenixKit, as it would in earnest. Everything else passes as it is.

use std::io::{self, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use serde_json::Value;
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

/// The name under which a rowferry client announces itself in its join.
const ANNOUNCEMENT: &str = "rowferry";

/// Starts a relay to this sender and gives its URL. Its threads end with the connections they are for, the listening one with
/// this process.
pub fn start(sender_url: &str) -> String {
    let sender = sender_url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    thread::spawn(move || {
        for client in listener.incoming() {
            let sender = TcpStream::connect(&sender).expect("the sender");
            thread::spawn(move || relay(client.expect("a connection"), sender));
        }
    });
    url
}

fn relay(client: TcpStream, sender: TcpStream) {
    for stream in [&client, &sender] {
        stream.set_nodelay(true).expect("an option");
    }
    let (answers, to_client) = (twin(&sender), twin(&client));
    thread::spawn(move || copy(answers, to_client));
    forward_head(&client, &sender).expect("an upgrade");
    // The client waits for the reply to its join, so that nothing stands behind it in this socket's buffer.
    let mut from_client = WebSocket::from_raw_socket(twin(&client), Role::Server, None);
    let join = from_client.read().expect("a join").into_text().expect("text");
    let mut to_sender = WebSocket::from_raw_socket(twin(&sender), Role::Client, None);
    to_sender.send(Message::text(without_announcement(&join))).expect("a sender that takes it");
    copy(client, sender);
}

/// The request that asks for the WebSocket, to its last byte and no further.
fn forward_head(mut client: &TcpStream, mut sender: &TcpStream) -> io::Result<()> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        head.extend(byte);
    }
    sender.write_all(&head)
}

fn without_announcement(join: &str) -> String {
    let mut join: Value = serde_json::from_str(join).expect("JSON");
    let info = join[4]["receiver_info"].as_object_mut().expect("what the client says of itself");
    info.remove(ANNOUNCEMENT).expect("an announcement");
    join.to_string()
}

fn twin(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("the same socket")
}

/// Until one end closes. That the other one is gone too is no fault then.
fn copy(from: TcpStream, mut to: TcpStream) {
    let _ = io::copy(&mut BufReader::with_capacity(256 << 10, from), &mut to);
    let _ = to.shutdown(std::net::Shutdown::Write);
}
