//! The simulator: seeds that are right, that repeat, that hit every fault, and that catch every broken rule.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use braid_model::{
    mutation::Mutation,
    sim::{self, faults::Matrix},
};

/// Seeds of the default run; `sim --seeds` runs more.
const SEEDS: u64 = 250;
/// A broken rule that so many seeds do not catch is not caught.
const PATIENCE: u64 = 150;

#[test]
fn every_fault_hits_every_arrow_and_no_run_is_wrong() {
    let mut matrix = Matrix::default();
    let (mut events, mut shards, mut in_part) = (0, 0, 0);
    for seed in 0..SEEDS {
        let outcome = sim::run(seed, None);
        assert_eq!(outcome.violation, None, "seed {seed}: {}", outcome.last);
        matrix.add(&outcome.matrix);
        events += outcome.events;
        shards += outcome.shards;
        in_part += outcome.held_in_part;
    }
    println!("{SEEDS} seeds, {events} events, {shards} shards, held in part with one operator: {in_part}");
    println!("{}", matrix.table());
    assert_eq!(
        matrix.missing(),
        [],
        "cells that no fault hit while a shard was in flight"
    );
}

#[test]
fn a_seed_repeats_itself() {
    for seed in 0..20 {
        let (one, other) = (sim::run(seed, None), sim::run(seed, None));
        assert_eq!(
            (one.hash, one.events, one.millis),
            (other.hash, other.events, other.millis),
            "seed {seed}"
        );
    }
}

#[test]
fn seeds_differ() {
    let mut hashes: Vec<u64> = (0..20).map(|seed| sim::run(seed, None).hash).collect();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 20);
}

#[test]
fn every_broken_rule_is_caught() {
    let mut missed = Vec::new();
    // Where there may be several operators, what was committed in an old round may be dropped: only the exhaustive model can tell.
    for mutation in Mutation::ALL
        .into_iter()
        .filter(|mutation| *mutation != Mutation::RetryBeforeSealed)
    {
        let caught = (0..PATIENCE).find_map(|seed| Some((seed + 1, sim::run(seed, Some(mutation)).violation?)));
        match caught {
            Some((seeds, invariant)) => println!("| {mutation:?} | {invariant} | {seeds} |"),
            None => missed.push(mutation),
        }
    }
    assert_eq!(missed, [], "broken rules that {PATIENCE} seeds did not catch");
}
