//! A server over standard input and output: requests of all callers are lines, and responses are matched
//! by id.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::{Notify, oneshot};

use crate::message::{Check, FIRST_ID, Message, Ready, answered_id};
use crate::targets::MODERN;

/// Longest accepted line.
const LINE_MAX: usize = 256 << 20;
const READ_SIZE: usize = 64 << 10;

/// The connection to a server over its standard streams.
#[derive(Debug)]
pub(crate) struct Pipe {
    shared: Mutex<Shared>,
    /// Signals queued output.
    written: Notify,
}

#[derive(Debug)]
struct Shared {
    out: BytesMut,
    next_id: u64,
    /// Waiting callers by id; at most one for each caller. A request that timed out is removed with its response.
    waiting: BTreeMap<u64, oneshot::Sender<Vec<u8>>>,
    ended: Option<&'static str>,
}

impl Pipe {
    /// Takes both streams, and initializes a server of the legacy era.
    pub(crate) async fn open(
        input: ChildStdin,
        output: ChildStdout,
        version: &str,
    ) -> Result<Arc<Self>, String> {
        let pipe = Arc::new(Self {
            shared: Mutex::new(Shared {
                out: BytesMut::new(),
                next_id: FIRST_ID,
                waiting: BTreeMap::new(),
                ended: None,
            }),
            written: Notify::new(),
        });
        tokio::spawn(write(Arc::clone(&pipe), input));
        tokio::spawn(read(Arc::clone(&pipe), output));
        if version != MODERN {
            let mut greeting = Message::initialize(version).line();
            pipe.call(&mut greeting, &Check::new(None)).await?;
            let line = Message::initialized(version).line();
            pipe.with(|shared| shared.out.extend_from_slice(&line.front));
            pipe.written.notify_one();
        }
        Ok(pipe)
    }

    /// Sends a request and waits for its response.
    pub(crate) async fn call(&self, ready: &mut Ready, check: &Check) -> Result<(), String> {
        let (sender, receiver) = oneshot::channel();
        let ended = self.with(|shared| {
            shared.next_id += 1;
            ready.number(shared.next_id);
            shared.out.extend_from_slice(&ready.front);
            shared.waiting.insert(shared.next_id, sender);
            shared.ended
        });
        if let Some(why) = ended {
            return Err(why.to_owned());
        }
        self.written.notify_one();
        match receiver.await {
            Ok(line) => check.answer(&line),
            Err(_) => Err(self
                .with(|shared| shared.ended.unwrap_or("cancelled"))
                .to_owned()),
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Shared) -> T) -> T {
        change(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn end(&self, why: &'static str) {
        self.with(|shared| {
            shared.ended = Some(why);
            shared.waiting.clear();
        });
        self.written.notify_one();
    }

    fn answer(&self, line: &[u8]) {
        let waiting =
            answered_id(line).and_then(|id| self.with(|shared| shared.waiting.remove(&id)));
        if let Some(sender) = waiting {
            // The caller may have timed out.
            let _ = sender.send(line.to_vec());
        }
    }
}

/// Writes queued requests until the server ends; concurrent requests are written together.
async fn write(pipe: Arc<Pipe>, mut input: ChildStdin) {
    loop {
        pipe.written.notified().await;
        let (out, ended) = pipe.with(|shared| (shared.out.split(), shared.ended.is_some()));
        if ended {
            return;
        }
        if input.write_all(&out).await.is_err() {
            return pipe.end("the server closed its standard input");
        }
    }
}

/// Reads lines until the server ends.
async fn read(pipe: Arc<Pipe>, mut output: ChildStdout) {
    let mut input = BytesMut::new();
    let mut searched = 0;
    loop {
        while let Some(end) = memchr::memchr(b'\n', input.get(searched..).unwrap_or_default()) {
            let line = input.split_to(searched + end + 1);
            searched = 0;
            pipe.answer(&line);
        }
        searched = input.len();
        if searched > LINE_MAX {
            return pipe.end("the server sent a line that is too long");
        }
        input.reserve(READ_SIZE);
        match output.read_buf(&mut input).await {
            Ok(1..) => {}
            _ => return pipe.end("the server closed its standard output"),
        }
    }
}
