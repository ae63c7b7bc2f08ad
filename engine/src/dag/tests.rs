#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn steps(edges: &[(&str, &[&str])]) -> Vec<Step> {
    edges
        .iter()
        .map(|(name, after)| Step {
            name: (*name).into(),
            after: after.iter().map(|after| (*after).into()).collect(),
            ..Step::default()
        })
        .collect()
}

fn diamond() -> Dag {
    Dag::new(&steps(&[
        ("d", &["b", "c"]),
        ("b", &["a"]),
        ("c", &["a"]),
        ("a", &[]),
        ("x", &[]),
    ]))
    .unwrap()
}

#[test]
fn orders_and_closes_over() {
    let dag = diamond();
    assert_eq!(vec!["a", "b", "c", "d", "x"], dag.order().collect::<Vec<_>>());
    assert_eq!(BTreeSet::from(["a", "b", "c"]), dag.upstream("d"));
    assert_eq!(BTreeSet::new(), dag.upstream("x"));
    assert_eq!(BTreeSet::new(), dag.upstream("no such step"));
}

#[test]
fn names_the_cycle() {
    let error = Dag::new(&steps(&[
        ("start", &["c"]),
        ("a", &["c"]),
        ("b", &["a"]),
        ("c", &["b"]),
    ]))
    .unwrap_err();
    let DagError::Cycle(names) = &error else {
        panic!("{error}")
    };
    assert_eq!((4, &names[0]), (names.len(), &names[3]), "{error}");
    assert!(!names.contains(&"start".to_owned()), "{error}");
    for pair in names.windows(2) {
        assert!(
            [("a", "b"), ("b", "c"), ("c", "a")].contains(&(pair[0].as_str(), pair[1].as_str())),
            "{error}"
        );
    }
    assert_eq!(
        Err(DagError::Cycle(vec!["a".into(), "a".into()])),
        Dag::new(&steps(&[("a", &["a"])]))
    );
    assert!(matches!(
        Dag::new(&steps(&[("a", &["b"])])),
        Err(DagError::Unknown { .. })
    ));
    assert!(matches!(
        Dag::new(&steps(&[("a", &[]), ("a", &[])])),
        Err(DagError::Duplicate(_))
    ));
}

#[test]
fn skips_what_cannot_come() {
    let dag = diamond();
    let phases = BTreeMap::from([
        ("a", Phase::Succeeded),
        ("b", Phase::Failed),
        ("c", Phase::Running),
        ("x", Phase::Pending),
    ]);
    let ready = dag.readiness(|step| phases.get(step).copied().unwrap_or_default().into());
    let skip = Readiness::Skip {
        cause: SkipCause::Failure,
        because: "step b is Failed".into(),
    };
    assert_eq!(vec![("d", skip), ("x", Readiness::Start)], ready);
    let chain = Dag::new(&steps(&[("a", &[]), ("b", &["a"]), ("c", &["b"])])).unwrap();
    let ready = chain.readiness(first_is(Phase::Cancelled.into()));
    assert!(
        ready
            .iter()
            .all(|(_, readiness)| matches!(readiness, Readiness::Skip { .. })),
        "{ready:?}"
    );
    let ready = chain.readiness(first_is(Phase::Stopped.into()));
    assert_eq!(vec![("b", Readiness::Start), ("c", Readiness::Wait)], ready);
}

fn first_is(at: At) -> impl Fn(&str) -> At {
    move |step| if step == "a" { at } else { At::default() }
}

/// Everywhere that a step can be, as far as rules tell it apart.
fn everywhere() -> Vec<At> {
    let skips = [
        None,
        Some(SkipCause::When),
        Some(SkipCause::Rule),
        Some(SkipCause::Failure),
    ];
    let skips = skips.map(|skipped| At {
        phase: Phase::Skipped,
        skipped,
    });
    let phases = [
        Phase::Pending,
        Phase::Running,
        Phase::Succeeded,
        Phase::Stopped,
        Phase::Failed,
        Phase::Cancelled,
    ];
    phases.map(At::from).into_iter().chain(skips).collect()
}

const RULES: [AfterRule; 6] = [
    AfterRule::AllSucceeded,
    AfterRule::NoneSkipped,
    AfterRule::AnySucceeded,
    AfterRule::AnyFailed,
    AfterRule::AllFailed,
    AfterRule::AllDone,
];

