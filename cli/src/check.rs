//! `braid lint`: what is wrong with manifests.

use std::path::PathBuf;

use braid_cli::lint::{self, Linter};

use crate::{
    args::{LintArgs, LintOutput},
    exit::{Exit, Failure},
    out,
};

/// Checks manifests and prints what is wrong.
pub fn check(args: &LintArgs) -> Result<Exit, Failure> {
    let linter = Linter::new().map_err(Failure::unreachable)?;
    let problems = lint::files(&linter, args.files.iter().map(PathBuf::as_path));
    match args.output {
        LintOutput::Json => drop(out::json(&problems)?),
        LintOutput::Text if problems.is_empty() => {}
        LintOutput::Text => {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            out::lines(&lines)?;
        }
    }
    Ok(if problems.is_empty() {
        Exit::Succeeded
    } else {
        Exit::Usage
    })
}
