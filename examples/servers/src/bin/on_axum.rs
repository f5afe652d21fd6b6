//! rowferry in a server of axum: what waits for the database or for a peer does so on tokio's threads for blocking calls.
//!
//! ```text
//! cargo run --bin on_axum -- shop.db
//! ```

use std::error::Error;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use rowferry::{CancelToken, ChannelSession, Handler};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_io_timeout::TimeoutStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::io::SyncIoBridge;

/// How long one read or write of a channel waits. What the peer may take in all is for rowferry's limits.
const WAIT: Duration = Duration::from_secs(1);

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let site = servers::open()?;
    // Each channel has one of the threads for blocking calls as long as it lasts. tokio has 512 of them at most.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // Ends the channels that are open when the server stops.
    let stop = CancelToken::new();
    runtime.block_on(async {
        let app = Router::new()
            .route("/", get(async || "a shop\n"))
            .route("/sync/{*path}", any(sync))
            // Made once and cloned: it counts wrong codes, and remembers pulls that may resume.
            .with_state(Shop { handler: site.handler(), stop: stop.clone() });
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        servers::announce(&site, &format!("http://{}", listener.local_addr()?))?;
        let stopped = async move {
            if let Err(error) = spawn_blocking(servers::wait_for_the_end).await {
                eprintln!("{error}");
            }
            stop.cancel();
        };
        let app = app.into_make_service_with_connect_info::<SocketAddr>();
        Ok(axum::serve(listener, app).with_graceful_shutdown(stopped).await?)
    })
}

#[derive(Clone)]
struct Shop {
    handler: Handler,
    stop: CancelToken,
}

/// Answers what is rowferry's.
async fn sync(
    State(Shop { handler, stop }): State<Shop>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
) -> Result<Response, Unanswered> {
    let peer = Some(peer.ip());
    if handler.is_upgrade(&request) {
        let upgraded = hyper::upgrade::on(&mut request);
        let upgrade = move || match handler.upgrade(&request, peer) {
            Ok(upgrade) => (upgrade.response.map(|()| Body::empty()), Some(upgrade.session)),
            Err(refused) => (refused.map(body), None),
        };
        let (answer, session) = spawn_blocking(upgrade).await?;
        if let Some(session) = session {
            tokio::spawn(channel(session, upgraded, stop));
        }
        return Ok(answer);
    }
    let (head, incoming) = request.into_parts();
    let Ok(bytes) = to_bytes(incoming, handler.site().limits().server.body_bytes).await else {
        return Ok(StatusCode::PAYLOAD_TOO_LARGE.into_response());
    };
    let request = http::Request::from_parts(head, bytes.to_vec());
    Ok(spawn_blocking(move || handler.handle(&request, peer)).await?.map(body))
}

/// Serves a channel when hyper has sent the answer that begins it.
async fn channel(session: ChannelSession, upgraded: OnUpgrade, stop: CancelToken) {
    let served = match upgraded.await {
        Ok(upgraded) => {
            let serve = move || session.serve_until(stream(upgraded), &stop);
            spawn_blocking(serve).await.map_err(|error| error.to_string())
        }
        Err(error) => Err(error.to_string()),
    };
    if let Err(error) = served {
        eprintln!("a channel ended early: {error}");
    }
}

/// hyper's stream as one of blocking reads and writes, which end with `TimedOut`.
fn stream(upgraded: Upgraded) -> impl Read + io::Write {
    let mut stream = TimeoutStream::new(TokioIo::new(upgraded));
    stream.set_read_timeout(Some(WAIT));
    stream.set_write_timeout(Some(WAIT));
    SyncIoBridge::new(Box::pin(stream))
}

/// The body of an answer. One of unknown length is read from the database while it is sent.
fn body(mut body: rowferry::Body) -> Body {
    let (to, from) = mpsc::channel::<io::Result<Bytes>>(2);
    spawn_blocking(move || {
        loop {
            let mut piece = vec![0; 64 << 10];
            let read = body.read(&mut piece).map(|length| {
                piece.truncate(length);
                Bytes::from(piece)
            });
            // An error ends the connection: the peer must not take what came for all of it.
            let is_last = read.as_ref().map_or(true, Bytes::is_empty);
            if to.blocking_send(read).is_err() || is_last {
                return;
            }
        }
    });
    Body::from_stream(ReceiverStream::new(from))
}

/// Why there is no answer of rowferry's.
struct Unanswered(Box<dyn Error + Send + Sync>);

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for Unanswered {
    fn from(error: E) -> Self {
        Unanswered(error.into())
    }
}

impl IntoResponse for Unanswered {
    fn into_response(self) -> Response {
        eprintln!("a request ended early: {}", self.0);
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}
