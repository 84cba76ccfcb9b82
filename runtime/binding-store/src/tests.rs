//! With real files, and a probe for the binding that writes to them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::json;
use tempfile::TempDir;
use tidegate_driver::Engine;
use tidegate_driver::testing::{Probe, probe};
use tidegate_engine::{At, Binding, BindingId, Context, Limits, StreamId, Token};
use tidegate_streams::store::{StoreBegin, StoreRecord, StoreStored};
use tidegate_streams::{BeginEx, Data, DataEx, DataFlags, FlushEx, Frame, Pooled, ResetEx};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::file::{Change, FileError, RecordFile};
use crate::options::Options;

const PATIENCE: Duration = Duration::from_secs(20);

fn options(path: &Path) -> Options {
    serde_json::from_value(json!({ "path": path })).expect("valid")
}

fn put(key: u64, content: &'static [u8]) -> Change {
    let content = Some(Bytes::from_static(content));
    Change { key, content }
}

fn record(key: u64, number: u64, removed: bool, payload: impl Into<Bytes>) -> Frame {
    let record = StoreRecord {
        key,
        number,
        removed,
    };
    Frame::Data(Data {
        flags: DataFlags::WHOLE,
        payload: payload.into(),
        extension: Some(Pooled::new(record.into())),
    })
}

struct Harness {
    engine: Engine,
    probe: Probe,
    stream: StreamId,
}

impl Harness {
    /// A store with its stream open, and the records that it had.
    async fn open(path: &Path) -> (Self, BTreeMap<u64, Vec<u8>>) {
        let options = options(path);
        let (probe, seat) = probe();
        let engine = Engine::start(1, Limits::default(), move |assembly| {
            let edge = crate::attach(assembly, &options)?;
            seat.attach(assembly, 1_024, Some(edge));
            Ok(())
        });
        let engine = engine.expect("the engine starts");
        let stream = probe.open(StoreBegin::default()).await;
        let mut harness = Self {
            engine,
            probe,
            stream,
        };
        let (_, begin) = harness.probe.next_but_window().await;
        let max_size = 64 << 20;
        assert_eq!(begin, Frame::begin(StoreBegin { max_size }));
        let records = harness.read().await;
        (harness, records)
    }

