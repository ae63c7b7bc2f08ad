//! How commands end: their exit codes, and the one place where an error is told.

use std::{
    fmt::{self, Write as _},
    process::ExitCode,
};

use crate::text::printable;

/// What a command's end means to whoever called it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Succeeded,
    /// The run has failed.
    Failed,
    /// The file or the command line is wrong.
    Usage,
    /// The run was cancelled or not accepted.
    Cancelled,
    /// What was waited for has not happened in time; the run goes on.
    TimedOut,
    /// The run goes on only if somebody resumes or starts it.
    NeedsPerson,
    /// The API or the state cannot be reached.
    Unreachable,
    /// A part of braid itself has broken.
    Internal,
    /// Stopped by a signal; the state is kept.
    Interrupted,
}

impl Exit {
    /// The exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Succeeded => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Cancelled => 3,
            Self::TimedOut => 4,
            Self::NeedsPerson => 5,
            Self::Unreachable => 6,
            Self::Internal => 70,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// Why a command could not do its work.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    error: Box<dyn std::error::Error + Send + Sync>,
    doing: Option<String>,
    help: Option<String>,
}

impl Failure {
    /// What is wrong, and what that means.
    pub fn new(exit: Exit, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self {
            exit,
            error: error.into(),
            doing: None,
            help: None,
        }
    }

    /// The command line or a file is wrong.
    pub fn usage(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::new(Exit::Usage, error)
    }

    /// The API, the state or the machine does not do its part.
    pub fn unreachable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::new(Exit::Unreachable, error)
    }

    /// What was being done.
    #[must_use]
    pub fn doing(mut self, what: impl Into<String>) -> Self {
        self.doing = Some(what.into());
        self
    }

    /// What to do now.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// How the command ends.
    pub fn exit(&self) -> Exit {
        self.exit
    }
}

impl fmt::Display for Failure {
    /// What, why (the chain of causes, without what a text before says already), and what to do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = String::new();
        if let Some(doing) = &self.doing {
            write!(told, "{doing}: ")?;
        }
        write!(told, "{}", self.error)?;
        let mut cause = self.error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !told.contains(&text) {
                write!(told, ": {text}")?;
            }
            cause = error.source();
        }
        // Servers and files may say anything.
        write!(f, "braid: {}", printable(&told))?;
        match &self.help {
            Some(help) => write!(f, "\n  {help}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read {0}")]
    struct Outer(&'static str, #[source] io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("all of it: {0}")]
    struct Inline(#[source] io::Error);

    #[test]
    fn tells_each_cause_once() {
        let failure = Failure::unreachable(Outer("x", io::Error::other("no luck"))).help("try again");
        assert_eq!("braid: cannot read x: no luck\n  try again", failure.to_string());
        let failure = Failure::usage(Inline(io::Error::other("no luck"))).doing("starting");
        assert_eq!("braid: starting: all of it: no luck", failure.to_string());
        assert_eq!(2, failure.exit().code());
    }
}
