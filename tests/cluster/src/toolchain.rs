//! Go: found, old enough, and called with an environment of our own.
//!
//! Modules are verified against `go.sum`, which is part of the repository; a build never changes it. A Go older than the modules ask
//! for fetches a newer one by itself if its settings let it.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::command::Call;
use crate::programs::{BuildError, Program};

/// How programs are built, but for their linker flags: static, without paths of the machine.
pub(crate) const RECIPE: [&str; 4] = ["CGO_ENABLED=0", "-mod=readonly", "-buildvcs=false", "-trimpath"];

/// The oldest Go that can fetch another by itself.
const OLDEST: (u32, u32) = (1, 21);

/// For fetching one module.
const FETCH: Duration = Duration::from_mins(5);

/// Why there is no Go.
#[derive(Debug, thiserror::Error)]
pub enum ToolchainError {
    /// It is not in `PATH`.
    #[error(
        "tests on a real API server build it with Go, and there is no `go` in PATH: install Go 1.26 or newer (https://go.dev/dl/, or \
         the package `golang-go` where it is new enough); the other tests run without: cargo xtask test --quick"
    )]
    Absent,
    /// It could not be called.
    #[error("go version: {0}")]
    Broken(String),
    /// It is too old.
    #[error("{0} is too old: install Go 1.26 or newer (https://go.dev/dl/)")]
    Old(String),
}

/// Looks for a Go that can build.
pub(crate) fn check() -> Result<(), ToolchainError> {
    let output = Command::new("go")
        .args(["env", "GOVERSION"])
        .stdin(Stdio::null())
        .output();
    let output = output.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ToolchainError::Absent,
        _ => ToolchainError::Broken(error.to_string()),
    })?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(ToolchainError::Broken(why));
    }
    match version(&text) {
        Some(found) if found >= OLDEST => Ok(()),
        Some(_) => Err(ToolchainError::Old(text)),
        None => Err(ToolchainError::Broken(format!("{text:?} is no version"))),
    }
}

/// `go1.26.8` as (1, 26).
fn version(text: &str) -> Option<(u32, u32)> {
    let (major, rest) = text.strip_prefix("go")?.split_once('.')?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Fetches what a program is built from.
pub(crate) fn download(program: Program, say: &dyn Fn(&str)) -> Result<Duration, BuildError> {
    let begun = Instant::now();
    say(&format!("fetching the sources of {}", program.name()));
    // Listing the packages fetches the modules that have them; `go mod download` would fetch those of tests, too.
    let arguments = ["list", "-mod=readonly", "-deps", "-f={{\"\"}}", program.package()].map(OsString::from);
    call(program, &arguments)?;
    Ok(begun.elapsed())
}

/// Where the verified sources of a program lie whose package is the root of its module, as that of kind is.
pub(crate) fn sources(program: Program) -> Result<PathBuf, BuildError> {
    let directory = program.module().directory();
    let call = Call::new("sh")
        // A call of Go reads its module from the directory that it is started in.
        .args(["-c", r#"cd "$1" && exec go mod download -json "$2""#, "sh"])
        .arg(&directory)
        .arg(program.package())
        .env("GOWORK", "off")
        .within(FETCH);
    let failed = |reason: String| BuildError::Go {
        command: format!("go mod download {}", program.package()),
        directory: directory.clone(),
        reason,
    };
    let answer = call.run().map_err(|error| failed(error.to_string()))?;
    let answer: serde_json::Value = serde_json::from_str(&answer).map_err(|error| failed(error.to_string()))?;
    let found = answer.get("Dir").and_then(serde_json::Value::as_str).map(PathBuf::from);
    found.ok_or_else(|| failed("it does not say where the module lies".to_owned()))
}

/// Builds a program into a file.
pub(crate) fn build(program: Program, file: &Path, say: &dyn Fn(&str)) -> Result<(), BuildError> {
    say(&format!("building {}", program.name()));
    let mut arguments: Vec<OsString> = vec!["build".into()];
    arguments.extend(RECIPE.iter().filter(|part| part.starts_with('-')).map(OsString::from));
    arguments.extend(["-ldflags".into(), program.module().ldflags.into(), "-o".into()]);
    arguments.extend([file.into(), program.package().into()]);
    call(program, &arguments)
}

fn call(program: Program, arguments: &[OsString]) -> Result<(), BuildError> {
    let directory = program.module().directory();
    let mut command = Command::new("go");
    command
        .current_dir(&directory)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let variables = RECIPE.iter().filter(|part| !part.starts_with('-'));
    command.envs(variables.filter_map(|variable| variable.split_once('=')));
    // A workspace above the clone is none of ours.
    command.env("GOWORK", "off");
    let failed = |reason: String| BuildError::Go {
        command: format!(
            "go {} {}",
            arguments.first().map(|word| word.to_string_lossy()).unwrap_or_default(),
            program.package()
        ),
        directory: directory.clone(),
        reason,
    };
    let status = command.status().map_err(|error| failed(error.to_string()))?;
    if !status.success() {
        return Err(failed(format!("{status}; what it said is above")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        for (text, wanted) in [
            ("go1.26.8", Some((1, 26))),
            ("go1.19", Some((1, 19))),
            ("go1.27rc1", Some((1, 27))),
            ("devel go1.28-abc", None),
            ("", None),
        ] {
            assert_eq!(version(text), wanted, "{text}");
        }
    }
}
