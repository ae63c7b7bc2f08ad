#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::hash::{DefaultHasher, Hash, Hasher};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use braid_crds::workflow::{Reduce, ResultType};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

mod decimals;
mod exact;
mod reading;
mod shapes;
mod sketches;

fn declare(name: &str, reduce: Reduce, keyed: bool) -> CardResult {
    CardResult {
        name: name.into(),
        from: name.into(),
        reduce,
        keyed,
        ..CardResult::default()
    }
}

fn spec(name: &str, reduce: Reduce, keyed: bool, top: Option<i32>) -> ResultSpec {
    ResultSpec {
        name: name.into(),
        reduce,
        keyed,
        top,
        ..ResultSpec::default()
    }
}

/// What a partition may give to a result.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Takes {
    Number,
    Numbers,
    Decimal,
    Json,
    Boolean,
}

/// A result of every kind, each plain and keyed, and what it takes.
fn kinds() -> Vec<(ResultSpec, Takes)> {
    let carry = |spec| ResultSpec {
        carry: vec!["k".into(), "Sum".into()],
        ..spec
    };
    let decimal = |spec| ResultSpec {
        kind: Some(ResultType::Decimal),
        ..spec
    };
    let plain = |reduce| spec(&format!("{reduce:?}"), reduce, false, None);
    let named = |name: &str, reduce| spec(name, reduce, false, None);
    let kinds = vec![
        (plain(Reduce::Sum), Takes::Number),
        (plain(Reduce::Count), Takes::Number),
        (plain(Reduce::Min), Takes::Number),
        (plain(Reduce::Max), Takes::Number),
        (plain(Reduce::Mean), Takes::Numbers),
        (plain(Reduce::Quantiles), Takes::Numbers),
        (plain(Reduce::Distinct), Takes::Json),
        (plain(Reduce::Collect), Takes::Json),
        (plain(Reduce::First), Takes::Json),
        (plain(Reduce::Last), Takes::Json),
        (plain(Reduce::All), Takes::Boolean),
        (plain(Reduce::Any), Takes::Boolean),
        (decimal(named("Total", Reduce::Sum)), Takes::Decimal),
        (decimal(named("Average", Reduce::Mean)), Takes::Decimal),
        (decimal(named("Least", Reduce::Min)), Takes::Decimal),
        (carry(named("Best", Reduce::Max)), Takes::Number),
        (carry(named("Begin", Reduce::First)), Takes::Json),
        (carry(named("End", Reduce::Last)), Takes::Json),
    ];
    let keyed = kinds.clone().into_iter().map(|(spec, takes)| {
        let reduce = spec.reduce;
        let spec = ResultSpec {
            name: format!("{}s", spec.name),
            keyed: true,
            top: matches!(
                reduce,
                Reduce::Sum | Reduce::Count | Reduce::Min | Reduce::Max | Reduce::Mean
            )
            .then_some(3),
            max_keys: match reduce {
                // As few buckets and registers as may be, so that they overflow.
                Reduce::Quantiles => Some(64),
                Reduce::Distinct => Some(128),
                _ => None,
            },
            ..spec
        };
        (spec, takes)
    });
    let mut kinds: Vec<_> = kinds.clone().into_iter().chain(keyed).collect();
    for (spec, _) in &mut kinds {
        if spec.reduce == Reduce::Quantiles {
            spec.at = ["p0", "p50", "p99_9"].map(String::from).into();
        }
    }
    kinds
}

fn every() -> Vec<ResultSpec> {
    kinds().into_iter().map(|(spec, _)| spec).collect()
}

fn add(fold: &mut Fold, partition: u64, results: &str) -> Result<(), ReduceError> {
    fold.add(partition, &RawResults(results.as_bytes()))
}

fn folded(declared: &[CardResult], partitions: &[(u64, String)]) -> Fold {
    let mut fold = Fold::new(declared);
    for (partition, results) in partitions {
        add(&mut fold, *partition, results).unwrap_or_else(|error| panic!("{results}: {error}"));
    }
    fold
}

