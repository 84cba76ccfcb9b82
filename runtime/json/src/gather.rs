//! Assembles a message from pieces, using about as much memory as the message has bytes.

use bytes::{Bytes, BytesMut};

use crate::parts::Parts;

/// Number of pieces kept as separate buffers.
const KEPT: usize = 64;
/// After those, a smaller piece is copied into a shared block: a buffer of its own would cost more
/// than its bytes.
const SMALL: usize = 4 * 1024;
/// Size of a shared block, in bytes.
const BLOCK: usize = 64 * 1024;

/// A message being assembled.
#[derive(Debug, Default)]
pub struct Gather {
    whole: Parts,
    /// Copied pieces, and the free rest of their block.
    small: Option<Box<BytesMut>>,
}

impl Gather {
    /// An empty message.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a piece.
    #[inline]
    pub fn push(&mut self, piece: Bytes) {
        if self.whole.slots() < KEPT {
            self.whole.push(piece);
        } else {
            self.push_late(piece);
        }
    }

    #[cold]
    fn push_late(&mut self, piece: Bytes) {
        if piece.len() >= SMALL {
            self.settle();
            self.whole.push(piece);
            return;
        }
        let room = |small: &BytesMut| small.capacity() - small.len();
        if self.small.as_deref().map_or(0, room) < piece.len() {
            self.settle();
            self.small = Some(Box::new(BytesMut::with_capacity(BLOCK)));
        }
        if let Some(small) = &mut self.small {
            small.extend_from_slice(&piece);
        }
    }

    /// Turns the copied bytes into a part; the rest of the block is kept for later pieces.
    fn settle(&mut self) {
        if let Some(small) = &mut self.small {
            self.whole.push(small.split().freeze());
        }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.whole.len() + self.small.as_deref().map_or(0, BytesMut::len)
    }

    /// Whether the message is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the message and starts a new one.
    #[must_use]
    pub fn take(&mut self) -> Parts {
        self.settle();
        self.small = None;
        std::mem::take(&mut self.whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_small_pieces_are_merged_into_few_buffers_in_order() {
        let mut gather = Gather::new();
        let mut sent = Vec::new();
        for index in 0..100_000_usize {
            let size = if index % 9_000 == 8_999 { SMALL } else { 3 };
            let piece = vec![u8::try_from(index % 251).expect("a byte"); size];
            sent.extend_from_slice(&piece);
            gather.push(Bytes::from(piece));
            assert_eq!(gather.len(), sent.len());
        }
        let whole = gather.take();
        assert!(whole.count() < 100, "{}", whole.count());
        assert_eq!(whole.contiguous(), sent);
        assert!(gather.is_empty() && gather.take().is_empty());
    }

    #[test]
    fn small_pieces_between_large_ones_share_a_block() {
        let mut gather = Gather::new();
        (0..KEPT).for_each(|_| gather.push(Bytes::from_static(b"x")));
        for _ in 0..50 {
            gather.push(Bytes::from_static(b"small"));
            gather.push(Bytes::from_static(&[b'x'; SMALL]));
        }
        let whole = gather.take();
        let small: Vec<usize> = whole
            .iter()
            .filter(|part| part.len() == 5)
            .map(|part| part.as_ptr() as usize)
            .collect();
        assert_eq!(small.len(), 50);
        assert!(small.windows(2).all(|two| two[1] == two[0] + 5));
    }

    #[test]
    fn a_few_pieces_are_not_copied() {
        let mut gather = Gather::new();
        let pieces = [Bytes::from(vec![1; 9]), Bytes::from(vec![2; 100])];
        for piece in &pieces {
            gather.push(piece.clone());
        }
        let places = |bytes: &Bytes| bytes.as_ptr_range();
        let whole = gather.take();
        assert!(whole.iter().map(places).eq(pieces.iter().map(places)));
    }
}
