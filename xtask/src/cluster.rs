//! The stage `cluster`: builds the programs of a real API server, then runs the tests that start it.

use std::process::Command;
use std::time::Duration;

use braid_cluster::programs::{self, Program};

use crate::{FEATURES, cargo};

/// What the stage is, for people.
pub const ALONE: &str = "cargo xtask test --only cluster";

/// Finds or builds the programs, and says where the time went.
pub fn obtain() -> anyhow::Result<()> {
    let wanted: Vec<Program> = Program::SERVER_AND_CLIENT.into_iter().chain([Program::Helm]).collect();
    let obtained = programs::obtain(&wanted, &|what| println!("{what}"))?;
    for built in &obtained.programs {
        let took = built.took.map_or_else(|| "from the cache".to_owned(), seconds);
        println!("{:<24} {took:>14}  {}", built.program.name(), built.path.display());
    }
    println!(
        "downloads {}, builds {}",
        seconds(obtained.downloads),
        seconds(obtained.builds())
    );
    Ok(())
}

/// The tests on a real server, those of the command line on one, that of the proxy before one, and those of the charts. What was proved is printed: how many cases, how large the definitions are.
pub fn tests() -> Command {
    test(&["real", "chart", "relay"], &["--show-output"])
}

/// The tests on a cluster in containers: they say where they are, for the first one takes many minutes.
pub fn kind_tests() -> Command {
    test(&["kind"], &["--nocapture"])
}

/// `cargo test` of test binaries by their names, whole workspace, all features; `options` are theirs.
pub fn test(names: &[&str], options: &[&str]) -> Command {
    let mut command = cargo();
    command.args([
        "test",
        "--workspace",
        "--features",
        FEATURES,
        "--locked",
        "--no-fail-fast",
    ]);
    command.args(names.iter().flat_map(|name| ["--test", name])).arg("--");
    command.args(options);
    command
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}
