//! Guards: a credential and the time in, an identity or a refusal out.
//!
//! A guard is a state machine without I/O and without a clock. All workers share it, so that a key is
//! verified once for each process. What takes long is not done in [`Guard::check`], which never blocks:
//! it answers [`Check::Pending`], and work goes out as a value that the process runs elsewhere
//! ([`apikey::Verification`] on a thread of its own, [`jwt::KeySource`] by a task that fetches keys).
//!
//! What comes in as a credential is never in an error, a log or a `Debug` text.
//! Every cache, queue and text is bounded; at the bound a guard refuses ([`Refusal::Busy`]) or forgets
//! the oldest entry, which then costs its verification again.
#![forbid(unsafe_code)]

pub mod apikey;
mod check;
mod digest;
mod guards;
pub mod jwt;
mod memo;
mod moment;
mod pending;
pub mod x509;

pub use check::{Challenge, Check, Credential, Refusal};
pub use guards::{Guard, Guards};
pub use memo::{MEMO_MAX, Memo};
pub use moment::Moment;
pub use pending::Pending;
