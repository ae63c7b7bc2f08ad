//! `cargo xtask test`: every check and every test, stage by stage.
//!
//! A stage that fails does not stop the next ones: one run tells everything. At the end stands a table of times, how to
//! run alone what failed, what the failed tests said, and as the last line how many tests passed and failed. A stage that
//! fails without a failed test (a lint, a build) counts as one failure.

mod counting;
mod licences;

use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;
use counting::{Tally, counted, steadied};
use licences::deny;

use crate::{FEATURES, cargo, cluster, generate, kind};

/// Options of `test`.
#[derive(Args)]
pub struct TestOptions {
    /// Leaves out what is slow or needs more than the Rust toolchain: end-to-end tests, a real API server, a cluster, licences, documentation
    #[arg(long)]
    quick: bool,
    /// Also checks dependencies against the database of known vulnerabilities, which needs the network
    #[arg(long)]
    advisories: bool,
    /// On the cluster only examples, images and rights: nothing breaks
    #[arg(long)]
    brief: bool,
    /// Only this stage; may be given more than once
    #[arg(long, value_name = "STAGE")]
    only: Vec<String>,
}

struct Report {
    name: &'static str,
    alone: String,
    took: Duration,
    tally: Tally,
    error: Option<anyhow::Error>,
}

struct Stage {
    name: &'static str,
    alone: String,
    run: Box<dyn Fn() -> anyhow::Result<Tally>>,
}

/// Runs the stages; false: something failed, and was reported.
pub fn test(options: &TestOptions) -> anyhow::Result<bool> {
    let stages = stages(options);
    if let Some(unknown) = options
        .only
        .iter()
        .find(|name| stages.iter().all(|stage| stage.name != **name))
    {
        let known: Vec<&str> = stages.iter().map(|stage| stage.name).collect();
        bail!("there is no stage {unknown:?}; there are {}", known.join(", "));
    }
    let mut reports = Vec::new();
    for stage in stages {
        if !options.only.is_empty() && options.only.iter().all(|name| name != stage.name) {
            continue;
        }
        println!("\n==> {}: {}", stage.name, stage.alone);
        let begun = Instant::now();
        let (tally, error) = match (stage.run)() {
            Ok(tally) if tally.failed == 0 => (tally, None),
            Ok(tally) if tally.broke => (tally, Some(anyhow::anyhow!("the command failed, see above"))),
            Ok(tally) => {
                let error = anyhow::anyhow!("{} tests failed", tally.failed);
                (tally, Some(error))
            }
            Err(error) => (
                Tally {
                    failed: 1,
                    ..Tally::default()
                },
                Some(error),
            ),
        };
        let took = begun.elapsed();
        match &error {
            None => println!("==> {}: ok in {}", stage.name, seconds(took)),
            Some(error) => println!("==> {}: FAILED in {}: {error:#}", stage.name, seconds(took)),
        }
        reports.push(Report {
            name: stage.name,
            alone: stage.alone,
            took,
            tally,
            error,
        });
    }
    Ok(conclude(&reports))
}

fn conclude(reports: &[Report]) -> bool {
    println!(
        "\n{:<10} {:>9} {:>8} {:>8}  outcome",
        "stage", "time", "passed", "failed"
    );
    let mut all = Tally::default();
    let mut took = Duration::ZERO;
    for report in reports {
        let outcome = if report.error.is_none() { "ok" } else { "FAILED" };
        println!(
            "{:<10} {:>9} {:>8} {:>8}  {outcome}",
            report.name,
            seconds(report.took),
            report.tally.passed,
            report.tally.failed
        );
        all.passed += report.tally.passed;
        all.failed += report.tally.failed;
        all.ignored += report.tally.ignored;
        took += report.took;
    }
    println!("{:<10} {:>9}", "together", seconds(took));
    if all.ignored > 0 {
        println!("{} tests were ignored", all.ignored);
    }
    let failed: Vec<&Report> = reports.iter().filter(|report| report.error.is_some()).collect();
    for report in &failed {
        println!("to run {} alone: {}", report.name, report.alone);
        for why in &report.tally.why {
            println!("{why}");
        }
    }
    for name in reports.iter().flat_map(|report| &report.tally.unsteady) {
        println!("passed only when it was run again: {name}");
    }
    println!("{} passed, {} failed", all.passed, all.failed);
    failed.is_empty()
}

fn stages(options: &TestOptions) -> Vec<Stage> {
    let mut stages = vec![
        command("fmt", &["fmt", "--all", "--check"], &[]),
        command(
            "clippy",
            &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--features",
                FEATURES,
                "--locked",
                "--keep-going",
                "--",
                "-D",
                "warnings",
            ],
            &[],
        ),
        Stage {
            name: "generate",
            alone: "cargo xtask generate --check".to_owned(),
            run: Box::new(|| generate::run(true).map(|()| Tally::default())),
        },
    ];
    let mut tests = vec![
        "test",
        "--workspace",
        "--locked",
        "--no-fail-fast",
        "--lib",
        "--bins",
        "--tests",
    ];
    if options.quick {
        tests.extend(["--exclude", "braid-e2e", "--exclude", "braid-chaos"]);
    }
    stages.push(command("tests", &tests, &[]));
    if !options.quick {
        stages.push(Stage {
            name: "cluster",
            alone: cluster::ALONE.to_owned(),
            run: Box::new(|| {
                cluster::obtain()?;
                steadied(cluster::tests())
            }),
        });
        stages.push(Stage {
            name: "kind",
            alone: "cargo xtask test --only kind".to_owned(),
            run: Box::new(|| steadied(cluster::kind_tests())),
        });
        let extent = if options.brief {
            kind::Extent::Short
        } else {
            kind::Extent::Whole
        };
        stages.push(Stage {
            name: "e2e-kind",
            alone: kind::ALONE.to_owned(),
            run: Box::new(move || {
                Ok(kind::with_cluster(extent, steadied)?
                    .into_iter()
                    .fold(Tally::default(), Tally::and))
            }),
        });
        let advisories = options.advisories;
        stages.push(Stage {
            name: "deny",
            alone: format!(
                "cargo xtask test --only deny{}",
                if advisories { " --advisories" } else { "" }
            ),
            run: Box::new(move || deny(advisories).map(|()| Tally::default())),
        });
        stages.push(command(
            "doctests",
            &["test", "--workspace", "--locked", "--no-fail-fast", "--doc"],
            &[],
        ));
        stages.push(command(
            "docs",
            &["doc", "--workspace", "--locked", "--no-deps"],
            &[("RUSTDOCFLAGS", "-D warnings")],
        ));
    }
    stages
}

/// A stage that is one call of cargo.
fn command(name: &'static str, arguments: &[&str], environment: &[(&str, &str)]) -> Stage {
    let mut words: Vec<String> = environment
        .iter()
        .map(|(key, value)| format!("{key}='{value}'"))
        .collect();
    words.push("cargo".to_owned());
    words.extend(arguments.iter().map(ToString::to_string));
    let alone = words.join(" ");
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    let environment: Vec<(String, String)> = environment
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    Stage {
        name,
        alone,
        run: Box::new(move || {
            let mut command = cargo();
            command.args(&arguments).envs(environment.iter().cloned());
            counted(command)
        }),
    }
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}
