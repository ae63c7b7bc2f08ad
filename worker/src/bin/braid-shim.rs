//! The shim as a program of its own.
//!
//! - `braid-shim`: standard input is the socket to the worker that has started it.
//! - `braid-shim --connect SOCKET`: the entry point of a container; the worker beside it listens there. It waits for that worker
//!   for `--patience SECONDS`, five minutes if nothing else is said, and never ends with 0.
//!
//!   Inputs that are too large for memory go below `--scratch DIRECTORY`.
//!
//! What attempts save for the next is kept below `--checkpoints DIRECTORY`, in a container below that of `--scratch`.
//!
//! With either: `--cgroup DIRECTORY`, where the memory files of the cgroup are, if not where the kernel says.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use braid_worker::shim::{self, Container};

const USAGE: &str = "usage: braid-shim [--connect SOCKET [--patience SECONDS] [--scratch DIRECTORY] | --checkpoints DIRECTORY] [--cgroup DIRECTORY]";

/// How long a worker may be away, in seconds: about as long as a crashing container is made to wait at most.
const PATIENCE: u64 = 300;

fn main() -> ExitCode {
    let (mut cgroup, mut socket, mut patience, mut scratch, mut checkpoints) = (None, None, None, None, None);
    let mut arguments = env::args_os().skip(1);
    while let Some(option) = arguments.next() {
        let Some(value) = arguments.next() else {
            return told(USAGE);
        };
        match option.to_str() {
            Some("--cgroup") => cgroup = Some(PathBuf::from(value)),
            Some("--checkpoints") => checkpoints = Some(PathBuf::from(value)),
            Some("--connect") => socket = Some(PathBuf::from(value)),
            Some("--scratch") => scratch = Some(PathBuf::from(value)),
            Some("--patience") => match seconds(value) {
                Some(seconds) => patience = Some(seconds),
                None => return told(USAGE),
            },
            _ => return told(USAGE),
        }
    }
    if let Some(socket) = socket {
        if checkpoints.is_some() {
            return told(USAGE);
        }
        let patience = Duration::from_secs(patience.unwrap_or(PATIENCE));
        return Container {
            socket,
            patience,
            scratch,
            cgroup,
        }
        .main();
    }
    if patience.is_some() || scratch.is_some() {
        return told(USAGE);
    }
    match shim::Config::from_stdin() {
        Ok(config) => shim::main(shim::Config {
            cgroup,
            checkpoints,
            ..config
        }),
        Err(error) => told(&format!("cannot take standard input: {error}")),
    }
}

fn seconds(value: OsString) -> Option<u64> {
    value.into_string().ok()?.parse().ok()
}

fn told(what: &str) -> ExitCode {
    // Without standard error there is nobody left to tell.
    let _ = writeln!(io::stderr(), "braid-shim: {what}");
    ExitCode::from(2)
}
