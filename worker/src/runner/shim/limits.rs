//! How long a runner waits for what.

use std::time::Duration;

/// How patient a runner is. The defaults are for production.
#[derive(Debug, Clone)]
pub struct Limits {
    /// A shim that was silent for so long is asked whether it lives.
    pub ask_after: Duration,
    /// A shim that does not answer for so long is killed.
    pub silence: Duration,
    /// Beyond timeout and grace, how long the end of an attempt may take before the shim is killed.
    pub slack: Duration,
    /// The pause before the second shim; it doubles with every one that dies without having run anything.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// How long a full log sink is waited for before lines are dropped.
    pub log_patience: Duration,
    /// How long a shim in another container may be away, once it was there, before it is taken for gone for good.
    pub absence: Duration,
    /// How long a shim may take to end when it is told to.
    pub goodbye: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ask_after: Duration::from_secs(5),
            silence: Duration::from_secs(30),
            slack: Duration::from_secs(10),
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(10),
            log_patience: Duration::from_secs(2),
            absence: Duration::from_mins(1),
            goodbye: Duration::from_secs(5),
        }
    }
}
