//! `braid-chaos [--minutes N] [--seed S] [--partitions N]`: breaks runs and checks that their numbers stay exact.
//!
//! Two parts. The *storm*: a run in this process, whose user code, shims, workers, operators and API server are killed,
//! stopped, paused and refused at random; repeated with other seeds until the time is over. The *kills*: `braid run` as a
//! process of its own, killed with SIGKILL again and again and started again on its state. Shims and user code are real
//! processes and get real signals; workers and operators are tasks of one process, so they are aborted and paused.
//! Choices come from the seed; when they meet the run is up to the machine, so a seed does not replay exactly.

// Serde's documents give null for what is absent.
#![allow(clippy::indexing_slicing)]
// A command-line tool speaks by printing.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod kills;
mod processes;
mod storm;
mod tally;
mod work;

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::Parser;
use serde_json::{Value, json};
use tally::Tally;

#[derive(Parser)]
#[command(about = "Breaks runs at random and checks that their numbers stay exact")]
struct Options {
    /// How long storms are repeated; at least one is weathered
    #[arg(long, default_value_t = 0)]
    minutes: u64,
    /// The choices; by chance unless given
    #[arg(long)]
    seed: Option<u64>,
    /// Partitions of a run
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    partitions: u64,
    /// What a partition takes, in milliseconds
    #[arg(long, default_value_t = 10)]
    pace: u64,
    /// Faults are on average so many milliseconds apart
    #[arg(long, default_value_t = 500)]
    every: u64,
    /// How often `braid run` is killed; 0 leaves that part out
    #[arg(long, default_value_t = 20)]
    kills: u32,
    /// No storm: only kills
    #[arg(long)]
    no_storm: bool,
    /// The program for the kills; unless given, `braid` beside this program
    #[arg(long, value_name = "FILE")]
    braid: Option<PathBuf>,
    /// Also writes what was hit to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Keeps diaries and state below this directory
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

fn main() -> ExitCode {
    if let Some(code) = braid_testkit::as_shim() {
        return code;
    }
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> anyhow::Result<()> {
    let seed = options.seed.unwrap_or_else(rand::random);
    let temporary = tempfile::tempdir()?;
    let base = options.keep.clone().unwrap_or_else(|| temporary.path().to_owned());
    println!("seed {seed}, {} partitions of {} ms", options.partitions, options.pace);
    let tally = Arc::new(Tally::default());
    let storms = if options.no_storm {
        Vec::new()
    } else {
        storms(options, seed, &base, &tally)?
    };
    let kills = if options.kills == 0 {
        Value::Null
    } else {
        kills(options, seed, &base)?
    };
    if let Some(file) = &options.json {
        let document = json!({"seed": seed, "storms": storms, "faults": tally.json(), "kills": kills});
        let text = serde_json::to_string_pretty(&document)?;
        std::fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))?;
    }
    println!("exact");
    Ok(())
}

fn storms(options: &Options, seed: u64, base: &std::path::Path, tally: &Arc<Tally>) -> anyhow::Result<Vec<Value>> {
    let until = Instant::now() + Duration::from_secs(options.minutes * 60);
    let mut storms = Vec::new();
    while storms.is_empty() || Instant::now() < until {
        let seed = seed.wrapping_add(storms.len() as u64);
        let directory = base.join(format!("storm-{seed}"));
        std::fs::create_dir_all(&directory)?;
        let storm = storm::Storm {
            seed,
            partitions: options.partitions,
            pace_millis: options.pace,
            every: Duration::from_millis(options.every),
            directory,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let weathered = runtime
            .block_on(Box::pin(storm::weather(&storm, tally)))
            .with_context(|| format!("the storm with seed {seed}"))?;
        println!(
            "storm {seed}: exact after {:.1} s; {} runs of {} partitions, {} again ({:.2} %); API: {} requests, {} refused \
             or lost; operators: {}",
            weathered.took.as_secs_f64(),
            weathered.waste.runs,
            storm.partitions,
            weathered.waste.again,
            percent(weathered.waste.again, storm.partitions),
            weathered.requests.0,
            weathered.requests.1,
            weathered.operators,
        );
        storms.push(json!({
            "seed": seed,
            "partitions": storm.partitions,
            "seconds": weathered.took.as_secs_f64(),
            "runs": weathered.waste.runs,
            "again": weathered.waste.again,
            "requests": weathered.requests.0,
            "refused": weathered.requests.1,
            "operators": weathered.operators,
        }));
    }
    println!("\n{}", tally.table());
    let missed = tally.missed();
    if !missed.is_empty() {
        println!("never met an open shard, run longer: {}", missed.join("; "));
    }
    Ok(storms)
}

fn kills(options: &Options, seed: u64, base: &std::path::Path) -> anyhow::Result<Value> {
    let braid = match &options.braid {
        Some(braid) => braid.clone(),
        None => std::env::current_exe()?.with_file_name("braid"),
    };
    let directory = base.join("kills");
    std::fs::create_dir_all(&directory)?;
    let kills = kills::Kills {
        seed,
        times: options.kills,
        partitions: options.partitions,
        pace_millis: options.pace,
        braid,
        directory,
    };
    let survived = kills::survive(&kills).context("`braid run` under kills")?;
    println!(
        "braid run: exact after {} SIGKILLs ({} of them after partitions had begun in that life) and {:.1} s; {} runs of {} \
         partitions, {} again ({:.2} %)",
        kills.times,
        survived.in_flight,
        survived.took.as_secs_f64(),
        survived.waste.runs,
        kills.partitions,
        survived.waste.again,
        percent(survived.waste.again, kills.partitions),
    );
    Ok(json!({
        "kills": kills.times,
        "inFlight": survived.in_flight,
        "seconds": survived.took.as_secs_f64(),
        "partitions": kills.partitions,
        "runs": survived.waste.runs,
        "again": survived.waste.again,
    }))
}

#[allow(clippy::cast_precision_loss)]
fn percent(part: u64, of: u64) -> f64 {
    100.0 * part as f64 / of.max(1) as f64
}
