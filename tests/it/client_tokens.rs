//! Connecting with a token: what is sent, what refusals mean, and how a sender of PhoenixKit is told apart.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use rowferry::{Auth, Client, ConnectOptions, Error, ErrorKind};
use serde_json::{Value as Json, json};
use tungstenite::Message;
use tungstenite::handshake::server::{Request, Response};

const TOKEN: &str = "is3W3OM_JqU3b556SxC6yMkHs_niLrwhXX3fnoS47Jw";

fn quick() -> ConnectOptions {
    let time = Duration::from_secs(5);
    ConnectOptions::default().connect_timeout(time).join_timeout(time).request_timeout(time).heartbeat(None)
}

/// Connects to a site that answers the upgrade with this, in which `GIVEN` stands for what lets the client in.
fn refused(auth: Auth, head: &'static str, body: &'static str) -> (String, Error) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let site = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        let request = String::from_utf8(request).unwrap();
        let given = request.lines().find_map(|line| line.strip_prefix("x-rowferry-auth: ")).unwrap().to_owned();
        let body = body.replace("GIVEN", &given);
        write!(stream, "HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
        given
    });
    let error = Client::connect(&url, auth, quick()).unwrap_err();
    (site.join().unwrap(), error)
}

/// A site that takes one connection and answers each frame; gives what was asked for.
fn taken(answer: impl Fn(&Json) -> Option<Json> + Send + 'static) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let site = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut given = String::new();
        #[expect(clippy::result_large_err, reason = "tungstenite's signature")]
        let note = |request: &Request, response: Response| {
            assert_eq!(request.uri().to_string(), "/sync/websocket?vsn=2.0.0");
            given = request.headers()["x-rowferry-auth"].to_str().unwrap().to_owned();
            Ok(response)
        };
        let mut socket = tungstenite::accept_hdr(stream, note).unwrap();
        while let Ok(message) = socket.read() {
            if let Message::Text(text) = message
                && let Some(frame) = answer(&serde_json::from_str(&text).unwrap())
            {
                let _ = socket.send(Message::text(frame.to_string()));
            }
        }
        given
    });
    (url, site)
}

fn reply(frame: &Json, status: &str, response: Json) -> Json {
    json!([null, frame[1], frame[2], "phx_reply", {"response": response, "status": status}])
}

#[test]
fn a_token_opens_a_channel_of_a_rowferry_site() {
    let (url, site) = taken(|frame| match frame[3].as_str().unwrap() {
        "phx_join" if frame[2] == "transfer:self" => Some(reply(
            frame,
            "ok",
            json!({"rowferry": {"version": 1, "site": "00000000-0000-0000-0000-000000000001", "features": []}}),
        )),
        "request:count" => {
            let payload = json!({"code": "approval_required", "error": "The transfer needs approval", "ref": frame[4]["ref"],
                "transfer_uuid": "01a1fd46-7325-7232-98b7-56487b50f09e"});
            Some(json!([null, null, frame[2], "response:error", payload]))
        }
        "request:tables" => {
            let payload =
                json!({"code": "rate_limited", "error": "Too many calls", "ref": frame[4]["ref"], "retry_after": 12});
            Some(json!([null, null, frame[2], "response:error", payload]))
        }
        _ => None,
    });
    let client = Client::connect(&url, Auth::token(TOKEN).password("p&ss wörd"), quick()).unwrap();
    assert!(client.peer().is_some() && !format!("{client:?}").contains(TOKEN));
    let error = client.get_count("users").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ApprovalRequired);
    assert_eq!(error.transfer().unwrap().to_string(), "01a1fd46-7325-7232-98b7-56487b50f09e");
    let error = client.list_tables().unwrap_err();
    assert_eq!((error.kind(), error.retry_after()), (ErrorKind::RateLimited, Some(Duration::from_secs(12))));
    drop(client);
    let given = site.join().unwrap();
    assert!(given.starts_with(&format!("token={TOKEN}&password=p%26ss%20w%C3%B6rd&vsn=2.0.0&receiver=")), "{given}");
}

#[test]
fn a_site_of_the_reference_takes_the_token_and_not_the_topic() {
    let (url, site) = taken(|frame| Some(reply(frame, "error", json!({"reason": "code_mismatch"}))));
    let error = Client::connect(&url, Auth::token(TOKEN), quick()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.message().contains("over HTTP") && error.hint().is_some(), "{error}");
    site.join().unwrap();
    // With a code it is the code that is wrong.
    let (url, site) = taken(|frame| Some(reply(frame, "error", json!({"reason": "code_mismatch"}))));
    assert_eq!(Client::connect(&url, Auth::code("A7X9K2M4"), quick()).unwrap_err().kind(), ErrorKind::InvalidCode);
    site.join().unwrap();
}

