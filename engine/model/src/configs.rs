//! The bounds that are explored.

use braid_crds::worker::Mode;

use crate::{
    mutation::Mutation,
    state::{Budget, Config},
};

/// Nothing bad happens, and the operator seals nothing that lives.
const CALM: Budget = Budget {
    deaths: 0,
    pods: 0,
    zombies: 0,
    replacements: 0,
    lost: 0,
    late: 0,
    failures: 0,
    deferrals: 0,
    retries: 0,
    cancels: 0,
    cuts: 0,
    fulls: 0,
    seals: 0,
    shims: 0,
    shards: 2,
};

/// Two partitions, two desks, two shards, several operators, no faults.
const BASE: Config = Config {
    name: "base",
    partitions: 2,
    desks: 2,
    split_brain: true,
    twins: false,
    mode: Mode::Normal,
    concurrency: 1,
    held: 100,
    outputs: true,
    publishers: 1,
    budget: CALM,
    mutation: None,
};

/// What the default tests explore, with the production machine. Each is exhausted.
#[must_use]
pub fn production() -> Vec<Config> {
    let counts = Config { outputs: false, ..BASE };
    let one = Config {
        split_brain: false,
        ..counts.clone()
    };
    let named = |name, config: &Config, budget| Config {
        name,
        budget,
        ..config.clone()
    };
    vec![
        named(
            "split brain",
            &counts,
            Budget {
                lost: 1,
                seals: 1,
                ..CALM
            },
        ),
        named(
            "pods lost and replaced",
            &counts_of_one_desk(),
            Budget {
                pods: 1,
                replacements: 1,
                lost: 1,
                seals: 1,
                ..CALM
            },
        ),
        named(
            "zombies",
            &counts_of_one_desk(),
            Budget {
                zombies: 1,
                replacements: 1,
                lost: 1,
                ..CALM
            },
        ),
        named(
            "restarts and late writes",
            &counts_of_one_desk(),
            Budget {
                deaths: 1,
                late: 1,
                lost: 1,
                seals: 1,
                ..CALM
            },
        ),
        named(
            "early commits",
            &Config {
                held: 1,
                ..counts_of_one_desk()
            },
            Budget {
                late: 1,
                lost: 1,
                seals: 1,
                ..CALM
            },
        ),
        named(
            "retry",
            &counts,
            Budget {
                failures: 1,
                retries: 1,
                ..CALM
            },
        ),
        named(
            "cancel",
            &counts,
            Budget {
                cancels: 1,
                seals: 1,
                ..CALM
            },
        ),
        named(
            "deferral",
            &counts,
            Budget {
                deferrals: 1,
                lost: 1,
                ..CALM
            },
        ),
        named("outputs", &Config { publishers: 2, ..BASE }, Budget { ..CALM }),
        named(
            "outputs and deaths",
            &Config {
                publishers: 2,
                desks: 1,
                ..BASE
            },
            Budget {
                pods: 1,
                replacements: 1,
                lost: 1,
                failures: 1,
                ..CALM
            },
        ),
        named(
            "one operator",
            &one,
            Budget {
                seals: 1,
                shards: 3,
                ..CALM
            },
        ),
        named(
            "one operator, lost answers",
            &one,
            Budget {
                lost: 1,
                cuts: 1,
                ..CALM
            },
        ),
        named(
            "one operator, three partitions",
            &Config {
                partitions: 3,
                ..one.clone()
            },
            Budget { seals: 1, ..CALM },
        ),
        named(
            "one operator, twins",
            &Config {
                twins: true,
                ..one.clone()
            },
            Budget { shards: 3, ..CALM },
        ),
        named(
            "one operator, twins and seals",
            &Config {
                partitions: 1,
                twins: true,
                ..one.clone()
            },
            Budget {
                seals: 1,
                lost: 1,
                deferrals: 1,
                shards: 3,
                ..CALM
            },
        ),
        named(
            "one operator, retry and cancel",
            &one,
            Budget {
                failures: 1,
                retries: 1,
                cancels: 1,
                deferrals: 1,
                shards: 4,
                ..CALM
            },
        ),
        named(
            "out of order",
            &Config {
                desks: 1,
                concurrency: 2,
                ..one.clone()
            },
            Budget {
                cuts: 1,
                seals: 1,
                shims: 1,
                deferrals: 1,
                ..CALM
            },
        ),
        named(
            "out of order, three partitions",
            &Config {
                partitions: 3,
                desks: 1,
                concurrency: 2,
                ..one.clone()
            },
            Budget {
                cuts: 1,
                seals: 1,
                ..CALM
            },
        ),
        named(
            "zombies and retry",
            &Config {
                desks: 1,
                ..one.clone()
            },
            Budget {
                zombies: 1,
                replacements: 1,
                failures: 1,
                retries: 1,
                ..CALM
            },
        ),
        named(
            "one operator, pods and outputs",
            &Config {
                desks: 1,
                outputs: true,
                ..one.clone()
            },
            Budget {
                pods: 1,
                replacements: 1,
                late: 1,
                failures: 1,
                retries: 1,
                ..CALM
            },
        ),
        named(
            "full",
            &Config {
                desks: 1,
                ..one.clone()
            },
            Budget {
                fulls: 1,
                lost: 1,
                seals: 1,
                ..CALM
            },
        ),
        named(
            "adoption",
            &Config {
                partitions: 2,
                desks: 1,
                concurrency: 2,
                ..one.clone()
            },
            Budget {
                seals: 1,
                shims: 1,
                shards: 3,
                ..CALM
            },
        ),
        named(
            "suspects",
            &Config {
                desks: 1,
                mode: Mode::Suspect,
                ..one.clone()
            },
            Budget {
                deaths: 1,
                shims: 1,
                lost: 1,
                seals: 1,
                ..CALM
            },
        ),
    ]
}

