//! Decimals beside an adder of digits, and means beside what processors divide exactly.

#![allow(clippy::cast_precision_loss, clippy::float_cmp)]

use std::cmp::Ordering;

use proptest::prelude::*;
use serde_json::json;

use super::super::{
    decimal::{Decimal, Total},
    mean::{self, Mean},
    number::Number,
    sum::Sum,
};

/// A decimal as sign, digits and scale: nothing of it is computed by what is tested.
type Digits = (bool, Vec<u8>, usize);

fn digits() -> impl Strategy<Value = Digits> {
    (any::<bool>(), prop::collection::vec(0..10_u8, 1..39), 0..39_usize)
        .prop_map(|(negative, digits, scale)| (negative, digits.clone(), scale.min(digits.len())))
}

fn text((negative, digits, scale): &Digits) -> String {
    let all: String = digits.iter().map(u8::to_string).collect();
    let (whole, rest) = all.split_at(all.len() - scale);
    let whole = if whole.is_empty() { "0" } else { whole };
    let sign = if *negative { "-" } else { "" };
    if rest.is_empty() {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{rest}")
    }
}

/// The sum, digit by digit, with carries at the end.
fn added(numbers: &[Digits]) -> String {
    let scale = numbers.iter().map(|(.., scale)| *scale).max().unwrap();
    let mut columns = vec![0_i64; 120];
    for (negative, digits, own) in numbers {
        for (place, digit) in digits.iter().rev().enumerate() {
            let digit = i64::from(*digit);
            columns[place + scale - own] += if *negative { -digit } else { digit };
        }
    }
    let negative = carried(&columns) < 0;
    if negative {
        for column in &mut columns {
            *column = -*column;
        }
    }
    let mut carry = 0;
    for column in &mut columns {
        let value = *column + carry;
        *column = value.rem_euclid(10);
        carry = value.div_euclid(10);
    }
    let all: String = columns.iter().rev().map(i64::to_string).collect();
    let (whole, rest) = all.split_at(all.len() - scale);
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let sign = if negative { "-" } else { "" };
    if rest.is_empty() {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{rest}")
    }
}

/// What is left over when all carries are done: negative if the number is.
fn carried(columns: &[i64]) -> i64 {
    columns.iter().fold(0, |carry, column| (column + carry).div_euclid(10))
}

fn total(texts: &[String]) -> Total {
    let decimal = |text: &String| Decimal::parse(text).unwrap_or_else(|| panic!("{text}"));
    let mut total = Total::of(decimal(&texts[0]));
    for text in &texts[1..] {
        total.merge(&Total::of(decimal(text)));
    }
    total
}

proptest! {
    #[test]
    fn sums_are_those_of_paper(numbers in prop::collection::vec(digits(), 1..40)) {
        let texts: Vec<String> = numbers.iter().map(text).collect();
        prop_assert_eq!(total(&texts).shown(), added(&numbers));
    }

    #[test]
    fn means_are_rounded_to_even(units in prop::collection::vec(-9_999_999..9_999_999_i64, 1..60), scale in 0..5_u32, count in 1..1_000_u64) {
        let texts: Vec<String> = units.iter().map(|units| format!("{units}e-{scale}")).collect();
        let mean = total(&texts).mean(count);
        // In units of the last digit that a mean may have.
        let sum = i128::from(units.iter().sum::<i64>()) * 1_000_000;
        let (floor, rest) = (sum.div_euclid(count.into()), sum.rem_euclid(count.into()));
        let rounded = match (rest * 2).cmp(&i128::from(count)) {
            Ordering::Less => floor,
            Ordering::Greater => floor + 1,
            Ordering::Equal => floor + floor.rem_euclid(2),
        };
        let shown = Decimal::parse(&mean).unwrap();
        let expected = Decimal::parse(&format!("{rounded}e-{}", scale + 6)).unwrap();
        prop_assert_eq!(shown.compare(expected), Ordering::Equal, "{} is not {}", mean, expected.shown());
        let behind = mean.split_once('.').map_or(0, |(_, rest)| rest.len());
        prop_assert!(behind >= scale as usize);
    }

    #[test]
    fn decimals_compare_as_their_difference_says(left in digits(), right in digits()) {
        let (a, b) = (Decimal::parse(&text(&left)).unwrap(), Decimal::parse(&text(&right)).unwrap());
        let difference = added(&[left, (!right.0, right.1, right.2)]);
        let expected = if difference.bytes().all(|byte| matches!(byte, b'0' | b'.' | b'-')) {
            Ordering::Equal
        } else if difference.starts_with('-') {
            Ordering::Less
        } else {
            Ordering::Greater
        };
        prop_assert_eq!(a.compare(b), expected);
        prop_assert_eq!(Decimal::parse(&a.shown()), Some(a));
    }

    #[test]
    fn means_of_numbers_are_those_of_the_processor(parts in prop::collection::vec(-1_000_000_000..1_000_000_000_i64, 1..50), whole: bool) {
        // Sums of these are exact doubles, and so is the count: the processor's quotient is the nearest double.
        let scale = 1_048_576.0;
        let number = |part: &i64| if whole { Number::Integer((*part).into()) } else { Number::Float(*part as f64 / scale) };
        let mut mean = Mean { total: mean::Total::Number(Sum::of(number(&parts[0]))), count: 1 };
        for part in &parts[1..] {
            let one = Mean { total: mean::Total::Number(Sum::of(number(part))), count: 1 };
            prop_assert!(mean.merge(&one));
        }
        let sum = parts.iter().sum::<i64>() as f64 / if whole { 1.0 } else { scale };
        let expected = sum / parts.len() as f64 + 0.0;
        prop_assert_eq!(mean.shown().as_f64(), Some(expected));
    }
}

#[test]
fn decimals_are_read_as_they_are_written() {
    for (given, shown) in [
        ("9.90", "9.90"),
        ("-0.00", "0.00"),
        ("007", "7"),
        ("+1.5", "1.5"),
        ("1E+3", "1000"),
        ("1.2300e2", "123.00"),
        ("12e-4", "0.0012"),
        (
            "99999999999999999999999999999999999999",
            "99999999999999999999999999999999999999",
        ),
    ] {
        assert_eq!(
            Decimal::parse(given).map(Decimal::shown).as_deref(),
            Some(shown),
            "{given}"
        );
    }
    for wrong in [
        "",
        "-",
        ".5",
        "5.",
        "1_000",
        " 1",
        "1 ",
        "NaN",
        "Infinity",
        "1e101",
        "1e39",
        "0x1",
        "1e-39",
        "100000000000000000000000000000000000000",
        "1e",
        "١",
    ] {
        assert_eq!(Decimal::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn subnormal_means_round_once() {
    // Three times the smallest double by two is one and a half of it: the even one is two.
    let sum = Sum::of(Number::Float(1.5e-323));
    let mean = Mean {
        total: mean::Total::Number(sum),
        count: 2,
    };
    assert_eq!(mean.shown(), json!(1e-323));
    let sum = Sum::of(Number::Float(f64::MAX));
    let mut twice = sum.clone();
    twice.merge(&sum);
    let mean = Mean {
        total: mean::Total::Number(twice),
        count: 2,
    };
    assert_eq!(mean.shown(), json!(f64::MAX));
}
