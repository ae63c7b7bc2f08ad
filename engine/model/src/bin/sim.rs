//! Runs seeds of the simulator until one is wrong, and prints the matrix of faults.
//!
//! `sim [--seeds N] [--from SEED]`
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use braid_model::sim::{self, faults::Matrix};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((seeds, from)) = read(&arguments) else {
        eprintln!("usage: sim [--seeds N] [--from SEED]");
        return ExitCode::from(2);
    };
    let mut matrix = Matrix::default();
    let (mut events, mut shards, mut partitions, mut conflicts) = (0, 0, 0, 0);
    for seed in from..from.saturating_add(seeds) {
        let outcome = sim::run(seed, None);
        matrix.add(&outcome.matrix);
        events += outcome.events;
        shards += outcome.shards;
        partitions += u64::from(outcome.partitions);
        conflicts += outcome.conflicts;
        if let Some(broken) = outcome.violation {
            println!(
                "seed {seed} is wrong: {broken} after {} events, {} ms; {} partitions, {} workers",
                outcome.events, outcome.millis, outcome.partitions, outcome.workers
            );
            println!("{}", outcome.last);
            return ExitCode::FAILURE;
        }
    }
    println!(
        "{seeds} seeds from {from}: {events} events, {partitions} partitions, {shards} shards, {conflicts} conflicts, nothing wrong"
    );
    println!("{}", matrix.table());
    let missing = matrix.missing();
    if !missing.is_empty() {
        println!("not hit: {missing:?}");
    }
    ExitCode::SUCCESS
}

/// How many seeds, and the first.
fn read(arguments: &[String]) -> Option<(u64, u64)> {
    let (mut seeds, mut from) = (100, 0);
    for pair in arguments.chunks(2) {
        match pair {
            [name, value] if name == "--seeds" => seeds = value.parse().ok()?,
            [name, value] if name == "--from" => from = value.parse().ok()?,
            _ => return None,
        }
    }
    Some((seeds, from))
}
