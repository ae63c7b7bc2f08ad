//! The exhaustive model: no configuration breaks an invariant, every action was taken, every broken rule is caught.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::collections::BTreeMap;

use braid_model::{
    actor::Reference,
    configs,
    invariants::Invariant,
    machine::Production,
    mutation::Mutation,
    search::{Limits, explore},
};

/// Every kind of action that the model has, but for the one that only a broken world has.
const KINDS: [&str; 35] = [
    "Assign",
    "AssignAdopter",
    "AssignTwin",
    "BudgetOver",
    "Cancel",
    "Close",
    "CloseUnseen",
    "Cut",
    "Defer",
    "Delete",
    "Die",
    "Drop",
    "DropByOldRecord",
    "Fail",
    "Fold",
    "FoldAll",
    "Full",
    "LateWrite",
    "LosePod",
    "LosePodNotProcess",
    "LoseShim",
    "PrepareManifest",
    "PutManifest",
    "Read",
    "Replace",
    "Restart",
    "Retry",
    "RetryUnseen",
    "Seal",
    "Succeed",
    "Unlist",
    "Watch",
    "Write",
    "WriteGivenUp",
    "WriteUnanswered",
];

#[test]
fn every_configuration_holds_and_every_action_is_taken() {
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    let mut states = 0;
    for config in configs::production() {
        let report = explore::<Production>(&config, Limits::default());
        println!(
            "| {} | {} | {} | {} | {} | {:?} |",
            config.name, report.states, report.steps, report.depth, report.longest_tail, report.time
        );
        assert!(report.violation.is_none(), "{}: {:#?}", config.name, report.violation);
        assert!(report.exhausted, "{} was not exhausted", config.name);
        states += report.states;
        for (kind, count) in report.taken {
            *taken.entry(kind).or_default() += count;
        }
    }
    println!("{states} states\n{taken:?}");
    let never: Vec<_> = KINDS.iter().filter(|kind| !taken.contains_key(**kind)).collect();
    assert!(never.is_empty(), "never taken: {never:?}");
    // What left a desk by an old record, and was never folded, would not be folded from an old copy of the desk either;
    // and a desk that an older record lets go, the current one lets go.
    for impossible in ["FoldArchived", "DeleteByOldRecord"] {
        assert_eq!(taken.get(impossible), None, "{impossible}");
    }
}

#[test]
fn the_reference_worker_holds() {
    for config in configs::reference() {
        let report = explore::<Reference>(&config, Limits::default());
        println!("| {} | {} | {} |", config.name, report.states, report.depth);
        assert!(report.violation.is_none(), "{}: {:#?}", config.name, report.violation);
        assert!(report.exhausted, "{} was not exhausted", config.name);
    }
}

/// Every broken rule, the invariant that it breaks first, and the length of the shortest trace.
const CAUGHT: [(Mutation, Invariant, usize); 16] = [
    (Mutation::NoRebase, Invariant::CountedOnce, 9),
    (Mutation::BlindCommit, Invariant::SealedNeverChanges, 5),
    (Mutation::FoldUnsealed, Invariant::DroppedAsFolded, 9),
    (Mutation::FoldPartlyNew, Invariant::CountedOnce, 10),
    (Mutation::TwoWrites, Invariant::LedgerIsContent, 5),
    (Mutation::VisibleAtCommit, Invariant::VisibleWasCounted, 4),
    (Mutation::IdsReused, Invariant::NumbersAreNew, 8),
    (Mutation::RetryWithoutRound, Invariant::RoundOfSettlement, 14),
    (Mutation::RetryBeforeSealed, Invariant::CommittedIsCounted, 10),
    (Mutation::DeletedWithPod, Invariant::CommittedIsCounted, 6),
    (Mutation::EntriesLeaveEarly, Invariant::CountedIsKept, 6),
    (Mutation::ClosedBeforePublished, Invariant::ClosedIsPublished, 7),
    (Mutation::OutputsAfterCommit, Invariant::NamedExists, 5),
    (Mutation::FoldedAtOnce, Invariant::CountedOnce, 8),
    (Mutation::TakenBelieved, Invariant::CountedIsKept, 13),
    (Mutation::DroppedByOldRound, Invariant::CommittedIsCounted, 16),
];

#[test]
fn every_broken_rule_is_caught() {
    assert_eq!(CAUGHT.map(|(mutation, ..)| mutation), Mutation::ALL);
    for (mutation, invariant, length) in CAUGHT {
        let report = explore::<Reference>(&configs::broken(mutation), Limits::default());
        let found = report.violation.unwrap_or_else(|| panic!("{mutation:?} survives"));
        assert_eq!(
            (found.invariant, found.trace.len()),
            (invariant, length),
            "{mutation:?}: {:#?}",
            found.trace
        );
    }
}

#[test]
fn no_rule_is_broken_where_the_broken_ones_are_caught() {
    for mutation in Mutation::ALL {
        let config = braid_model::state::Config {
            mutation: None,
            ..configs::broken(mutation)
        };
        let limits = Limits {
            states: 60_000,
            liveness: false,
            ..Limits::default()
        };
        let report = explore::<Reference>(&config, limits);
        assert!(report.violation.is_none(), "{mutation:?}: {:#?}", report.violation);
    }
}
