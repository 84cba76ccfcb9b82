//! Texts of others in sentences of ours.

pub(crate) use tidegate_streams::shown;
