//! The edge: a store stream on one side, the thread of the file on the other.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use bytes::{Bytes, BytesMut};
use tidegate_driver::{Assembly, Edge, Handle, StartError};
use tidegate_engine::MeterKind::Counter;
use tidegate_engine::{At, BindingId, Meter, PendingData, StreamId};
use tidegate_streams::store::{StoreBegin, StoreRecord, StoreReset, StoreStored};
use tidegate_streams::{AbortEx, Data, DataEx, DataFlags, Frame, Pooled, ResetEx};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::file::{Change, RecordFile};
use crate::options::Options;
use crate::writer::{Command, Report, Write, Writer};

/// Credit of a stream, in bytes: writes that wait for the disk.
const WINDOW: u32 = 4 << 20;

/// The edge `store · file`.
struct Store {
    edge: BindingId,
    handle: Handle,
    max_size: u64,
    commands: Sender<Command>,
    frames: RefCell<VecDeque<(StreamId, Frame)>>,
    open: RefCell<Option<Open>>,
    writes: Cell<u64>,
    commits: Cell<u64>,
    failures: Cell<u64>,
}

/// The stream.
struct Open {
    stream: StreamId,
    /// The write that is being received.
    message: Option<(StoreRecord, BytesMut)>,
    /// Records that wait for credit.
    output: PendingData,
    /// All records are sent as soon as `output` is empty.
    reading: bool,
}

/// Opens the file and attaches the edge to the first worker. On other workers there is nothing to attach.
pub fn attach(assembly: &mut Assembly, options: &Options) -> Result<BindingId, StartError> {
    if assembly.worker() > 0 {
        return Ok(assembly.attach_nothing());
    }
    let file = RecordFile::open(&options.path);
    let file = file.map_err(|error| StartError::Edge(error.to_string()))?;
    let (commands, received) = channel();
    let (told, reports) = unbounded_channel();
    let writer = Writer::new(options.path.clone(), file, told);
    thread::Builder::new()
        .name("tidegate-store".to_owned())
        .spawn(move || writer.run(&received))
        .map_err(StartError::Thread)?;
    let max_size = options.max_size.get();
    let (id, edge) = assembly.attach_edge(WINDOW, |edge, handle| {
        Rc::new(Store {
            edge,
            handle,
            max_size,
            commands,
            frames: RefCell::default(),
            open: RefCell::default(),
            writes: Cell::new(0),
            commits: Cell::new(0),
            failures: Cell::new(0),
        })
    });
    assembly.spawn(hear(edge, reports));
    Ok(id)
}

/// Passes on what the thread says.
async fn hear(store: Rc<Store>, mut reports: UnboundedReceiver<Report>) {
    while let Some(report) = reports.recv().await {
        store.take(report);
    }
    let stream = store.open.borrow().as_ref().map(|open| open.stream);
    if let Some(stream) = stream {
        store.fail(stream, "an internal error in tidegate; see its log");
    }
}

impl Store {
    fn command(&self, stream: StreamId, command: Command) {
        if self.commands.send(command).is_err() {
            self.fail(
                stream,
                "the thread that writes the file has ended; see the log",
            );
        }
    }

    /// A frame of a stream.
    fn act(&self, stream: StreamId, frame: Frame) {
        if let Frame::Begin(_) = frame {
            return self.begin(stream);
        }
        let mut open = self.open.borrow_mut();
        let Some(current) = open.as_mut().filter(|it| it.stream == stream) else {
            return;
        };
        match frame {
            Frame::Data(data) => {
                let length = data.payload.len();
                // The credit of the last part is given back when the write is stored.
                if let Some(write) = current.receive(data, length) {
                    drop(open);
                    self.command(stream, Command::Write(stream, write));
                } else {
                    drop(open);
                    self.handle
                        .turn(self.edge, |cx| cx.acknowledge(stream, length));
                }
            }
            Frame::Window(_) => {
                drop(open);
                self.send(stream);
            }
            Frame::End(_) => {
                drop(open);
                self.command(stream, Command::Close(stream));
            }
            Frame::Abort(_) | Frame::Reset(_) => {
                *open = None;
                drop(open);
                self.command(stream, Command::Close(stream));
                self.handle
                    .turn(self.edge, |cx| cx.terminate(stream, None, None));
            }
            Frame::Begin(_) | Frame::Flush(_) | Frame::Challenge(_) => {}
        }
    }

