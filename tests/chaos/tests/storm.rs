//! What `braid-chaos` does for long, in short.

#![allow(clippy::print_stdout, clippy::panic)]

use std::process::Command;

use braid_e2e::braid;

fn chaos(options: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_braid-chaos"))
        .args(options)
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

#[test]
fn a_run_is_exact_whatever_breaks() {
    chaos(&["--partitions", "1500", "--pace", "10", "--every", "400", "--kills", "0"]);
}

#[test]
fn a_killed_braid_run_goes_on_and_is_exact() {
    let braid = braid().display().to_string();
    chaos(&[
        "--no-storm",
        "--kills",
        "5",
        "--partitions",
        "4000",
        "--pace",
        "10",
        "--braid",
        &braid,
    ]);
}
