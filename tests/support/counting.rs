//! A relay that counts what goes through it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Relays connections to the server with this URL, and counts their bytes in both directions. Its threads end with the connections they
/// are for, the listening one with this process.
pub fn relay(server: &str) -> (String, Arc<AtomicU64>) {
    let server = server.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (url, bytes) = (format!("http://{}", listener.local_addr().expect("its address")), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&bytes);
    std::thread::spawn(move || {
        for near in listener.incoming() {
            // The server may be gone: so is the relay then, for those that ask next.
            let (Ok(near), Ok(far)) = (near, TcpStream::connect(&server)) else { return };
            for (from, to) in [(&near, &far), (&far, &near)] {
                let twin = |stream: &TcpStream| stream.try_clone().expect("the same socket");
                let (mut from, mut to, counted) = (twin(from), twin(to), Arc::clone(&counted));
                std::thread::spawn(move || {
                    let mut buffer = vec![0; 64 << 10];
                    while let Ok(read @ 1..) = from.read(&mut buffer) {
                        counted.fetch_add(read as u64, Ordering::SeqCst);
                        if to.write_all(&buffer[..read]).is_err() {
                            break;
                        }
                    }
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
        }
    });
    (url, bytes)
}
