//! The memory that all connections of a worker read into.
//!
//! A connection that waits for data has no buffer, so thousands of idle ones take no memory for it. What was
//! read is sliced from a block, which small reads share; the block is used again when all of them are
//! released.

use std::cell::RefCell;
use std::io;
use std::task::{Context, Poll, ready};

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::socket::Socket;

/// Size of a block, and maximum size of a read, in bytes.
pub(crate) const READ: usize = 64 * 1024;
/// Minimum free capacity for a read, in bytes.
const READ_MIN: usize = 4 * 1024;

#[derive(Debug, Default)]
pub(crate) struct ReadBuffer(RefCell<BytesMut>);

impl ReadBuffer {
    /// Reads at most `limit` bytes from the socket; none at the end of the stream.
    pub(crate) fn poll_read(
        &self,
        socket: &Socket,
        limit: usize,
        task: &mut Context<'_>,
    ) -> Poll<io::Result<Bytes>> {
        let mut buffer = self.0.borrow_mut();
        if buffer.capacity() < READ_MIN {
            buffer.reserve(READ);
        }
        ready!(socket.poll_read(task, &mut (&mut *buffer).limit(limit)))?;
        Poll::Ready(Ok(buffer.split().freeze()))
    }
}
