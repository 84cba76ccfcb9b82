//! A rig with the binding, and the ciphertext between it and a broker.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use rustls::ServerConfig;
use tidegate_engine::testing::Rig;
use tidegate_engine::{BindingId, StreamId, Time, WallTime};
use tidegate_streams::bytes_stream::{BytesBegin, BytesConnected, BytesReset};
use tidegate_streams::{AbortEx, Frame, ResetEx};
use tidegate_tls::{Current, Reload};

use super::broker::{Authority, Broker, Folder, NOW, Settings};
use crate::{Options, TlsClient};

pub(super) const REMOTE: &str = "broker.test:8883";

pub(super) struct Harness {
    pub(super) rig: Rig,
    pub(super) caller: BindingId,
    pub(super) exit: BindingId,
    binding: BindingId,
    files: Arc<Current<Options>>,
}

/// A connection: the stream of the caller and the stream to the exit.
#[derive(Clone, Copy)]
pub(super) struct Streams {
    pub(super) caller: StreamId,
    pub(super) exit: StreamId,
}

impl Harness {
    pub(super) fn new(options: Options) -> Self {
        Self::with_credit(options, 1 << 20, 1 << 20)
    }

    pub(super) fn with_credit(options: Options, caller: u32, exit: u32) -> Self {
        let mut rig = Rig::new();
        let now = WallTime::from_unix_millis(NOW * 1_000);
        rig.worker.set_wall_clock(Time::START, now);
        let exit = rig.edge(exit);
        let files = Current::load(options.clone()).unwrap_or_else(|why| panic!("{why}"));
        let files = Arc::new(files);
        let binding = rig.attach(TlsClient::new(options, Arc::clone(&files), exit));
        let caller = rig.edge(caller);
        Self {
            rig,
            caller,
            exit,
            binding,
            files,
        }
    }

    /// Compares the files until they are in use or refused.
    pub(super) fn reload(&self) -> Option<Result<(), tidegate_tls::Unusable>> {
        let mut reload = Reload::new(Arc::clone(&self.files));
        reload.step().report.or_else(|| reload.step().report)
    }

    pub(super) fn open(&mut self) -> Streams {
        self.open_as(BytesBegin::default())
    }

    /// Opens a connection whose BEGIN is passed on, except for the certificate.
    pub(super) fn open_as(&mut self, begin: BytesBegin) -> Streams {
        let passed_on = BytesBegin {
            certificate: ByteString::new(),
            ..begin.clone()
        };
        let caller = self.rig.open(self.caller, self.binding, begin);
        let opened = self.rig.outputs(self.exit);
        let exit = opened[0].at.stream;
        assert_eq!(opened[0].frame, Frame::begin(passed_on));
        assert_eq!(opened.len(), 1);
        let begin = Frame::begin(BytesBegin {
            remote: REMOTE.into(),
            ..BytesBegin::default()
        });
        self.rig.send(self.exit, exit, begin.clone());
        let streams = Streams { caller, exit };
        assert_eq!(self.told(streams), [begin]);
        streams
    }

    pub(super) fn connect_to(&mut self, streams: Streams, host: &str) {
        let connected = BytesConnected {
            remote: REMOTE.into(),
            host: host.into(),
            ..BytesConnected::default()
        };
        let connected = Frame::flush(connected);
        self.rig.send(self.exit, streams.exit, connected);
    }

    /// The frames for the caller, without WINDOW.
    pub(super) fn told(&mut self, streams: Streams) -> Vec<Frame> {
        let mut frames = self.rig.frames(self.caller, streams.caller);
        frames.retain(|frame| !matches!(frame, Frame::Window(_)));
        frames
    }

    /// The ciphertext for the exit, and the other frames, without WINDOW.
    pub(super) fn sent(&mut self, streams: Streams) -> (Vec<u8>, Vec<Frame>) {
        let mut ciphertext = Vec::new();
        let mut others = Vec::new();
        for frame in self.rig.frames(self.exit, streams.exit) {
            match frame {
                Frame::Data(data) => ciphertext.extend_from_slice(&data.payload),
                Frame::Window(_) => {}
                other => others.push(other),
            }
        }
        let length = ciphertext.len();
        self.rig
            .turn(self.exit, |cx| cx.acknowledge(streams.exit, length));
        (ciphertext, others)
    }

