//! What each reducer shows, of what is given in whatever form.

use braid_crds::status::ValueType;
use proptest::prelude::*;

use super::*;

fn shown(spec: &ResultSpec, partitions: &[(u64, &str)]) -> StepResult {
    let specs = [spec.clone()];
    let mut fold = Fold::new(&declared(&specs));
    for (partition, results) in partitions {
        add(&mut fold, *partition, results).unwrap_or_else(|error| panic!("{results}: {error}"));
    }
    fold.results(&specs).remove(0)
}

fn value(spec: &ResultSpec, partitions: &[(u64, &str)]) -> Value {
    shown(spec, partitions).value.unwrap()
}

fn plain(reduce: Reduce) -> ResultSpec {
    spec("n", reduce, false, None)
}

#[test]
fn lists_are_in_the_order_of_partitions() {
    let collect = plain(Reduce::Collect);
    let given = [
        (7, r#"{"n": ["g", null, 1.0]}"#),
        (2, r#"{"n": {"b": 1e2, "a": [ ]}}"#),
        (3, r#"{"n": []}"#),
        (5, r#"{"n": [[2], 9007199254740993]}"#),
        (0, "{}"),
    ];
    let expected = json!([{"a": [], "b": 100}, [2], "9007199254740993", "g", 1]);
    assert_eq!(value(&collect, &given), expected);
    let mut backwards = given;
    backwards.reverse();
    assert_eq!(shown(&collect, &backwards), shown(&collect, &given));
    assert_eq!(shown(&collect, &given).count, 3, "an empty list gives nothing");
    assert_eq!(value(&plain(Reduce::First), &given), json!({"a": [], "b": 100}));
    assert_eq!(value(&plain(Reduce::Last), &given), json!(["g", null, 1]));
}

#[test]
fn equal_json_is_one_value_however_it_is_written() {
    let given = [
        (
            0,
            r#"{"n": [1, 1.0, 1e0, "1", {"a": 1, "b": 2}, {"b":2.0 ,"a":10e-1}]}"#,
        ),
        (
            1,
            r#"{"n": ["\u0031", true, null, 9007199254740993, "9007199254740993"]}"#,
        ),
    ];
    // 1, "1", the map, true, and the number that is a text.
    assert_eq!(value(&plain(Reduce::Distinct), &given), json!(5));
}

#[test]
fn what_comes_along_is_the_chosen_ones() {
    let best = ResultSpec {
        carry: vec!["flight".into(), "from".into()],
        ..plain(Reduce::Max)
    };
    let given = [
        (4, r#"{"n": 7, "flight": "late"}"#),
        (
            1,
            r#"{"flight": "early", "n": 7.0, "from": {"b": 1, "a": null}, "other": 1}"#,
        ),
        (2, r#"{"n": 3, "flight": "less"}"#),
    ];
    let expected = json!({"value": 7, "carry": {"flight": "early", "from": {"a": null, "b": 1}}});
    assert_eq!(value(&best, &given), expected);
    let keyed = ResultSpec { keyed: true, ..best };
    let given = [
        (0, r#"{"n": {"a": 1, "b": 5}, "flight": {"a": "x", "c": 1}}"#),
        (
            1,
            r#"{"n": {"a": 2, "b": 4}, "flight": {"a": "y", "b": "z"}, "from": null}"#,
        ),
    ];
    let expected = json!({"a": {"value": 2, "carry": {"flight": "y"}}, "b": {"value": 5, "carry": {}}});
    assert_eq!(value(&keyed, &given), expected);
    for (given, message) in [
        (
            r#"{"n": {"a": 1}, "flight": "x"}"#,
            r#"the result n, carry flight is the text "x"; it must be a map with an entry for each key"#,
        ),
        (
            r#"{"n": {"a": 1}, "flight": {"a": 1e999}}"#,
            "the result n, carry flight is the number 1e999; it must be JSON of at most 32 levels",
        ),
        (
            r#"{"n": {"a": 1}, "from": {}, "from": {}}"#,
            "the results hold the key \"from\" twice",
        ),
    ] {
        let error = add(&mut Fold::new(&declared(std::slice::from_ref(&keyed))), 0, given).unwrap_err();
        assert!(
            error.is_of_partition() && error.to_string().starts_with(message),
            "{error}"
        );
    }
    let long = format!(r#"{{"n": {{"a": 1}}, "from": {{"a": "{}"}}}}"#, "x".repeat(1_100));
    let error = add(&mut Fold::new(&declared(&[keyed])), 0, &long)
        .unwrap_err()
        .to_string();
    assert!(error.contains("1,024 bytes"), "{error}");
}

#[test]
fn means_are_of_all_numbers() {
    let given = [
        (0, r#"{"n": [1, 2, null]}"#),
        (1, r#"{"n": {"sum": 100, "count": 8}}"#),
        (2, r#"{"n": 7}"#),
        (3, r#"{"n": []}"#),
    ];
    let mean = shown(&plain(Reduce::Mean), &given);
    assert_eq!(
        (mean.value, mean.count, mean.kind),
        (Some(json!(10)), 3, Some(ValueType::Number))
    );
    for wrong in [
        r#"{"n": "x"}"#,
        r#"{"n": ["1"]}"#,
        r#"{"n": {"sum": 1}}"#,
        r#"{"n": {"sum": 1, "count": 1.5}}"#,
        r#"{"n": {"sum": 1, "count": -1}}"#,
        r#"{"n": {"sum": 1, "count": 1, "x": 1}}"#,
    ] {
        let error = add(&mut Fold::new(&declared(&[plain(Reduce::Mean)])), 0, wrong).unwrap_err();
        assert!(error.to_string().contains("a map of sum and count"), "{error}");
    }
}

#[test]
fn decimals_keep_their_digits() {
    let decimal = |reduce| ResultSpec {
        kind: Some(ResultType::Decimal),
        ..plain(reduce)
    };
    let given = [(0, r#"{"n": "9.90"}"#), (1, r#"{"n": 0.1}"#), (2, r#"{"n": "0.10"}"#)];
    for (reduce, expected) in [
        (Reduce::Sum, "10.10"),
        (Reduce::Min, "0.1"),
        (Reduce::Max, "9.90"),
        (Reduce::Mean, "3.36666667"),
    ] {
        let result = shown(&decimal(reduce), &given);
        assert_eq!(
            (result.value, result.kind),
            (Some(json!(expected)), Some(ValueType::Decimal)),
            "{reduce:?}"
        );
    }
    let error = add(&mut Fold::new(&declared(&[decimal(Reduce::Sum)])), 0, r#"{"n": "NaN"}"#).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"the result n is the text "NaN"; it must be a decimal number of at most 38 digits, as a number or a text"#
    );
}

#[test]
fn types_are_told_where_json_does_not_show_them() {
    for (spec, given, expected, kind) in [
        (plain(Reduce::Sum), r#"{"n": 3}"#, json!(3), ValueType::Integer),
        (plain(Reduce::Sum), r#"{"n": 3.0}"#, json!(3), ValueType::Number),
        (
            plain(Reduce::Max),
            r#"{"n": 1e17}"#,
            json!("100000000000000000"),
            ValueType::Number,
        ),
        (plain(Reduce::Max), r#"{"n": 1e21}"#, json!(1e21), ValueType::Number),
        (plain(Reduce::Last), r#"{"n": "12"}"#, json!("12"), ValueType::Json),
        (
            spec("n", Reduce::Sum, true, None),
            r#"{"n": {"a": 1, "b": 2.0}}"#,
            json!({"a": 1, "b": 2}),
            ValueType::Number,
        ),
        (
            spec("n", Reduce::Sum, true, None),
            r#"{"n": {"a": 1, "b": 2}}"#,
            json!({"a": 1, "b": 2}),
            ValueType::Integer,
        ),
    ] {
        let result = shown(&spec, &[(0, given)]);
        assert_eq!((result.value, result.kind), (Some(expected), Some(kind)), "{given}");
    }
}

#[test]
fn estimates_say_so() {
    let quantiles = ResultSpec {
        at: vec!["p50".into(), "p99_9".into()],
        ..plain(Reduce::Quantiles)
    };
    let few: Vec<String> = (1..=100).map(|n| n.to_string()).collect();
    let result = shown(&quantiles, &[(0, &format!("{{\"n\": [{}]}}", few.join(",")))]);
    assert_eq!(
        (result.value, result.approximate),
        (Some(json!({"p50": 50, "p99_9": 100})), false)
    );
    let result = shown(&quantiles, &[(0, r#"{"n": [1000.5, 2000.25, 3000.75]}"#)]);
    assert_eq!((result.approximate, result.error.as_str()), (true, "at most 1%"));
    let many: Vec<String> = (0..2_000).map(|n| n.to_string()).collect();
    let many = format!("{{\"n\": [{}]}}", many.join(","));
    let result = shown(&plain(Reduce::Distinct), &[(0, &many)]);
    assert_eq!((result.approximate, result.error.as_str()), (true, "standard 0.8%"));
    let keyed = ResultSpec {
        max_keys: Some(128),
        ..spec("n", Reduce::Distinct, true, Some(1))
    };
    let many = format!("{{\"n\": {{\"less\": [1], \"more\": {}}}}}", &many[6..many.len() - 1]);
    let result = shown(&keyed, &[(0, &many)]);
    assert_eq!(result.error, "standard 6.5%");
    assert_eq!(
        result.value.unwrap().as_object().unwrap().keys().collect::<Vec<_>>(),
        ["more"]
    );
}

#[test]
fn a_default_stands_for_nothing() {
    let with = |reduce, default: Value| ResultSpec {
        default: Some(default),
        ..plain(reduce)
    };
    for (spec, expected, kind) in [
        (with(Reduce::Sum, json!(0)), json!(0), None),
        (with(Reduce::Count, json!(5)), json!(5), None),
        (with(Reduce::Mean, json!(1.0)), json!(1), Some(ValueType::Number)),
        (with(Reduce::All, json!(true)), json!(true), Some(ValueType::Json)),
    ] {
        let result = shown(&spec, &[(0, "{}")]);
        assert_eq!((result.value, result.kind, result.count), (Some(expected), kind, 0));
        let result = Fold::default().results(std::slice::from_ref(&spec)).remove(0);
        assert!(result.value.is_some());
    }
    assert_eq!(value(&with(Reduce::Sum, json!(0)), &[(0, "{\"n\": 2}")]), json!(2));
}

#[test]
fn booleans_are_all_or_any() {
    let given = [(0, r#"{"n": true}"#), (1, r#"{"n": false}"#), (2, r#"{"n": null}"#)];
    assert_eq!(value(&plain(Reduce::All), &given), json!(false));
    assert_eq!(value(&plain(Reduce::Any), &given), json!(true));
    let error = add(&mut Fold::new(&declared(&[plain(Reduce::All)])), 0, r#"{"n": 1}"#).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the result n is the number 1; it must be true or false"
    );
}

#[test]
fn a_list_has_an_end() {
    let collect = declared(&[plain(Reduce::Collect)]);
    let text = format!(r#"{{"n": "{}"}}"#, "x".repeat(30_000));
    let mut whole = Fold::new(&collect);
    for partition in 0..2 {
        let mut fold = Fold::new(&collect);
        add(&mut fold, partition, &text).unwrap();
        fold.fits().unwrap();
        whole.merge(&fold).unwrap();
    }
    let mut third = Fold::new(&collect);
    add(&mut third, 2, &text).unwrap();
    assert!(matches!(whole.merge(&third), Err(ReduceError::TooLarge { .. })));
    // A worker knows before.
    let mut shard = Fold::new(&collect);
    add(&mut shard, 0, &text).unwrap();
    let more = shard.read(1, &RawResults(text.as_bytes())).unwrap();
    assert!(matches!(shard.growth(&more), Err(ReduceError::TooLarge { .. })));
}

#[test]
fn nesting_has_an_end() {
    for (levels, fits) in [(32, true), (33, false), (2_000, false)] {
        let text = format!("{{\"n\": {}{}}}", "[".repeat(levels), "]".repeat(levels));
        let given = add(&mut Fold::new(&declared(&[plain(Reduce::First)])), 0, &text);
        assert_eq!(given.is_ok(), fits, "{levels}: {given:?}");
    }
}

proptest! {
    /// A commit holds what the sketches of the most keys make of large numbers of anything.
    #[test]
    fn sketches_of_many_keys_fit_into_a_partial(seed: u64) {
        let quantiles = ResultSpec { at: vec!["p50".into()], max_keys: Some(64), ..spec("n", Reduce::Quantiles, true, None) };
        let distinct = ResultSpec { max_keys: Some(128), ..spec("n", Reduce::Distinct, true, None) };
        for (spec, keys) in [(quantiles, 64), (distinct, 128)] {
            let mut state = seed | 1;
            let mut random = move || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                state >> 40
            };
            let lists: Vec<String> = (0..keys)
                .map(|key| {
                    let list: Vec<String> = (0..150).map(|_| format!("{}e{}", random() % 1_000, random() % 40)).collect();
                    format!("\"key-{key}\":[{}]", list.join(","))
                })
                .collect();
            let mut fold = Fold::new(&declared(&[spec]));
            add(&mut fold, 0, &format!("{{\"n\": {{{}}}}}", lists.join(","))).unwrap();
            fold.fits().unwrap();
        }
    }
}
