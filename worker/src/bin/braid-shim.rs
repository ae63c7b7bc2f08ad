//! The shim as a program of its own: its standard input is the socket to its worker.
//!
//! `braid-shim [--cgroup DIRECTORY]`: where the memory files of the cgroup are, if not where the kernel says.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use braid_worker::shim;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    let cgroup = match arguments.as_slice() {
        [] => None,
        [option, directory] if option == "--cgroup" => Some(PathBuf::from(directory)),
        _ => return told("usage: braid-shim [--cgroup DIRECTORY]"),
    };
    match shim::Config::from_stdin() {
        Ok(config) => shim::main(shim::Config { cgroup, ..config }),
        Err(error) => told(&format!("cannot take standard input: {error}")),
    }
}

fn told(what: &str) -> ExitCode {
    // Without standard error there is nobody left to tell.
    let _ = writeln!(io::stderr(), "braid-shim: {what}");
    ExitCode::from(2)
}
