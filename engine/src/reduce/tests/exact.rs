//! The exact sum against the processor's arithmetic.

#![allow(clippy::float_cmp)] // equal to the last bit is what is claimed

use proptest::prelude::*;
use serde_json::json;

use super::super::{exact::Exact, number::Number, sum::Sum};

fn sum(numbers: &[Number]) -> Sum {
    let (first, rest) = numbers.split_first().unwrap();
    let mut sum = Sum::of(*first);
    for number in rest {
        sum.add(*number);
    }
    sum
}

fn parse(text: &str) -> Number {
    Number::parse(text).unwrap_or_else(|| panic!("{text} is a number"))
}

/// Doubles of every magnitude, subnormal ones included.
fn double() -> impl Strategy<Value = f64> {
    any::<u64>()
        .prop_map(f64::from_bits)
        .prop_filter("finite", |n| n.is_finite())
}

proptest! {
    #[test]
    fn a_double_is_itself(value in double()) {
        let mut exact = Exact::ZERO;
        exact.add_float(value);
        prop_assert_eq!(exact.to_float(), value);
    }

    #[test]
    fn two_doubles_are_rounded_as_the_processor_does(left in double(), right in double(), scale in 0..3_u32) {
        // Of near magnitudes, so that rounding happens.
        let right = if scale == 0 { right } else { left * (1.0 + right.fract() / 3.0) };
        prop_assume!(right.is_finite());
        let mut exact = Exact::ZERO;
        exact.add_float(left);
        exact.add_float(right);
        prop_assert_eq!(exact.to_float(), left + right);
    }

    #[test]
    fn what_is_added_and_taken_away_leaves_nothing(values in prop::collection::vec(double(), 1..20)) {
        let mut exact = Exact::ZERO;
        for value in values.iter().chain(values.iter().map(|value| -value).collect::<Vec<_>>().iter().rev()) {
            exact.add_float(*value);
        }
        prop_assert_eq!(exact, Exact::ZERO);
    }

    #[test]
    fn integers_stay_integers(values in prop::collection::vec(any::<i64>(), 1..20)) {
        let numbers: Vec<Number> = values.iter().map(|value| Number::Integer(i128::from(*value))).collect();
        prop_assert_eq!(sum(&numbers), Sum::Integer(values.iter().map(|value| i128::from(*value)).sum()));
    }

    #[test]
    fn integers_and_doubles_compare_by_value(left in prop_oneof![-(1_i64 << 53)..1 << 53, -5..5_i64], right in prop_oneof![double(), -9e15..9e15, (-5..5_i32).prop_map(f64::from)]) {
        #[expect(clippy::cast_precision_loss, reason = "below 2^53 nothing is lost")]
        let expected = (left as f64).partial_cmp(&right).unwrap();
        prop_assert_eq!(Number::Integer(left.into()).compare(Number::Float(right)), expected);
    }
}

#[test]
fn sums_beyond_128_bits_keep_their_digits_and_come_back() {
    let mut beyond = sum(&[parse(&i128::MAX.to_string()), parse("1")]);
    assert_eq!(beyond.shown(), json!("170141183460469231731687303715884105728"));
    beyond.add(parse("-1"));
    assert_eq!(beyond, Sum::Integer(i128::MAX));
    let mut below = sum(&[parse(&i128::MIN.to_string()), parse("-1")]);
    assert_eq!(below.shown(), json!("-170141183460469231731687303715884105729"));
    below.add(parse("1"));
    assert_eq!(below, Sum::Integer(i128::MIN));
    let round = sum(&[
        parse(&(10_i128.pow(38)).to_string()),
        parse(&(10_i128.pow(38)).to_string()),
    ]);
    assert_eq!(round.shown(), json!("200000000000000000000000000000000000000"));
}

#[test]
fn doubles_are_rounded_once() {
    let tenths = vec![parse("0.1"); 10];
    assert_eq!(sum(&tenths).shown(), json!(1));
    assert_eq!(sum(&[parse("1e308"), parse("1"), parse("-1e308")]).shown(), json!(1));
    assert_eq!(sum(&[parse("1e308"), parse("1e308")]).shown(), json!("Infinity"));
    assert_eq!(
        sum(&[parse("1e308"), parse("1e308"), parse("-1e308")]).shown(),
        json!(1e308)
    );
    assert_eq!(
        sum(&[parse("9007199254740993"), parse("0.0")]).shown(),
        json!(9_007_199_254_740_992_i64)
    );
    assert_eq!(
        sum(&[parse("9007199254740993"), parse("0.5")]).shown(),
        json!("9007199254740994")
    );
    assert_eq!(sum(&[parse("5e-324"), parse("5e-324")]).shown(), json!(1e-323));
}

#[test]
fn numbers_are_shown_as_they_can_be_read() {
    assert_eq!(parse("9007199254740992").shown(), json!(9_007_199_254_740_992_i64));
    assert_eq!(parse("9007199254740993").shown(), json!("9007199254740993"));
    assert_eq!(parse("-9007199254740993").shown(), json!("-9007199254740993"));
    assert_eq!(parse("-0.0"), parse("0.0"));
    assert_eq!(parse("-0"), parse("0"));
    for beyond in ["1e999", "170141183460469231731687303715884105728"] {
        assert!(Number::parse(beyond).is_none(), "{beyond}");
    }
}
