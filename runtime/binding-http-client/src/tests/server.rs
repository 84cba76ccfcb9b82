//! A server that answers requests as the test says.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;

/// A request: its line, its headers in lower case, and its body.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) line: String,
    pub(super) headers: Vec<String>,
    pub(super) body: String,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let prefix = format!("{name}: ");
        self.headers.iter().find_map(|it| it.strip_prefix(&prefix))
    }
}

/// A server on a free port.
pub(super) struct Server {
    pub(super) port: u16,
    pub(super) connections: Arc<AtomicUsize>,
    requests: Receiver<Request>,
}

/// A response in text, and whether the connection is closed after it.
pub(super) type Reply = (String, bool);

/// `200 OK` with a body, on a connection that stays open.
pub(super) fn ok(body: &str) -> Reply {
    with_status("200 OK", "", body)
}

pub(super) fn with_status(status: &str, headers: &str, body: &str) -> Reply {
    let length = body.len();
    let text = format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n{body}");
    (text, false)
}

impl Server {
    /// `reply` makes the response of a request.
    pub(super) fn start(reply: impl FnMut(&Request) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let connections = Arc::new(AtomicUsize::new(0));
        let (seen, requests) = channel();
        let (count, reply) = (Arc::clone(&connections), Arc::new(Mutex::new(reply)));
        thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::SeqCst);
                let (seen, reply) = (seen.clone(), Arc::clone(&reply));
                thread::spawn(move || {
                    let mut reader = BufReader::new(socket);
                    while let Some(request) = read(&mut reader) {
                        let (text, closes) = reply.lock().expect("no panic")(&request);
                        let _ = seen.send(request);
                        if reader.get_mut().write_all(text.as_bytes()).is_err() || closes {
                            return;
                        }
                    }
                });
            }
        });
        Self {
            port,
            connections,
            requests,
        }
    }

    /// The next request that it has answered.
    pub(super) fn next(&self) -> Request {
        self.requests.recv().expect("a request")
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let line = lines.remove(0);
    let headers: Vec<String> = lines
        .iter()
        .map(|line| match line.split_once(':') {
            Some((name, value)) => format!("{}: {}", name.to_ascii_lowercase(), value.trim()),
            None => line.clone(),
        })
        .collect();
    let length = headers
        .iter()
        .find_map(|it| it.strip_prefix("content-length: "));
    let length: usize = length.map_or(0, |it| it.parse().expect("a number"));
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request {
        line,
        headers,
        body: String::from_utf8(body).expect("text"),
    })
}