#[test]
fn refusals_of_a_token() {
    for (text, kind) in [
        ("Invalid token", ErrorKind::InvalidToken),
        ("Connection not active", ErrorKind::ConnectionNotActive),
        ("Connection expired", ErrorKind::ConnectionExpired),
        ("Download limit reached", ErrorKind::DownloadLimit),
        ("Record limit reached", ErrorKind::RecordLimit),
        ("IP not allowed", ErrorKind::AddressNotAllowed),
        ("Outside allowed hours", ErrorKind::OutsideAllowedHours),
        ("Invalid password", ErrorKind::InvalidPassword),
        ("Password required", ErrorKind::PasswordRequired),
        ("Module disabled", ErrorKind::Disabled),
        ("Something else", ErrorKind::Refused),
    ] {
        let (given, error) = refused(Auth::token(TOKEN), "403 Forbidden\r\ncontent-type: text/plain", text);
        assert!(given.starts_with(&format!("token={TOKEN}&vsn=2.0.0&receiver=")), "{given}");
        assert_eq!(error.kind(), kind, "{text}: {error}");
        assert!(error.hint().is_some_and(|hint| !hint.contains("new code")), "{text}: {error}");
    }
    let (_, error) = refused(Auth::token(TOKEN), "429 Too Many Requests\r\nretry-after: 9", "");
    assert_eq!((error.kind(), error.retry_after()), (ErrorKind::RateLimited, Some(Duration::from_secs(9))));
    let (_, error) = refused(Auth::code("A7X9K2M4"), "429 Too Many Requests\r\nretry-after: 9", "");
    assert_eq!((error.kind(), error.retry_after()), (ErrorKind::TooManyAttempts, Some(Duration::from_secs(9))));
    let (_, error) = refused(Auth::token(TOKEN), "302 Found\r\nlocation: http://127.0.0.1:1/", "");
    assert!(error.kind() == ErrorKind::Refused && error.message().contains("redirect"), "{error}");
}

#[test]
fn what_a_site_repeats_of_the_request_is_not_shown() {
    let auth = Auth::token("to+ken/secret").password("pass word");
    let (target, error) = refused(auth, "500 Internal Server Error", "no route for GIVEN (token to+ken/secret, pass word)");
    assert!(target.contains("token=to%2Bken%2Fsecret&password=pass%20word"), "{target}");
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("no route for token=(..)"), "{shown}");
    for secret in ["to+ken/secret", "to%2Bken%2Fsecret", "pass word", "pass%20word"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    let (_, error) = refused(Auth::code("A7X9K2M4"), "500 Internal Server Error", "no route for GIVEN");
    assert!(!format!("{error:?}").contains("A7X9K2M4"));
}

#[test]
fn what_a_site_repeats_on_the_channel_is_not_shown() {
    let said = "no right for is3W3OM_JqU3b556SxC6yMkHs_niLrwhXX3fnoS47Jw with p&ss wörd, sent as p%26ss%20w%C3%B6rd";
    let auth = || Auth::token(TOKEN).password("p&ss wörd");
    let hides = |error: &Error| {
        let shown = format!("{error} {error:?}");
        for secret in [&TOKEN[..10], "p&ss", "p%26ss"] {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
    };
    let (url, site) = taken(move |frame| Some(reply(frame, "error", json!({"reason": said}))));
    hides(&Client::connect(&url, auth(), quick()).unwrap_err());
    site.join().unwrap();

    let (url, site) = taken(move |frame| match frame[3].as_str().unwrap() {
        "phx_join" => Some(reply(
            frame,
            "ok",
            json!({"rowferry": {"version": 1, "site": "00000000-0000-0000-0000-000000000001", "features": []}}),
        )),
        "request:capabilities" => Some(json!([null, null, frame[2], "response:capabilities",
            {"ref": frame[4]["ref"], "capabilities": said}])),
        "request:tables" => {
            // The cut of a long text falls into the token.
            let long = format!("{}{TOKEN}", "x".repeat(280));
            Some(json!([null, null, frame[2], "response:error", {"ref": frame[4]["ref"], "error": long}]))
        }
        _ => Some(json!([null, null, frame[2], "response:error", {"ref": frame[4]["ref"], "error": said}])),
    });
    let client = Client::connect(&url, auth(), quick()).unwrap();
    let errors =
        [client.capabilities().unwrap_err(), client.list_tables().unwrap_err(), client.get_count("users").unwrap_err()];
    errors.iter().for_each(hides);
    assert!(errors[2].message().contains("no right for (..)"), "{}", errors[2]);
    drop(client);
    site.join().unwrap();
    let (_, error) = refused(auth(), "429 Too Many Requests\r\nretry-after: is3W3OM_JqU3b556SxC6yMkHs", "");
    hides(&error);
}

#[test]
fn what_can_be_no_token_is_not_sent() {
    for auth in [Auth::token(""), Auth::token("a b"), Auth::token("ž"), Auth::code("A7X9K2M4").password("x")] {
        let error = Client::connect("http://127.0.0.1:1", auth, quick()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}