/// What the documentation says of a rule, in as many words.
fn as_documented(rule: AfterRule, ended: &[At]) -> bool {
    let succeeded = |at: &At| matches!(at.phase, Phase::Succeeded | Phase::Stopped);
    let passed = |at: &At| matches!(at.skipped, Some(SkipCause::When | SkipCause::Rule));
    let failed = |at: &At| !succeeded(at) && !passed(at);
    match rule {
        AfterRule::AllSucceeded => !ended.iter().any(failed),
        AfterRule::NoneSkipped => ended.iter().all(succeeded),
        AfterRule::AnySucceeded => ended.iter().any(succeeded),
        AfterRule::AnyFailed => ended.iter().any(failed),
        AfterRule::AllFailed => ended.iter().all(failed),
        AfterRule::AllDone => true,
    }
}

/// All ways in which up to three steps can stand, under every rule: what is decided is what is documented, is decided once all have
/// ended, and if it is decided before that, then no way in which the others may end would have changed it.
#[test]
fn rules_hold_for_all_endings_and_never_depend_on_the_order() {
    let all = everywhere();
    let mut ways: Vec<Vec<At>> = vec![vec![]];
    for _ in 0..3 {
        let longer: Vec<Vec<At>> = ways
            .iter()
            .flat_map(|way| all.iter().map(move |at| [&way[..], &[*at]].concat()))
            .collect();
        ways.extend(longer);
        ways.sort_by_key(|way| format!("{way:?}"));
        ways.dedup();
    }
    assert_eq!(1 + 10 + 100 + 1000, ways.len());
    let decide = |rule, way: &[At]| {
        let named: Vec<(&str, At)> = ["x", "y", "z"].into_iter().zip(way.iter().copied()).collect();
        super::rule::judge(rule, &named)
    };
    let outcome = |readiness: &Readiness| match readiness {
        Readiness::Start => Some(None),
        Readiness::Skip { cause, .. } => Some(Some(*cause)),
        Readiness::Wait => None,
    };
    for rule in RULES {
        for way in ways.iter().filter(|way| !way.is_empty()) {
            let decided = decide(rule, way);
            let open: Vec<usize> = (0..way.len()).filter(|i| !way[*i].phase.is_terminal()).collect();
            if open.is_empty() {
                let starts = decided == Readiness::Start;
                assert_eq!(as_documented(rule, way), starts, "{rule:?} {way:?}");
                if let Readiness::Skip { cause, because } = &decided {
                    let any_failed = as_documented(AfterRule::AnyFailed, way);
                    let about_success = !matches!(rule, AfterRule::AnyFailed | AfterRule::AllFailed);
                    assert_eq!(
                        any_failed && about_success,
                        *cause == SkipCause::Failure,
                        "{rule:?} {way:?}"
                    );
                    assert!(!because.is_empty());
                }
                continue;
            }
            assert_ne!(Readiness::Start, decided, "{rule:?} {way:?}");
            if decided == Readiness::Wait {
                continue;
            }
            let ends: Vec<At> = all.iter().copied().filter(|at| at.phase.is_terminal()).collect();
            let mut later = vec![way.clone()];
            for index in open {
                later = later
                    .iter()
                    .flat_map(|way| {
                        ends.iter().map(move |end| {
                            let mut way = way.clone();
                            way[index] = *end;
                            way
                        })
                    })
                    .collect();
            }
            for end in later {
                assert_eq!(
                    outcome(&decided),
                    outcome(&decide(rule, &end)),
                    "{rule:?} {way:?} {end:?}"
                );
            }
        }
    }
}

#[test]
fn what_is_skipped_by_its_own_condition_hinders_nobody() {
    let chain = Dag::new(&steps(&[("a", &[]), ("b", &["a"]), ("c", &["b"])])).unwrap();
    let skipped = |cause| At {
        phase: Phase::Skipped,
        skipped: Some(cause),
    };
    for cause in [SkipCause::When, SkipCause::Rule] {
        let ready = chain.readiness(first_is(skipped(cause)));
        assert_eq!(vec![("b", Readiness::Start), ("c", Readiness::Wait)], ready);
    }
    let ready = chain.readiness(first_is(skipped(SkipCause::Failure)));
    assert!(ready.iter().all(|(_, readiness)| matches!(
        readiness,
        Readiness::Skip {
            cause: SkipCause::Failure,
            ..
        }
    )));
}

#[test]
fn a_handler_that_nobody_needs_is_skipped_and_what_follows_it_goes_on() {
    let mut all = steps(&[("work", &[]), ("mend", &["work"]), ("report", &["mend", "work"])]);
    all[1].after_rule = Some(AfterRule::AnyFailed);
    let dag = Dag::new(&all).unwrap();
    let at = |work: Phase, mend: At| {
        move |step: &str| match step {
            "work" => work.into(),
            "mend" => mend,
            _ => At::default(),
        }
    };
    let ready = dag.readiness(at(Phase::Succeeded, At::default()));
    let because = "afterRule AnyFailed is not met: step work is Succeeded".to_owned();
    let cause = SkipCause::Rule;
    assert_eq!(
        vec![
            ("mend", Readiness::Skip { cause, because }),
            ("report", Readiness::Start)
        ],
        ready
    );
    let ready = dag.readiness(at(Phase::Failed, At::default()));
    assert_eq!(("mend", Readiness::Start), ready[0]);
}

