//! `braid doctor`: whether a cluster can run workflows for this user, what stands in the way, and what to do.
//!
//! Everything is asked of the API server as the user; nothing is changed. What the user may not look at is told as unknown, and is
//! no problem by itself.

use serde::Serialize;

use crate::{
    args::{DoctorArgs, LintOutput},
    cluster::{Busy, Cluster, ClusterError},
    exit::{Exit, Failure},
    out,
    text::{Colour, Tint, clean},
};

mod access;
mod installed;
mod operator;
mod runs;

/// Characters of what a cluster says that are shown.
const WORDS: usize = 400;

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum State {
    /// As it should be.
    Fine,
    /// To be known, no more.
    Note,
    /// It cannot be looked at.
    Unknown,
    /// It stands in the way.
    Problem,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub about: &'static str,
    /// How it is.
    pub state: State,
    /// In words.
    pub message: String,
    /// What to do; empty: nothing.
    pub help: String,
}

impl Finding {
    fn new(about: &'static str, state: State, message: impl Into<String>) -> Self {
        Self {
            about,
            state,
            message: clean(&message.into(), WORDS),
            help: String::new(),
        }
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = clean(&help.into(), WORDS);
        self
    }

    /// What an error means: a missing right to look is not a problem of what is looked at.
    fn of(about: &'static str, error: &ClusterError) -> Self {
        let state = if matches!(error, ClusterError::Forbidden(_)) {
            State::Unknown
        } else {
            State::Problem
        };
        Self::new(about, state, error.to_string())
    }
}

/// Looks at everything and tells it.
pub async fn doctor(args: &DoctorArgs) -> Result<Exit, Failure> {
    let cluster = Cluster::connect(&args.cluster, Busy::Again).await?;
    let mut findings = vec![installed::server(&cluster).await?];
    findings.push(installed::definitions(&cluster).await);
    findings.extend(operator::operators(&cluster, &args.operator_namespace, args.all_namespaces).await);
    findings.push(installed::policies(&cluster).await);
    findings.extend(access::rights(&cluster).await);
    findings.extend(runs::runs(&cluster, args.all_namespaces).await);
    match args.output {
        LintOutput::Json => out::json(&findings)?,
        LintOutput::Text => out::lines(&lines(&findings, Tint::of(&std::io::stdout())))?,
    };
    let sound = findings.iter().all(|finding| finding.state != State::Problem);
    Ok(if sound { Exit::Succeeded } else { Exit::Failed })
}

fn lines(findings: &[Finding], tint: Tint) -> Vec<String> {
    let mut lines = Vec::new();
    for finding in findings {
        let (sign, colour) = match finding.state {
            State::Fine => ("✔", Colour::Green),
            State::Note => ("·", Colour::Dim),
            State::Unknown => ("?", Colour::Yellow),
            State::Problem => ("✘", Colour::Red),
        };
        let sign = tint.paint(colour, sign);
        lines.push(format!("{sign} {:<11} {}", finding.about, finding.message));
        if !finding.help.is_empty() {
            lines.push(tint.paint(Colour::Dim, &format!("              {}", finding.help)));
        }
    }
    lines
}
