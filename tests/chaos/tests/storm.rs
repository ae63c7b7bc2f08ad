//! A short storm: what `braid-chaos` does for long, as a test.

#![allow(clippy::print_stdout, clippy::panic)]

use std::process::Command;

#[test]
fn a_run_is_exact_whatever_breaks() {
    let output = Command::new(env!("CARGO_BIN_EXE_braid-chaos"))
        .args(["--partitions", "1500", "--pace", "10", "--every", "400", "--kills", "0"])
        .env("RUST_LOG", "warn")
        .output();
    let output = output.unwrap_or_else(|error| panic!("braid-chaos does not start: {error}"));
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(
        output.status.success(),
        "{}{said}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}
