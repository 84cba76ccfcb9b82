//! A binding that uses the id of a stream between other bindings: the frame is counted and dropped,
//! and the stream is not affected.

use bytes::Bytes;
use tidegate_engine::Token;
use tidegate_engine::streams::Frame;
use tidegate_engine::streams::bytes_stream::BytesBegin;
use tidegate_engine::testing::Rig;

#[test]
fn a_frame_on_a_stream_of_other_bindings_is_counted_and_dropped() {
    let mut rig = Rig::new();
    let (caller, exit, stranger) = (rig.edge(100), rig.edge(100), rig.edge(100));
    let stream = rig.open(caller, exit, BytesBegin::default());
    for frame in [
        Frame::data(Bytes::from_static(b"x")),
        Frame::end(),
        Frame::reset(),
    ] {
        rig.send(stranger, stream, frame);
    }
    rig.turn(stranger, |cx| {
        cx.terminate(stream, None, None);
        cx.acknowledge(stream, 10);
        cx.accept(stream, Token(7));
        assert!(!cx.is_sending(stream));
        assert_eq!(cx.credit(stream), 0);
        assert_eq!(cx.call_of(stream).and_then(|call| call.deadline), None);
    });
    assert_eq!(rig.worker.counters().violations, 3);
    assert_eq!(rig.frames(exit, stream).len(), 1, "only BEGIN");
    rig.send(caller, stream, Frame::data(Bytes::from_static(b"on")));
    assert_eq!(rig.frames(exit, stream).len(), 1);
}
