//! A user's program for an image that has nothing else in it: gives its partition's number as the result `sum`.
//!
//! Exit codes: 0; 1 if it is not told its number or cannot write its result.

use std::process::ExitCode;
use std::{env, fs};

fn main() -> ExitCode {
    let (Some(item), Some(results)) = (env::var_os("BRAID_ITEM"), env::var_os("BRAID_RESULTS")) else {
        return ExitCode::FAILURE;
    };
    // The number is JSON as it is.
    match fs::write(results, format!(r#"{{"sum": {}}}"#, item.to_string_lossy())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
