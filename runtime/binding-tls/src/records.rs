//! One TLS connection of rustls, between plaintext and ciphertext in memory.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write as _};

use bytes::{Buf as _, Bytes, BytesMut};
use rustls::{ClientConnection, Error};

/// Most plaintext of a record, in bytes (RFC 8446, 5.1).
pub(crate) const RECORD: usize = 16 * 1024;
/// Most slices that make a record.
const SLICES: usize = 32;

/// Plaintext that waits to be encrypted.
#[derive(Debug, Default)]
pub(crate) struct Plaintext {
    parts: VecDeque<Bytes>,
    len: usize,
}

impl Plaintext {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn push(&mut self, part: Bytes) {
        if !part.is_empty() {
            self.len += part.len();
            self.parts.push_back(part);
        }
    }

    /// Encrypts up to one record. Returns the number of bytes.
    pub(crate) fn encrypt(&mut self, connection: &mut ClientConnection) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let (mut used, mut room) = (0, RECORD);
        for (slice, part) in slices.iter_mut().zip(&self.parts) {
            if room == 0 {
                break;
            }
            let part = part.get(..part.len().min(room)).unwrap_or_default();
            *slice = IoSlice::new(part);
            room -= part.len();
            used += 1;
        }
        let slices = slices.get(..used).unwrap_or_default();
        let written = connection.writer().write_vectored(slices)?;
        self.advance(written);
        Ok(written)
    }

    fn advance(&mut self, mut count: usize) {
        self.len -= count;
        while let Some(front) = self.parts.front_mut() {
            if count < front.len() {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.parts.pop_front();
        }
    }
}

/// The ciphertext that is ready to be sent; empty for none.
pub(crate) fn ciphertext(connection: &mut ClientConnection) -> Bytes {
    let mut out = Vec::new();
    while connection.wants_write() {
        // Writing to memory does not fail.
        if connection.write_tls(&mut out).is_err() {
            break;
        }
    }
    out.into()
}

/// What ciphertext contained.
#[derive(Debug, Default)]
pub(crate) struct Decrypted {
    pub(crate) plaintext: Bytes,
    /// The peer sent `close_notify`.
    pub(crate) closed: bool,
    /// The rest could not be processed.
    pub(crate) error: Option<Error>,
}

/// Decrypts `ciphertext`.
pub(crate) fn decrypt(connection: &mut ClientConnection, mut ciphertext: &[u8]) -> Decrypted {
    let mut plaintext = BytesMut::new();
    let mut decrypted = Decrypted::default();
    while !ciphertext.is_empty() && decrypted.error.is_none() {
        match connection.read_tls(&mut ciphertext) {
            // After close_notify, nothing more is read.
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => {
                decrypted.error = Some(Error::General(error.to_string()));
                break;
            }
        }
        match connection.process_new_packets() {
            Ok(state) => decrypted.closed |= state.peer_has_closed(),
            Err(error) => decrypted.error = Some(error),
        }
        while let Ok(chunk) = connection.reader().into_first_chunk() {
            if chunk.is_empty() {
                break;
            }
            let length = chunk.len();
            plaintext.extend_from_slice(chunk);
            io::BufRead::consume(&mut connection.reader(), length);
        }
    }
    decrypted.plaintext = plaintext.freeze();
    decrypted
}