    pub(super) fn receive(&mut self, streams: Streams, ciphertext: Vec<u8>) {
        if !ciphertext.is_empty() {
            let data = Frame::data(Bytes::from(ciphertext));
            self.rig.send(self.exit, streams.exit, data);
        }
    }

    /// Carries ciphertext until nobody sends more. Returns the plaintext for the broker, or its error.
    pub(super) fn carry(
        &mut self,
        streams: Streams,
        broker: &mut Broker,
    ) -> Result<Vec<u8>, rustls::Error> {
        let mut plaintext = Vec::new();
        loop {
            let (ciphertext, others) = self.sent(streams);
            assert_eq!(others, []);
            let taken = broker.take(&ciphertext);
            let answer = broker.give();
            let idle = ciphertext.is_empty() && answer.is_empty();
            self.receive(streams, answer);
            plaintext.extend(taken?);
            if idle {
                return Ok(plaintext);
            }
        }
    }

    /// Opens a connection and completes its handshake.
    pub(super) fn establish(&mut self, config: &Arc<ServerConfig>) -> (Streams, Broker) {
        self.establish_as(BytesBegin::default(), config)
    }

    pub(super) fn establish_as(
        &mut self,
        begin: BytesBegin,
        config: &Arc<ServerConfig>,
    ) -> (Streams, Broker) {
        let streams = self.open_as(begin);
        self.connect_to(streams, "broker.test");
        let mut broker = Broker::new(Arc::clone(config));
        self.carry(streams, &mut broker).expect("a handshake");
        let connected = BytesConnected {
            remote: REMOTE.into(),
            host: "broker.test".into(),
            secure: true,
        };
        assert_eq!(self.told(streams), [Frame::flush(connected)]);
        (streams, broker)
    }

    /// Opens a connection whose handshake fails. Returns why.
    pub(super) fn refused(&mut self, config: &Arc<ServerConfig>, host: &str) -> BytesReset {
        self.refused_as(BytesBegin::default(), config, host)
    }

    pub(super) fn refused_as(
        &mut self,
        begin: BytesBegin,
        config: &Arc<ServerConfig>,
        host: &str,
    ) -> BytesReset {
        let streams = self.open_as(begin);
        self.connect_to(streams, host);
        let mut broker = Broker::new(Arc::clone(config));
        for _ in 0..4 {
            let (ciphertext, _) = self.sent(streams);
            // Its error is in the alert that it gives.
            let _ = broker.take(&ciphertext);
            let answer = broker.give();
            self.receive(streams, answer);
        }
        self.failure(streams)
    }

    /// The reason in the frames that end the stream of the caller.
    pub(super) fn failure(&mut self, streams: Streams) -> BytesReset {
        let mut frames = self.told(streams);
        frames.retain(|frame| !matches!(frame, Frame::Flush(_)));
        let [Frame::Reset(Some(reset)), Frame::Abort(Some(abort))] = frames.as_slice() else {
            panic!("no failure but {frames:?}");
        };
        let ResetEx::Bytes(reset) = &**reset else {
            panic!("another protocol");
        };
        assert_eq!(**abort, AbortEx::Bytes(reset.clone()));
        assert_eq!(&*reset.remote, REMOTE);
        reset.clone()
    }

    pub(super) fn close(&mut self, streams: Streams) {
        self.rig.turn(self.caller, |cx| {
            cx.terminate(streams.caller, None, None);
        });
        self.told(streams);
        self.sent(streams);
    }

    /// Checks that nothing remains.
    pub(super) fn finish(mut self) {
        self.rig.outputs(self.exit);
        self.rig.outputs(self.caller);
        self.rig.assert_idle();
    }
}

/// Options that trust an authority.
pub(super) fn trusting(authority: &Authority, folder: &Folder) -> Options {
    Options {
        trust: vec![folder.write("ca.crt", &authority.pem)],
        ..Options::default()
    }
}

/// A broker that the client of [`trusting`] accepts.
pub(super) fn broker(authority: &Authority) -> Arc<ServerConfig> {
    Settings::new(authority.broker()).config()
}
