//! Why an attempt failed: a closed set, so that causes can be counted exactly and in bounded space.

use std::{fmt, str::FromStr};

/// Why an attempt of a partition failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The process ended with this code, 1 to 255.
    Exit(u8),
    /// A signal ended the process, 1 to 64; not one that Braid sent.
    Signal(u8),
    /// The attempt took longer than `partitionTimeout`.
    Timeout,
    /// It went beyond its memory.
    OutOfMemory,
    /// The program cannot be started: no such file, no permission.
    NotRunnable,
    /// The program succeeded, but its results are not what was declared.
    BadResult,
    /// Its results are larger than a commit may hold.
    ResultTooLarge,
    /// The input is not what was planned.
    InputChanged,
    /// The input cannot be read.
    UnreadableInput,
    /// The program said so itself: an error for a line, an exception of a function.
    Error,
    /// The same, and that trying again cannot help.
    Refused,
    /// A long-lived program answered a request with this status.
    Http(u16),
    /// A long-lived program did not answer as agreed.
    BadAnswer,
    /// It wrote a file whose name is taken.
    OutputExists,
    /// What it wrote cannot be a file of data: a link, a name that is not text, too many.
    BadOutput,
    /// What it wrote could not be stored.
    OutputNotStored,
    /// Its worker or shim died with it, as often as is tolerated.
    WorkerDied,
    /// Any other: of a newer version, or one of many that a status has no room to name.
    Other,
}

/// The reasons without a number.
const NAMED: [(Reason, &str); 15] = [
    (Reason::Timeout, "Timeout"),
    (Reason::OutOfMemory, "OutOfMemory"),
    (Reason::NotRunnable, "NotRunnable"),
    (Reason::BadResult, "BadResult"),
    (Reason::ResultTooLarge, "ResultTooLarge"),
    (Reason::InputChanged, "InputChanged"),
    (Reason::UnreadableInput, "UnreadableInput"),
    (Reason::Error, "Error"),
    (Reason::Refused, "Refused"),
    (Reason::BadAnswer, "BadAnswer"),
    (Reason::OutputExists, "OutputExists"),
    (Reason::BadOutput, "BadOutput"),
    (Reason::OutputNotStored, "OutputNotStored"),
    (Reason::WorkerDied, "WorkerDied"),
    (Reason::Other, "Other"),
];

impl Reason {
    /// Whether another attempt could end otherwise.
    ///
    /// Not if the program does not start, and not if the input or what is made of it is at fault. A `BadResult` is among
    /// those: the program said that it had succeeded, and what it writes is a matter of its text, not of circumstances;
    /// to try again would multiply a whole step's work by the attempts before anybody reads the error. `WorkerDied` has
    /// been tried again already. An HTTP status says itself whose fault it is: those from 500 on are tried again, and 429, where
    /// waiting has not helped.
    #[must_use]
    pub fn is_retried(self) -> bool {
        match self {
            Self::NotRunnable
            | Self::BadResult
            | Self::ResultTooLarge
            | Self::InputChanged
            | Self::Refused
            | Self::OutputExists
            | Self::BadOutput
            | Self::WorkerDied => false,
            Self::Http(status) => status >= 500 || status == 429,
            _ => true,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "Exit{code}"),
            Self::Signal(signal) => write!(f, "Signal{signal}"),
            Self::Http(status) => write!(f, "HTTP{status}"),
            named => f.write_str(
                NAMED
                    .iter()
                    .find(|(reason, _)| reason == named)
                    .map_or("Other", |(_, name)| name),
            ),
        }
    }
}

impl From<&str> for Reason {
    /// Reads what `Display` writes; anything else is `Other`.
    fn from(text: &str) -> Self {
        let numbered = |prefix: &str| text.strip_prefix(prefix).and_then(|number| u8::from_str(number).ok());
        let known = NAMED.iter().find(|(_, name)| *name == text).map(|(reason, _)| *reason);
        known
            .or_else(|| numbered("Exit").map(Self::Exit))
            .or_else(|| numbered("Signal").map(Self::Signal))
            .or_else(|| text.strip_prefix("HTTP")?.parse().ok().map(Self::Http))
            .unwrap_or(Self::Other)
    }
}