fn hash(fold: &Fold) -> u64 {
    let mut hasher = DefaultHasher::new();
    fold.hash(&mut hasher);
    hasher.finish()
}

/// The text of a number: small ones that collide, and the extremes where sums round, overflow or cancel.
fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (-3..3_i32).prop_map(|n| n.to_string()),
        2 => (-3..3_i32).prop_map(|n| format!("{n}.0")),
        1 => any::<i128>().prop_map(|n| n.to_string()),
        1 => Just(i128::MAX.to_string()),
        1 => Just(i128::MIN.to_string()),
        2 => any::<f64>().prop_filter("JSON has finite numbers", |n| n.is_finite()).prop_map(|n| format!("{n:e}")),
        1 => prop_oneof![Just("1e308"), Just("-1e308"), Just("5e-324"), Just("0.1"), Just("-0.0")].prop_map(String::from),
    ]
}

/// The text of a decimal.
fn decimal() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => (-999..999_i32, 0..4_u32).prop_map(|(units, scale)| {
            let (whole, rest) = (units.abs() / 10_i32.pow(scale), units.abs() % 10_i32.pow(scale));
            let sign = if units < 0 { "-" } else { "" };
            if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{rest:0>width$}", width = scale as usize) }
        }),
        1 => prop::collection::vec(0..10_u8, 1..38).prop_map(|digits| digits.iter().map(u8::to_string).collect()),
        1 => prop::collection::vec(0..10_u8, 1..38).prop_map(|digits| format!("-0.{}", digits.iter().map(u8::to_string).collect::<String>())),
        1 => (-99..99_i32, -38..30_i32).prop_map(|(units, exponent)| format!("{units}e{exponent}")),
    ]
    .prop_filter("within 38 digits", |text| super::decimal::Decimal::parse(text).is_some())
    .prop_flat_map(|text| prop_oneof![Just(format!("{text:?}")), Just(json_number(&text))])
}

/// JSON has no leading zeros.
fn json_number(text: &str) -> String {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let trimmed = digits.trim_start_matches('0');
    let zero = if trimmed.starts_with(|first: char| first.is_ascii_digit()) {
        ""
    } else {
        "0"
    };
    format!("{sign}{zero}{trimmed}")
}