    fn begin(&self, stream: StreamId) {
        if self.open.borrow().is_some() {
            return self.fail(stream, "another stream has the file");
        }
        *self.open.borrow_mut() = Some(Open {
            stream,
            message: None,
            output: PendingData::new(),
            reading: false,
        });
        let max_size = self.max_size;
        self.handle.turn(self.edge, |cx| {
            cx.send(stream, Frame::begin(StoreBegin { max_size }));
        });
        self.command(stream, Command::Read(stream));
    }

    /// What the thread has done.
    fn take(&self, report: Report) {
        match report {
            Report::Records(stream, records) => self.records(stream, records),
            Report::Stored {
                stream,
                number,
                credit,
                writes,
            } => {
                self.writes.set(self.writes.get() + writes as u64);
                self.commits.set(self.commits.get() + 1);
                if self.is_open(stream) {
                    self.handle.turn(self.edge, |cx| {
                        cx.acknowledge(stream, credit);
                        cx.send(stream, Frame::flush(StoreStored { number }));
                    });
                }
            }
            Report::Failed(stream, why) => {
                self.failures.set(self.failures.get() + 1);
                if self.is_open(stream) {
                    self.fail(stream, &why);
                }
            }
            Report::Closed(stream) => {
                if self.is_open(stream) {
                    *self.open.borrow_mut() = None;
                    self.handle
                        .turn(self.edge, |cx| cx.end(stream, Frame::end()));
                }
            }
        }
    }

    fn is_open(&self, stream: StreamId) -> bool {
        let open = self.open.borrow();
        open.as_ref().is_some_and(|it| it.stream == stream)
    }

    fn records(&self, stream: StreamId, records: Vec<(u64, Bytes)>) {
        if let Some(open) = self.open.borrow_mut().as_mut()
            && open.stream == stream
        {
            open.reading = true;
            for (key, payload) in records {
                let record = StoreRecord {
                    key,
                    ..StoreRecord::default()
                };
                open.output.push(Data {
                    flags: DataFlags::WHOLE,
                    payload,
                    extension: Some(Pooled::new(record.into())),
                });
            }
        }
        self.send(stream);
    }

    /// Sends the records for which there is credit. A turn may deliver further frames to this edge, so that
    /// nothing is taken out of its place meanwhile.
    fn send(&self, stream: StreamId) {
        self.handle.turn(self.edge, |cx| {
            let mut open = self.open.borrow_mut();
            let Some(current) = open.as_mut().filter(|it| it.stream == stream) else {
                return;
            };
            let sent = current.output.flush(cx, stream);
            if sent && std::mem::take(&mut current.reading) {
                cx.send(stream, Frame::flush(StoreStored { number: 0 }));
            }
        });
    }

    /// Resets a stream with the reason.
    fn fail(&self, stream: StreamId, why: &str) {
        if self.is_open(stream) {
            *self.open.borrow_mut() = None;
        }
        let reset = StoreReset { reason: why.into() };
        self.handle.turn(self.edge, |cx| {
            let abort = AbortEx::Store(reset.clone());
            cx.terminate(stream, Some(ResetEx::Store(reset)), Some(abort));
        });
    }
}

impl Open {
    /// Takes a part of a write; returns the write that it completes.
    fn receive(&mut self, mut data: Data, length: usize) -> Option<Write> {
        if data.flags.is_init() {
            let record = match data.extension.take().map(Pooled::into_inner) {
                Some(DataEx::Store(record)) => record,
                _ => StoreRecord::default(),
            };
            if data.flags.is_fin() {
                self.message = None;
                return Some(write(&record, data.payload, length));
            }
            self.message = Some((record, BytesMut::new()));
        }
        let (_, payload) = self.message.as_mut()?;
        payload.extend_from_slice(&data.payload);
        if !data.flags.is_fin() {
            return None;
        }
        let (record, payload) = self.message.take()?;
        Some(write(&record, payload.freeze(), length))
    }
}

fn write(record: &StoreRecord, payload: Bytes, credit: usize) -> Write {
    Write {
        number: record.number,
        change: Change {
            key: record.key,
            content: (!record.removed).then_some(payload),
        },
        credit,
    }
}

impl Edge for Store {
    fn on_output(&self, at: At, frame: Frame) {
        self.frames.borrow_mut().push_back((at.stream, frame));
    }

    fn flush(&self, _: &Handle) {
        loop {
            let next = self.frames.borrow_mut().pop_front();
            let Some((stream, frame)) = next else { return };
            self.act(stream, frame);
        }
    }

    fn report(&self, meter: &mut dyn Meter) {
        for (name, count) in [
            ("store.file.writes", &self.writes),
            ("store.file.commits", &self.commits),
            ("store.file.failures", &self.failures),
        ] {
            meter.record(Counter, name, &[], count.get());
        }
    }
}
