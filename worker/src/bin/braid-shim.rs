//! The shim as a program of its own: its standard input is the socket to its worker.

use std::io::{self, Write};
use std::process::ExitCode;

use braid_worker::shim;

fn main() -> ExitCode {
    match shim::Config::from_stdin() {
        Ok(config) => shim::main(config),
        Err(error) => {
            // Without standard error there is nobody left to tell.
            let _ = writeln!(io::stderr(), "braid-shim: cannot take standard input: {error}");
            ExitCode::from(2)
        }
    }
}