/// Any JSON, of few different values, written in several ways.
fn json_text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        2 => number(),
        1 => prop::sample::select(vec!["true", "false", "null", r#""""#, r#""a""#, r#""\u0061""#, r#""12""#, "[]", "{}"]).prop_map(String::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|items| format!("[{}]", items.join(" , "))),
            prop::collection::btree_map("[ab]", inner, 0..3).prop_map(|map| {
                let members: Vec<String> = map
                    .iter()
                    .rev()
                    .map(|(key, value)| format!("{key:?} :{value}"))
                    .collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

fn given(takes: Takes) -> BoxedStrategy<String> {
    match takes {
        Takes::Number => number().boxed(),
        Takes::Numbers => prop_oneof![
            number(),
            prop::collection::vec(number(), 0..40).prop_map(|list| format!("[{}]", list.join(","))),
        ]
        .boxed(),
        Takes::Decimal => decimal().boxed(),
        Takes::Json => prop_oneof![
            json_text(),
            // Many different ones.
            (0..4_u32, 0..60_u32).prop_map(|(from, many)| {
                let list: Vec<String> = (from * 20..from * 20 + many).map(|n| n.to_string()).collect();
                format!("[{}]", list.join(","))
            }),
        ]
        .boxed(),
        Takes::Boolean => any::<bool>().prop_map(|held| held.to_string()).boxed(),
    }
}

/// What a partition gives: some of the results, each maybe null.
fn results() -> impl Strategy<Value = String> {
    let kinds = kinds();
    let member = (0..kinds.len(), 0..5_u8).prop_flat_map(move |(index, null)| {
        let (spec, takes) = &kinds[index];
        let value = if null == 0 {
            Just("null".to_owned()).boxed()
        } else if spec.keyed {
            prop::collection::btree_map("[ab\"é\\\\]{0,2}", given(*takes), 0..4)
                .prop_map(|map| {
                    let members: Vec<String> = map.iter().map(|(key, n)| format!("{}: {n}", json!(key))).collect();
                    format!("{{{}}}", members.join(", "))
                })
                .boxed()
        } else {
            given(*takes)
        };
        (Just(index), value)
    });
    // What comes along, of plain results and of keyed ones.
    let carried = prop::option::of(prop::collection::btree_map("[ab]", json_text(), 0..3).prop_map(|map| {
        let members: Vec<String> = map.iter().map(|(key, n)| format!("{key:?}: {n}")).collect();
        format!("{{{}}}", members.join(", "))
    }));
    (prop::collection::vec(member, 0..8), carried).prop_map(|(members, carried)| {
        let names: Vec<String> = every().into_iter().map(|spec| spec.name).collect();
        let members: std::collections::BTreeMap<_, _> = members.into_iter().collect();
        let keyed = |index: &usize| every()[*index].keyed && !every()[*index].carry.is_empty();
        let carries_keyed = members.keys().any(keyed);
        // A plain sum that comes along is no map, which a keyed result needs.
        let mut members: Vec<String> = members
            .iter()
            .filter(|(index, _)| !(carries_keyed && names[**index] == "Sum"))
            .map(|(index, text)| format!("{:?}:{text}", names[*index]))
            .collect();
        members.extend(carried.map(|carried| format!("\"k\":{carried}")));
        format!("{{{}}}", members.join(","))
    })
}

/// Partitions with a place in a shuffle and the part of a split that each belongs to.
fn partitions() -> impl Strategy<Value = Vec<(u64, String, u32, usize)>> {
    prop::collection::vec((results(), any::<u32>(), 0..4_usize), 0..24).prop_map(|partitions| {
        (0..)
            .zip(partitions)
            .map(|(partition, (results, place, part))| (partition, results, place, part))
            .collect()
    })
}

proptest! {
    #[test]
    fn any_split_and_any_order_give_equal_bytes(partitions in partitions(), order in Just([0, 1, 2, 3]).prop_shuffle(), left: bool) {
        let declared = declared(&every());
        let straight: Vec<_> = partitions.iter().map(|(p, r, ..)| (*p, r.clone())).collect();
        let straight = folded(&declared, &straight);

        let mut shuffled = partitions.clone();
        shuffled.sort_by_key(|(_, _, place, _)| *place);
        let mut parts = order.map(|part| {
            let part: Vec<_> = shuffled.iter().filter(|(.., of)| *of == part).map(|(p, r, ..)| (*p, r.clone())).collect();
            // Through the wire, as a commit goes.
            Fold::decode(&declared, &folded(&declared, &part).encode()).unwrap()
        });
        let mut merged = Fold::default();
        if left {
            for part in &parts {
                merged.merge(part).unwrap();
            }
        } else {
            for index in (1..parts.len()).rev() {
                let (before, after) = parts.split_at_mut(index);
                before[index - 1].merge(&after[0]).unwrap();
            }
            merged.merge(&parts[0]).unwrap();
        }
        prop_assert_eq!(merged.encode(), straight.encode());
        prop_assert_eq!(merged.results(&every()), straight.results(&every()));
        prop_assert_eq!(hash(&merged), hash(&straight));
        prop_assert_eq!(merged, straight);
    }

    #[test]
    fn what_was_encoded_is_decoded(partitions in prop::collection::vec(results(), 0..8)) {
        let partitions: Vec<_> = (0..).zip(partitions).collect();
        let declared = declared(&every());
        let fold = folded(&declared, &partitions);
        let partials = fold.encode();
        let shown = fold.results(&every());
        prop_assert_eq!(&Fold::decode(&declared, &partials).unwrap(), &fold);
        prop_assert_eq!(&Fold::from_results(&declared, &shown).unwrap(), &fold);
        let bytes: usize = partials.iter().map(|partial| partial.state.len() + partial.name.len() + 24).sum();
        prop_assert_eq!(fold.encoded_len(), bytes);
    }

    #[test]
    fn growth_is_never_too_small(partitions in prop::collection::vec(results(), 1..12)) {
        let mut fold = Fold::new(&declared(&every()));
        for (partition, results) in (0..).zip(&partitions) {
            let contribution = fold.read(partition, &RawResults(results.as_bytes())).unwrap();
            let at_most = fold.encoded_len() + fold.growth(&contribution).unwrap();
            fold.apply(contribution).unwrap();
            prop_assert!(fold.encoded_len() <= at_most, "{} > {at_most}", fold.encoded_len());
        }
    }

    #[test]
    fn garbage_is_refused_or_is_what_a_fold_writes(index in 0..36_usize, bytes in prop::collection::vec(0..5_u8, 0..24), noise in prop::collection::vec(any::<u8>(), 0..24)) {
        let declared = declared(&every());
        for tail in [bytes, noise] {
            let state = STANDARD.encode([&[1], &tail[..]].concat());
            let partial = Partial { name: declared[index].name.clone(), state };
            if let Ok(fold) = Fold::decode(&declared, std::slice::from_ref(&partial)) {
                prop_assert_eq!(fold.encode(), vec![partial]);
            }
        }
    }

    #[test]
    fn a_changed_byte_never_panics(partitions in prop::collection::vec(results(), 1..6), at: prop::sample::Index, byte: u8) {
        let declared = declared(&every());
        let partitions: Vec<_> = (0..).zip(partitions).collect();
        for mut partial in folded(&declared, &partitions).encode() {
            let mut bytes = STANDARD.decode(&partial.state).unwrap();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            partial.state = STANDARD.encode(bytes);
            if let Ok(fold) = Fold::decode(&declared, std::slice::from_ref(&partial)) {
                prop_assert_eq!(fold.encode(), vec![partial]);
            }
        }
    }
}

#[test]
fn results_show_what_was_given() {
    let names = ["Sum", "Count", "Min", "Max", "Sums", "Counts", "Mins", "Maxs"];
    let mut specs = every();
    specs.retain(|spec| names.contains(&spec.name.as_str()));
    let mut fold = Fold::new(&declared(&specs));
    add(
        &mut fold,
        0,
        r#"{"Sum": 1, "Count": "x", "Min": 2.5, "Max": 7, "Sums": {"b": 1, "a": 1, "c": 5, "d": 0}}"#,
    )
    .unwrap();
    add(
        &mut fold,
        1,
        r#"{"Sum": 9007199254740991, "Count": false, "Min": 3, "Mins": {"x": 2, "y": 1, "z": 2, "w": 3}}"#,
    )
    .unwrap();
    add(
        &mut fold,
        2,
        r#"{"Sum": null, "Count": null, "Counts": {"k": "anything", "l": null}, "Maxs": {}}"#,
    )
    .unwrap();
    add(&mut fold, 3, "").unwrap();
    let shown: Vec<(Option<Value>, u64)> = fold
        .results(&specs)
        .into_iter()
        .map(|result| (result.value, result.count))
        .collect();
    assert_eq!(
        shown,
        [
            (Some(json!(9_007_199_254_740_992_i64)), 2),
            (Some(json!(2)), 2),
            (Some(json!(2.5)), 2),
            (Some(json!(7)), 1),
            (Some(json!({"c": 5, "a": 1, "b": 1})), 1),
            (Some(json!({"k": 1})), 1),
            (Some(json!({"y": 1, "x": 2, "z": 2})), 1),
            (Some(json!({})), 1),
        ]
    );
    let order = |index: usize| -> Vec<String> {
        let value = fold.results(&specs)[index].value.clone().unwrap();
        value.as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(
        (order(4), order(6)),
        (
            vec!["c".into(), "a".into(), "b".into()],
            vec!["y".into(), "x".into(), "z".into()]
        )
    );
}

#[test]
fn nothing_given_is_nothing_shown() {
    let specs = every();
    for fold in [Fold::default(), Fold::new(&declared(&specs))] {
        let shown: Vec<_> = fold
            .results(&specs)
            .into_iter()
            .map(|result| (result.value, result.count, result.state))
            .collect();
        for (spec, (value, count, state)) in specs.iter().zip(shown) {
            let nothing = match spec.reduce {
                Reduce::Count | Reduce::Distinct if !spec.keyed => Some(json!(0)),
                Reduce::Collect if !spec.keyed => Some(json!([])),
                _ => None,
            };
            assert_eq!((value, count, state.as_str()), (nothing, 0, ""), "{}", spec.name);
        }
        assert_eq!((fold.encode(), fold.encoded_len()), (Vec::new(), 0));
        assert_eq!(fold, Fold::default());
    }
}

#[test]
fn too_many_keys_fail_whoever_brings_them() {
    let mut result = declare("n", Reduce::Sum, true);
    result.max_keys = 2;
    let declared = [result];
    let mut fold = Fold::new(&declared);
    assert!(matches!(
        add(&mut fold, 0, r#"{"a":1,"b":1,"c":1}"#),
        Err(ReduceError::TooManyKeys { max: 2, .. })
    ));
    assert!(fold.is_empty(), "a refused partition leaves the fold as it was");
    add(&mut fold, 0, r#"{"a":1,"b":1}"#).unwrap();
    let before = fold.clone();
    let error = add(&mut fold, 1, r#"{"b":1,"c":1}"#).unwrap_err();
    assert!(!error.is_of_partition(), "{error}");
    assert_eq!(fold, before);
    let mut other = Fold::new(&declared);
    add(&mut other, 1, r#"{"c":1}"#).unwrap();
    assert!(matches!(fold.merge(&other), Err(ReduceError::TooManyKeys { .. })));
}

#[test]
fn folds_of_different_declarations_do_not_merge() {
    let mut sum = Fold::new(&[declare("n", Reduce::Sum, false)]);
    add(&mut sum, 0, "1").unwrap();
    for other in [
        declare("n", Reduce::Max, false),
        declare("n", Reduce::Sum, true),
        declare("m", Reduce::Sum, false),
    ] {
        let mut fold = Fold::new(&[other]);
        assert!(matches!(fold.merge(&sum), Err(ReduceError::Different(_))));
        assert!(Fold::decode(&[], &sum.encode()).is_err());
    }
    let twice = [sum.encode(), sum.encode()].concat();
    assert!(Fold::decode(&[declare("n", Reduce::Sum, false)], &twice).is_err());
}

#[test]
fn a_partial_that_is_too_large_is_known_before_it_is_added() {
    let mut fold = Fold::new(&[declare("n", Reduce::Sum, true)]);
    let keys = |from: usize| {
        let members: Vec<String> = (from..from + 1_000)
            .map(|key| format!(r#""key-number-{key:08}":1"#))
            .collect();
        format!("{{{}}}", members.join(","))
    };
    let raw = keys(0);
    let one = fold.read(0, &RawResults(raw.as_bytes())).unwrap();
    fold.growth(&one).unwrap();
    fold.apply(one.clone()).unwrap();
    fold.growth(&one).expect("the same keys take no more room");
    let raw = keys(1_000);
    let more = fold.read(1, &RawResults(raw.as_bytes())).unwrap();
    assert!(matches!(fold.growth(&more), Err(ReduceError::TooLarge { .. })));
    fold.fits().unwrap();
    fold.apply(more).unwrap();
    assert!(matches!(fold.fits(), Err(ReduceError::TooLarge { .. })));
}
