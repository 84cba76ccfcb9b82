//! Shortens texts from clients and peers for use in messages.

pub(crate) use tidegate_streams::shown;
