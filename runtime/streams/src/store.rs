//! Store streams: from a binding that must not lose what it has accepted to the edge that keeps it in a file.
//!
//! There is one stream for as long as the worker runs. The reply BEGIN says how much may be kept. It is
//! followed by a message for each record of the file, in order of the keys, and by FLUSH `stored` with the
//! number 0. Each message of the initial half is a write: it puts a record, in place of one with the same
//! key, or removes it. Writes are applied in order, many at once; FLUSH `stored` names the last one that
//! outlives a crash of the machine. END closes the file, after the writes before it. A RESET says why the
//! file cannot be written: what was not stored by then may be lost.

use bytestring::ByteString;

use crate::extension;

extension! {
    /// Opens the store.
    pub struct StoreBegin "store" {
        /// Reply: how many bytes of records the caller may keep; 0 on the initial BEGIN.
        max_size "maxSize": u64 = 0,
    }
}

extension! {
    /// A record, on the INIT frame of its message; the payload is its content.
    pub struct StoreRecord "record" {
        /// Its key.
        key "key": u64 = 0,
        /// Initial: number of the write, from 1, in ascending order.
        number "number": u64 = 0,
        /// Initial: the record is removed.
        removed "removed": bool = false,
    }
}

extension! {
    /// FLUSH of the reply: all writes up to a number are durable; with the number 0, all records of the
    /// file were sent.
    pub struct StoreStored "stored" {
        /// The number.
        number "number": u64 = 0,
    }
}

extension! {
    /// Why the store cannot be used any more.
    pub struct StoreReset "store" {
        /// Reason in words: `No space left on device`.
        reason "reason": ByteString = ByteString::new(),
    }
}
