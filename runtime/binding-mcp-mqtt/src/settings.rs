//! The options in the form that the binding uses at runtime.

use tidegate_engine::Duration;

use crate::arguments::Limits;
use crate::lists::Lists;
use crate::options::Options;
use crate::policy::Policy;
use crate::tools;

/// Constant while the binding runs.
pub(crate) struct Settings {
    pub(crate) subscribe: Policy,
    pub(crate) publish: Policy,
    pub(crate) lists: Lists,
    pub(crate) limits: Limits,
    pub(crate) read_timeout: Duration,
    pub(crate) result_bound: usize,
    pub(crate) params_bound: usize,
    pub(crate) sessions_max: usize,
    pub(crate) expiry: Option<u32>,
}

impl Settings {
    pub(crate) fn new(options: &Options) -> Self {
        let size = |bound: u64| usize::try_from(bound).unwrap_or(usize::MAX);
        Self {
            subscribe: Policy::new(options.subscribe.as_deref()),
            publish: Policy::new(options.publish.as_deref()),
            lists: Lists::new(options),
            limits: Limits {
                messages_default: tools::default_limit(options),
                messages_max: options.receive_limit.get(),
                timeout_default: options.receive_timeout.get(),
                topic_header: options.topic_header,
                topics: options.topic_limits(),
                shared: options.shared_subscriptions,
            },
            read_timeout: Duration::from_millis(options.read_timeout.get()),
            result_bound: size(options.receive_bytes.get()),
            params_bound: size(options.max_params.get()),
            sessions_max: size(options.max_sessions.get()),
            expiry: options
                .publish_expiry
                .and_then(|seconds| u32::try_from(seconds.get()).ok()),
        }
    }
}
