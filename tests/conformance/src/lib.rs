//! What Braid relies on in an API server, as one table of cases.
//!
//! Each case is an `async fn(Context)` that works in a namespace of its own through a `kube::Client`. It assumes only that
//! [`definitions`] are installed (and the built-in kinds). So the same table runs against the embedded
//! server and against real ones. Cases that the embedded server does not support are in the table, too: with it they must
//! fail (a lack is refused, not ignored), and [`lacks`] lists them.

mod cases;
mod harness;

use std::fmt::Write as _;
use std::pin::Pin;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

pub use harness::{Context, Failure, definition};

/// What a case does: nothing, or what was seen and should not have been.
pub type Outcome = Result<(), Failure>;
/// A running case.
pub type Running = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// Where a case holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// On every server.
    Everywhere,
    /// On real servers only; what the embedded one does instead.
    RealOnly(&'static str),
}

/// One case.
pub struct Case {
    /// Unique; also the suffix of its namespace.
    pub name: &'static str,
    /// What holds, in one sentence.
    pub claim: &'static str,
    /// Where it holds.
    pub support: Support,
    /// Runs it.
    pub run: fn(Context) -> Running,
}

/// The table.
#[must_use]
pub fn cases() -> Vec<Case> {
    cases::all()
}

/// Definitions that must be installed: Braid's own, and one with everything that a schema can have.
#[must_use]
pub fn definitions() -> Vec<CustomResourceDefinition> {
    let mut definitions = braid_crds::definitions();
    definitions.push(definition());
    definitions
}

/// The cases that the embedded server does not support, as Markdown.
#[must_use]
pub fn lacks() -> String {
    let mut text = String::from(
        "# What the embedded API server lacks\n\nGenerated from the conformance cases. Everything here is refused with a \
         clear answer, never ignored.\n\n| what holds on a real server | what the embedded one does |\n|---|---|\n",
    );
    for case in cases() {
        if let Support::RealOnly(instead) = case.support {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "| {} | {instead} |", case.claim);
        }
    }
    text
}
