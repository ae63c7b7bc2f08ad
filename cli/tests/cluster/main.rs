//! `braid` in a cluster: child processes with a kubeconfig. The operator is played by the tests, which write what it would.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod cases;
mod doctor;
mod embedded;
#[path = "../commands/harness.rs"]
#[allow(dead_code)]
mod harness;
mod logs;
mod place;
mod site;
mod takes_over;
mod trouble;
mod whole;

/// Runs the cases on the embedded server; `cargo test --features real` does on a real one.
#[test]
fn all_cases_hold_on_the_embedded_server() {
    for (name, case) in cases::ALL {
        println!("{name}");
        case(&embedded::Embedded::new().site);
    }
}