fn counts_of_one_desk() -> Config {
    Config {
        outputs: false,
        desks: 1,
        ..BASE
    }
}

/// What the default tests explore with the reference worker, in whose place the broken ones step.
#[must_use]
pub fn reference() -> Vec<Config> {
    let budget = Budget {
        lost: 1,
        fulls: 1,
        cuts: 1,
        ..CALM
    };
    let named = |name, config: Config, budget| Config { name, budget, ..config };
    vec![
        named("reference", Config { outputs: false, ..BASE }, budget),
        named(
            "reference, deaths",
            counts_of_one_desk(),
            Budget {
                deaths: 1,
                late: 1,
                failures: 1,
                ..CALM
            },
        ),
    ]
}

/// Larger bounds, for a machine with memory and time. Not all are exhausted: the search says so.
#[must_use]
pub fn large() -> Vec<Config> {
    let named = |name, config: &Config, budget| Config {
        name,
        budget,
        ..config.clone()
    };
    let counts = Config { outputs: false, ..BASE };
    let one = Config {
        split_brain: false,
        ..counts.clone()
    };
    let desk = counts_of_one_desk();
    vec![
        named(
            "early commits and deaths",
            &Config {
                held: 1,
                ..desk.clone()
            },
            Budget {
                deaths: 1,
                late: 1,
                lost: 1,
                seals: 1,
                ..CALM
            },
        ),
        named(
            "out of order",
            &Config {
                desks: 1,
                concurrency: 2,
                ..one.clone()
            },
            Budget {
                cuts: 2,
                seals: 1,
                lost: 1,
                shims: 1,
                deferrals: 1,
                ..CALM
            },
        ),
        named(
            "split brain, cuts",
            &counts,
            Budget {
                lost: 1,
                cuts: 1,
                seals: 1,
                ..CALM
            },
        ),
        named(
            "split brain, outputs",
            &BASE,
            Budget {
                cuts: 1,
                seals: 1,
                ..CALM
            },
        ),
        named(
            "split brain, one desk, three shards",
            &desk,
            Budget {
                lost: 1,
                cuts: 1,
                seals: 1,
                shards: 3,
                ..CALM
            },
        ),
        named(
            "retry, one desk, three shards",
            &desk,
            Budget {
                failures: 1,
                retries: 1,
                lost: 1,
                shards: 3,
                ..CALM
            },
        ),
        named(
            "one operator, three shards of three partitions",
            &Config {
                partitions: 3,
                ..one.clone()
            },
            Budget {
                lost: 1,
                seals: 1,
                shards: 3,
                ..CALM
            },
        ),
        named(
            "one operator, twins, four shards",
            &Config {
                twins: true,
                ..one.clone()
            },
            Budget {
                cuts: 1,
                seals: 1,
                shards: 4,
                ..CALM
            },
        ),
        named(
            "one operator, everything",
            &Config {
                desks: 1,
                outputs: true,
                ..one.clone()
            },
            Budget {
                pods: 1,
                replacements: 1,
                deaths: 1,
                late: 1,
                failures: 1,
                retries: 1,
                shards: 3,
                ..CALM
            },
        ),
    ]
}

/// Where each broken rule shows.
#[must_use]
pub fn broken(mutation: Mutation) -> Config {
    let calm = Config {
        name: "broken",
        mutation: Some(mutation),
        ..BASE
    };
    let with = |budget: Budget| Config { budget, ..calm.clone() };
    match mutation {
        Mutation::NoRebase => with(Budget {
            lost: 1,
            fulls: 1,
            shards: 1,
            ..CALM
        }),
        Mutation::BlindCommit | Mutation::FoldUnsealed => with(Budget {
            seals: 1,
            fulls: 1,
            ..CALM
        }),
        Mutation::IdsReused => with(Budget {
            pods: 1,
            replacements: 1,
            ..CALM
        }),
        Mutation::RetryWithoutRound | Mutation::DroppedByOldRound => with(Budget {
            failures: 1,
            retries: 1,
            shards: 3,
            ..CALM
        }),
        // With one operator and fresh copies: it needs nobody's help to lose what was committed.
        Mutation::RetryBeforeSealed => Config {
            split_brain: false,
            outputs: false,
            budget: Budget {
                failures: 1,
                retries: 1,
                shards: 3,
                ..CALM
            },
            ..calm.clone()
        },
        Mutation::DeletedWithPod => with(Budget { pods: 1, ..CALM }),
        Mutation::OutputsAfterCommit => with(Budget { lost: 1, ..CALM }),
        Mutation::TakenBelieved => Config {
            publishers: 2,
            ..calm.clone()
        },
        _ => calm.clone(),
    }
}