    /// The records, up to the notice that these are all.
    async fn read(&mut self) -> BTreeMap<u64, Vec<u8>> {
        let mut records = BTreeMap::new();
        let mut key = 0;
        loop {
            match self.probe.next_but_window().await.1 {
                Frame::Data(data) => {
                    let (stream, length) = (self.stream, data.payload.len());
                    self.probe
                        .turn(move |cx| cx.acknowledge(stream, length))
                        .await;
                    if let Some(DataEx::Store(record)) = data.extension.map(Pooled::into_inner) {
                        key = record.key;
                    }
                    let content: &mut Vec<u8> = records.entry(key).or_default();
                    content.extend_from_slice(&data.payload);
                }
                Frame::Flush(flush) => {
                    let all = FlushEx::Store(StoreStored { number: 0 });
                    assert_eq!(*flush, all);
                    return records;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Waits until a write is durable.
    async fn stored(&mut self, number: u64) {
        loop {
            match self.probe.next_but_window().await.1 {
                Frame::Flush(flush) => match *flush {
                    FlushEx::Store(stored) if stored.number >= number => return,
                    FlushEx::Store(_) => {}
                    other => panic!("{other:?}"),
                },
                other => panic!("{other:?}"),
            }
        }
    }

    async fn stop(self) {
        let stop = self.engine.shutdown(PATIENCE);
        stop.await;
    }
}

fn folder() -> (TempDir, PathBuf) {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("queue");
    (folder, path)
}

#[tokio::test]
async fn what_was_stored_is_read_by_the_next_process() {
    let (_folder, path) = folder();
    let (mut harness, records) = Harness::open(&path).await;
    assert!(records.is_empty());
    let stream = harness.stream;
    let large = vec![b'x'; 3_000];
    let payload = large.clone();
    harness
        .probe
        .turn(move |cx| {
            cx.send(stream, record(7, 1, false, "one"));
            cx.send(stream, record(8, 2, false, payload));
            cx.send(stream, record(9, 3, false, "removed"));
            cx.send(stream, record(7, 4, false, "two"));
            cx.send(stream, record(9, 5, true, ""));
        })
        .await;
    harness.stored(5).await;
    // It ends without an END, as a process that is killed.
    drop(harness);
    let mut waited = 0;
    while matches!(RecordFile::open(&path), Err(FileError::InUse { .. })) {
        tokio::time::sleep(Duration::from_millis(5)).await;
        waited += 1;
        assert!(waited < 2_000, "the file is free once the engine is gone");
    }
    let (mut harness, records) = Harness::open(&path).await;
    let expected = [(7, b"two".to_vec()), (8, large)];
    assert_eq!(records, expected.into());
    harness.probe.send(harness.stream, Frame::end()).await;
    let (_, end) = harness.probe.next_but_window().await;
    assert_eq!(end, Frame::end());
    assert!(
        RecordFile::open(&path).is_ok(),
        "it was closed before the END"
    );
    harness.stop().await;
}

/// A binding that takes each record at once, as the owner of a store does.
struct Taker {
    exit: BindingId,
    keys: Vec<u64>,
    told: UnboundedSender<Vec<u64>>,
}

impl Binding for Taker {
    fn window(&self) -> u32 {
        1_000
    }

    fn exchanges(&self) -> usize {
        0
    }

    fn on_start(&mut self, cx: &mut Context<'_>) {
        let begin = StoreBegin::default();
        cx.open(self.exit, begin, Token::default()).expect("opened");
    }

    fn on_begin(&mut self, _: &mut Context<'_>, _: StreamId, _: BeginEx) {}

    fn on_frame(&mut self, cx: &mut Context<'_>, at: At, frame: Frame) {
        match frame {
            Frame::Data(data) => {
                cx.acknowledge(at.stream, data.payload.len());
                if let Some(DataEx::Store(record)) = data.extension.map(Pooled::into_inner) {
                    self.keys.push(record.key);
                }
            }
            Frame::Flush(_) => {
                let keys = std::mem::take(&mut self.keys);
                self.told.send(keys).expect("the test runs");
            }
            _ => {}
        }
    }

    fn on_fault(&mut self, _: &mut Context<'_>, _: Token) {}
}

#[tokio::test]
async fn all_records_come_before_the_notice_that_these_are_all() {
    let (_folder, path) = folder();
    let file = RecordFile::open(&path).expect("a new file");
    let records: Vec<Change> = (0..500).map(|key| put(key, &[b'x'; 300])).collect();
    file.apply(&records).expect("written");
    drop(file);
    let options = options(&path);
    let (told, mut read) = unbounded_channel();
    let engine = Engine::start(1, Limits::default(), move |assembly| {
        let exit = crate::attach(assembly, &options)?;
        let told = told.clone();
        assembly.attach(Taker {
            exit,
            keys: Vec::new(),
            told,
        });
        Ok(())
    });
    let engine = engine.expect("the engine starts");
    let keys = tokio::time::timeout(PATIENCE, read.recv()).await;
    let keys = keys.expect("in time").expect("the records");
    assert_eq!(keys, (0..500).collect::<Vec<u64>>());
    engine.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn a_write_in_parts_is_one_record() {
    let (_folder, path) = folder();
    let (mut harness, _) = Harness::open(&path).await;
    let stream = harness.stream;
    harness
        .probe
        .turn(move |cx| {
            let Frame::Data(mut data) = record(1, 1, false, "ab") else {
                return;
            };
            data.flags = DataFlags::INIT;
            cx.send(stream, Frame::Data(data));
            let middle = Data::part(DataFlags::MIDDLE, Bytes::from_static(b"c"));
            cx.send(stream, Frame::Data(middle));
            let last = Data::part(DataFlags::FIN, Bytes::from_static(b"d"));
            cx.send(stream, Frame::Data(last));
        })
        .await;
    harness.stored(1).await;
    harness.probe.send(stream, Frame::abort()).await;
    loop {
        if harness.probe.seen().is_empty() {
            tokio::task::yield_now().await;
        }
        if let Ok(file) = RecordFile::open(&path) {
            let records = file.read().expect("records");
            assert_eq!(records, [(1, Bytes::from_static(b"abcd"))]);
            break;
        }
    }
    // The next stream opens the file again.
    harness.stream = harness.probe.open(StoreBegin::default()).await;
    loop {
        match harness.probe.next_but_window().await.1 {
            Frame::Begin(_) => break,
            Frame::Reset(_) | Frame::Abort(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(harness.read().await.len(), 1);
    harness.stop().await;
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_again_ends_the_stream_and_is_counted() {
    let (_folder, path) = folder();
    let (mut harness, _) = Harness::open(&path).await;
    harness.probe.send(harness.stream, Frame::end()).await;
    assert_eq!(harness.probe.next_but_window().await.1, Frame::end());
    fs::write(&path, b"no store").expect("written");
    harness.probe.open(StoreBegin::default()).await;
    let (_, begin) = harness.probe.next_but_window().await;
    assert!(matches!(begin, Frame::Begin(_)), "{begin:?}");
    let (_, frame) = harness.probe.next_but_window().await;
    let Frame::Reset(Some(reset)) = frame else {
        panic!("{frame:?}");
    };
    let ResetEx::Store(reset) = *reset else {
        panic!("{reset:?}");
    };
    assert!(reset.reason.contains("is not a store of tidegate"));
    let report = harness.engine.report().await;
    assert_eq!(report.value("", "store.file.failures"), 1);
    harness.stop().await;
}

#[tokio::test]
async fn a_second_stream_is_refused() {
    let (_folder, path) = folder();
    let (mut harness, _) = Harness::open(&path).await;
    harness.probe.open(StoreBegin::default()).await;
    let (_, frame) = harness.probe.next_but_window().await;
    let Frame::Reset(Some(reset)) = frame else {
        panic!("{frame:?}");
    };
    let ResetEx::Store(reset) = *reset else {
        panic!("{reset:?}");
    };
    assert_eq!(reset.reason, "another stream has the file");
    harness.stop().await;
}

fn refusal(path: &Path) -> String {
    let error = RecordFile::open(path).expect_err("refused");
    error.to_string()
}

#[test]
fn a_file_has_one_process() {
    let (_folder, path) = folder();
    let file = RecordFile::open(&path).expect("a new file");
    assert!(refusal(&path).ends_with("each needs a 'path' of its own"));
    drop(file);
    assert!(RecordFile::open(&path).is_ok());
}

/// Two gateways start at once, without a file: the second one does not touch what the first one is writing.
#[test]
fn a_file_that_another_process_creates_is_left_alone() {
    let (_folder, path) = folder();
    let mut new = path.clone().into_os_string();
    new.push(".new");
    fs::write(&new, b"half of a store").expect("written");
    let other = fs::File::open(&new).expect("a file");
    other.lock().expect("locked");
    assert!(refusal(&path).contains("is in use by another process"));
    assert_eq!(fs::read(&new).expect("read"), b"half of a store");
    drop(other);
    assert!(RecordFile::open(&path).is_ok());
}

/// A copy of an open file is what a process that is killed leaves.
#[test]
fn what_was_stored_outlives_kills() {
    let folder = TempDir::new().expect("a folder");
    let path = |life: u64| folder.path().join(life.to_string());
    for life in 0..5 {
        let file = RecordFile::open(&path(life)).expect("a file");
        let before = file.read().expect("records");
        assert_eq!(before.len() as u64, life * 20, "in life {life}");
        for key in life * 20..life * 20 + 20 {
            file.apply(&[put(key, b"content")]).expect("written");
        }
        fs::copy(path(life), path(life + 1)).expect("copied");
    }
}

#[cfg(unix)]
#[test]
fn only_its_user_may_read_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_folder, path) = folder();
    let _file = RecordFile::open(&path).expect("a new file");
    let mode = fs::metadata(&path).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn another_file_is_refused_and_not_changed() {
    let (folder, path) = folder();
    for content in [&b"name: config\n"[..], &[0; 10_000], &[0xff; 100]] {
        fs::write(&path, content).expect("written");
        let why = refusal(&path);
        assert!(why.contains("is not a store of tidegate"), "{why}");
        assert_eq!(fs::read(&path).expect("read"), content);
    }
    let other = folder.path().join("other");
    let database = redb::Database::create(&other).expect("a database");
    let table = redb::TableDefinition::<u64, u64>::new("records");
    let transaction = database.begin_write().expect("a transaction");
    drop(transaction.open_table(table).expect("a table"));
    transaction.commit().expect("committed");
    drop(database);
    assert!(refusal(&other).contains("it is another redb database"));
    assert!(refusal(folder.path()).starts_with("cannot open"));
    let missing = folder.path().join("missing/queue");
    assert!(refusal(&missing).contains("its folder must exist"));
}

#[test]
fn a_file_of_a_newer_version_is_refused() {
    let (_folder, path) = folder();
    drop(RecordFile::open(&path).expect("a new file"));
    let database = redb::Database::create(&path).expect("a database");
    let about = redb::TableDefinition::<&str, u64>::new("tidegate store");
    let transaction = database.begin_write().expect("a transaction");
    let mut table = transaction.open_table(about).expect("a table");
    table.insert("format", 2).expect("inserted");
    drop(table);
    transaction.commit().expect("committed");
    drop(database);
    assert!(refusal(&path).contains("has format 2, which a newer tidegate wrote"));
}

/// A file with some records, as bytes.
fn written() -> Vec<u8> {
    static WRITTEN: OnceLock<Vec<u8>> = OnceLock::new();
    let made = WRITTEN.get_or_init(|| {
        let (_folder, path) = folder();
        let file = RecordFile::open(&path).expect("a new file");
        for number in 0..4 {
            let keys = number * 10..number * 10 + 10;
            let changes: Vec<Change> = keys.map(|key| put(key, b"some content")).collect();
            file.apply(&changes).expect("written");
        }
        drop(file);
        fs::read(&path).expect("read")
    });
    made.clone()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    // A damaged file is refused, or has the records: it neither ends the process nor loses some in silence.
    #[test]
    fn a_damaged_file_is_refused_or_read(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let (_folder, path) = folder();
        let mut bytes = written();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        fs::write(&path, &bytes).expect("written");
        match RecordFile::open(&path) {
            Err(error) => prop_assert!(!matches!(error, FileError::InUse { .. }), "{error}"),
            Ok(file) => {
                let records = file.read().map(|it| it.len()).unwrap_or_default();
                // A file that was cut to nothing is a new one.
                prop_assert!(records == 40 || bytes.is_empty(), "{records} records");
            }
        }
    }
}