#[test]
fn finally_waits_for_all_others_however_they_end() {
    let mut all = steps(&[("bye", &["hook"]), ("a", &[]), ("hook", &[]), ("b", &["a"])]);
    all[0].finally = true;
    all[2].finally = true;
    let dag = Dag::new(&all).unwrap();
    assert_eq!(vec!["a", "b", "hook", "bye"], dag.order().collect::<Vec<_>>());
    assert_eq!(BTreeSet::from(["a", "b"]), dag.upstream("hook"));
    let ready = |a: Phase, b: Phase| {
        let at = |step: &str| match step {
            "a" => a.into(),
            "b" => b.into(),
            _ => At::default(),
        };
        dag.readiness(at)
            .into_iter()
            .map(|(name, readiness)| (name.to_owned(), readiness))
            .collect::<Vec<_>>()
    };
    let wait = |name: &str| (name.to_owned(), Readiness::Wait);
    for (a, b) in [
        (Phase::Succeeded, Phase::Succeeded),
        (Phase::Failed, Phase::Skipped),
        (Phase::Cancelled, Phase::Cancelled),
    ] {
        assert_eq!(
            vec![("hook".to_owned(), Readiness::Start), wait("bye")],
            ready(a, b),
            "{a:?}"
        );
    }
    assert_eq!(vec![wait("hook"), wait("bye")], ready(Phase::Failed, Phase::Running));
    // What the failure of `a` skips has ended in the same call.
    assert_eq!(
        vec!["b", "hook", "bye"],
        ready(Phase::Failed, Phase::Pending)
            .iter()
            .map(|(name, _)| name)
            .collect::<Vec<_>>()
    );
    assert_eq!(Readiness::Start, ready(Phase::Failed, Phase::Pending)[1].1);
}

#[test]
fn derives_the_run() {
    use Phase::{Cancelled, Failed, Paused, Pending, Planning, Running, Skipped, Succeeded, Suspended, Waiting};
    for (steps, suspend, expected) in [
        (vec![Pending, Pending], false, Pending),
        (vec![Pending, Pending], true, Suspended),
        (vec![Planning, Pending], false, Planning),
        (vec![Planning, Running], false, Running),
        (vec![Running, Paused], true, Running),
        (vec![Succeeded, Pending], false, Running),
        (vec![Succeeded, Pending], true, Suspended),
        (vec![Paused, Waiting], false, Paused),
        (vec![Waiting, Succeeded], false, Waiting),
        (vec![Succeeded, Succeeded], true, Succeeded),
        (vec![Failed, Skipped], false, Failed),
        (vec![Failed, Running], false, Running),
        (vec![Cancelled, Skipped, Succeeded], false, Cancelled),
        (vec![Skipped, Succeeded], false, Succeeded),
        (vec![Skipped, Skipped], false, Succeeded),
        (vec![Cancelled, Failed], false, Failed),
        (vec![], false, Pending),
    ] {
        assert_eq!(expected, run_phase(&steps, suspend), "{steps:?}");
    }
}

proptest! {
    /// An order puts every step behind what is before it; no order means that there is a true circle.
    #[test]
    fn orders_or_shows_a_circle(edges in prop::collection::vec((0..12_usize, 0..12_usize), 0..30)) {
        let all: Vec<Step> = (0..12).map(|index: usize| Step {
            name: format!("s{index}"),
            after: edges.iter().filter(|(to, _)| *to == index).map(|(_, from)| format!("s{from}")).collect(),
            ..Step::default()
        }).collect();
        match Dag::new(&all) {
            Ok(dag) => {
                let order: Vec<&str> = dag.order().collect();
                prop_assert_eq!(12, order.len());
                for step in &all {
                    let at = order.iter().position(|name| *name == step.name);
                    for before in &step.after {
                        prop_assert!(order.iter().position(|name| name == before) < at);
                    }
                }
            }
            Err(DagError::Cycle(names)) => {
                prop_assert!(names.len() >= 2 && names.first() == names.last());
                for pair in names.windows(2) {
                    let step = all.iter().find(|step| step.name == pair[1]).unwrap();
                    prop_assert!(step.after.contains(&pair[0]));
                }
            }
            Err(error) => prop_assert!(false, "{error}"),
        }
    }
}
