//! What partitions may give, and what an error says of the rest.

use proptest::prelude::*;

use super::*;

fn sums(keyed: bool) -> Fold {
    Fold::new(&[declare("n", Reduce::Sum, keyed)])
}

fn value_of(fold: &Fold) -> Option<Value> {
    fold.results(&[spec("n", Reduce::Sum, false, None)]).remove(0).value
}

#[test]
fn a_bare_value_will_do_for_one_result() {
    for (given, expected) in [
        ("7", Some(json!(7))),
        (" -7\n", Some(json!(-7))),
        ("7.5", Some(json!(7.5))),
        ("-0", Some(json!(0))),
        ("1234567890123456789", Some(json!("1234567890123456789"))),
        (
            "12345678901234567890123456789",
            Some(json!("12345678901234567890123456789")),
        ),
        (r#"{"n": 7, "other": [{"n": 1}]}"#, Some(json!(7))),
        (r#"{"\u006e": 7}"#, Some(json!(7))),
        (r#"{"m": 7}"#, None),
        ("null", None),
        ("  ", None),
    ] {
        // Also on the short path, which begins with the second partition.
        for before in [false, true] {
            let mut fold = sums(false);
            if before {
                add(&mut fold, 0, "0").unwrap();
            }
            add(&mut fold, 1, given).unwrap_or_else(|error| panic!("{given}: {error}"));
            let expected = expected.clone().or_else(|| before.then(|| json!(0)));
            assert_eq!(value_of(&fold), expected, "{given}");
        }
    }
}

#[test]
fn a_bare_map_will_do_for_one_keyed_result() {
    for given in [
        r#"{"a": 1, "b": 2}"#,
        r#"{"n": {"a": 1, "b": 2}}"#,
        r#"{"x": 1, "n": {"b": 2, "a": 1}}"#,
    ] {
        let mut fold = sums(true);
        add(&mut fold, 0, given).unwrap();
        assert_eq!(value_of(&fold), Some(json!({"b": 2, "a": 1})), "{given}");
    }
    let error = add(&mut sums(true), 0, r#"{"n": 1}"#).unwrap_err();
    assert_eq!(error.to_string(), "the result n is the number 1; it must be a map");
}

#[test]
fn a_list_tells_which_of_its_elements_is_wrong() {
    let mut fold = Fold::new(&[declare("n", Reduce::Quantiles, false)]);
    let error = add(&mut fold, 0, r#"{"n": [1, "2.50", 3]}"#).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"the result n is a list with the text "2.50" in it; it must be a number or a list of numbers"#
    );
}

#[test]
fn wrong_results_are_named() {
    let mut several = Fold::new(&declared(&every()));
    for (given, message) in [
        (
            r#"{"Sum": "7"}"#,
            r#"the result Sum is the text "7"; it must be a number of at most 128 bits"#,
        ),
        (
            r#"{"Sum": true}"#,
            "the result Sum is the boolean true; it must be a number of at most 128 bits",
        ),
        (
            r#"{"Sum": 1e999}"#,
            "the result Sum is the number 1e999; it must be a number of at most 128 bits",
        ),
        (
            r#"{"Min": [1]}"#,
            "the result Min is a list; it must be a number of at most 128 bits",
        ),
        (
            r#"{"Sums": {"k": {}}}"#,
            r#"the result Sums["k"] is a map; it must be a number of at most 128 bits"#,
        ),
        (
            r#"{"Counts": 1}"#,
            "the result Counts is the number 1; it must be a map",
        ),
        (
            r#"{"Sum": 1, "Sum": 1}"#,
            "the results hold the key \"Sum\" twice; write each key once",
        ),
        (
            r#"{"Sums": {"k": 1, "\u006b": 1}}"#,
            "the results hold the key \"k\" twice; write each key once",
        ),
        (
            "7",
            "the results are the number 7; write one JSON map with a key for each result",
        ),
        (
            "[]",
            "the results are a list; write one JSON map with a key for each result",
        ),
    ] {
        let error = add(&mut several, 0, given).unwrap_err();
        assert_eq!(error.to_string(), message);
        assert!(error.is_of_partition());
    }
    for given in ["{\"Sum\": NaN}", "{\"Sum\": 1", "{\"Sum\": 01}", "{} {}", "\u{feff}{}"] {
        assert!(
            matches!(add(&mut several, 0, given), Err(ReduceError::NotJson(_))),
            "{given}"
        );
    }
    assert!(matches!(
        several.add(0, &RawResults(b"\"\xff\"")),
        Err(ReduceError::NotJson(_))
    ));
    assert!(several.is_empty(), "nothing of a refused partition is kept");
    // On the short path, too.
    let mut one = sums(false);
    add(&mut one, 0, "1").unwrap();
    for given in ["+1", "01", "-", "1x", "0x1", "--1", "1 1"] {
        assert!(add(&mut one, 1, given).is_err(), "{given}");
    }
    assert_eq!(one.count("n"), 1);
}

#[test]
fn two_results_may_read_one_key() {
    let from = |name: &str, reduce| CardResult {
        from: "ms".into(),
        ..declare(name, reduce, false)
    };
    let mut fold = Fold::new(&[from("least", Reduce::Min), from("most", Reduce::Max)]);
    add(&mut fold, 0, r#"{"ms": 3}"#).unwrap();
    add(&mut fold, 1, r#"{"ms": 5}"#).unwrap();
    assert_eq!((fold.count("least"), fold.count("most")), (2, 2));
}

#[test]
fn deep_nesting_is_no_trouble() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    // Whatever the judge of JSON says of it, it is an answer.
    let _ = add(&mut sums(false), 0, &format!(r#"{{"x": {deep}, "n": 1}}"#));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(prop::sample::select(b"{}[]\",:\\ n1e-.u0\xc3".to_vec()), 0..30)) {
        for mut fold in [sums(false), sums(true), Fold::new(&declared(&every()))] {
            let before = fold.clone();
            if fold.add(0, &RawResults(&bytes)).is_err() {
                prop_assert_eq!(fold, before);
            }
        }
    }

    #[test]
    fn members_are_those_that_serde_json_sees(map in prop::collection::btree_map(".{0,4}", any::<i64>(), 0..6), spaces in "[ \n\t]{0,2}") {
        let mut fold = sums(true);
        let value = json!({"n": &map});
        let text = serde_json::to_string_pretty(&value).unwrap();
        add(&mut fold, 0, &format!("{spaces}{text}{spaces}")).unwrap();
        let shown = value_of(&fold).unwrap();
        prop_assert_eq!(shown.as_object().unwrap().len(), map.len());
        for (key, number) in &map {
            let shown = &shown[key];
            let same = shown == &json!(number) || shown == &json!(number.to_string());
            prop_assert!(same, "{key:?}: {shown} is not {number}");
        }
    }
}
