//! Sketches beside exact answers: within what they state, and the same in any order.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]

use proptest::prelude::*;
use serde_json::json;

use super::super::{
    distinct::{self, Distinct},
    number::Number,
    quantiles::{BUCKETS, Quantiles, Share},
};
use crate::varint::Reader;

fn quantiles(values: &[f64], most: usize) -> Quantiles {
    let mut sketch = Quantiles::of(Number::Float(values[0] + 0.0), most);
    for value in &values[1..] {
        sketch.merge(&Quantiles::of(Number::Float(value + 0.0), most));
    }
    sketch
}

fn bytes(sketch: &Quantiles) -> Vec<u8> {
    let mut bytes = Vec::new();
    sketch.encode(&mut bytes);
    assert_eq!(bytes.len(), sketch.encoded_len());
    bytes
}

/// The value of rank ceil(share * n).
fn exactly(sorted: &[f64], thousandths: u64) -> f64 {
    let rank = (sorted.len() as u64 * thousandths).div_ceil(100_000).max(1);
    sorted[rank as usize - 1]
}

/// Numbers of very different ranges.
fn numbers() -> impl Strategy<Value = Vec<f64>> {
    let one = prop_oneof![
        prop::collection::vec((-50..2_000_i32).prop_map(f64::from), 1..300).boxed(),
        prop::collection::vec(0.0..1.0_f64, 1..300).boxed(),
        prop::collection::vec(
            (-9.0..9.0_f64, any::<bool>()).prop_map(|(power, sign)| 10_f64.powf(power) * if sign { 1.0 } else { -1.0 }),
            1..300
        )
        .boxed(),
        prop::collection::vec(any::<f64>().prop_filter("finite", |n| n.is_finite()), 1..300).boxed(),
        prop::collection::vec(
            prop::sample::select(vec![
                0.0,
                -0.0,
                5e-324,
                -5e-324,
                1.0,
                f64::MAX,
                f64::MIN,
                f64::MIN_POSITIVE
            ]),
            1..30
        )
        .boxed(),
    ];
    one
}

proptest! {
    #[test]
    fn quantiles_are_within_their_error(values in numbers(), most in prop::sample::select(vec![16_usize, 64, BUCKETS]), thousandths in 0..=100_000_u64) {
        let sketch = quantiles(&values, most);
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        for thousandths in [0, 1_000, 50_000, 99_000, 99_900, 100_000, thousandths] {
            let name = format!("p{}_{:03}", thousandths / 1_000, thousandths % 1_000);
            let at = sketch.at(Share::parse(&name).unwrap());
            let exact = exactly(&sorted, thousandths);
            let exact = if exact.abs() < f64::MIN_POSITIVE { 0.0 } else { exact };
            let got = if at.value.abs() < f64::MIN_POSITIVE { 0.0 } else { at.value };
            // Halves, since a difference of the largest doubles is not one.
            let off = (got / 2.0 - exact / 2.0).abs();
            let allowed = exact.abs() / 2.0 * (sketch.error_percent() / 100.0).min(1e300);
            prop_assert!(off <= allowed, "{name}: {got} is not {exact} of {}", values.len());
            if at.exact {
                prop_assert!((got - exact).abs() <= 0.0, "{}: {} is not {}", name, got, exact);
            }
        }
    }

    #[test]
    fn quantiles_depend_on_their_content_alone(seed: u64, count in 2..3_000_usize, parts in 1..8_usize, wide in 1..40_i32, most in prop::sample::select(vec![16_usize, 64, 500, BUCKETS])) {
        let mut state = seed | 1;
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f64 / f64::from(1_u32 << 31)
        };
        let values: Vec<f64> = (0..count).map(|_| 2_f64.powf((random() - 0.5) * f64::from(wide)) * (random() - 0.3).signum()).collect();
        let straight = quantiles(&values, most);
        let mut sketches: Vec<Quantiles> = (0..parts)
            .filter_map(|part| {
                let own: Vec<f64> = values.iter().skip(part).step_by(parts).copied().collect();
                (!own.is_empty()).then(|| quantiles(&own, most))
            })
            .collect();
        // In pairs, through the wire.
        while sketches.len() > 1 {
            let last = sketches.pop().unwrap();
            let index = (seed as usize) % sketches.len();
            sketches[index].merge(&last);
            let bytes = bytes(&sketches[index]);
            let mut reader = Reader::new(&bytes);
            sketches[index] = Quantiles::decode(most, &mut reader).unwrap();
            prop_assert_eq!(reader.left(), 0);
        }
        prop_assert_eq!(bytes(&sketches[0]), bytes(&straight));
        prop_assert!(bytes(&straight).len() <= 20 + most * 7);
    }

    #[test]
    fn distinct_values_depend_on_their_content_alone(from in 0..40_u64, count in 1..260_u64, parts in 1..6_usize, precision in 8..10_u8) {
        let hashes: Vec<u64> = (from..from + count).map(|n| distinct::hash(&n.to_string())).collect();
        let fold = |hashes: &mut dyn Iterator<Item = u64>| {
            let first = hashes.next()?;
            let mut sketch = Distinct::of(first, precision);
            for hash in hashes {
                assert!(sketch.merge(&Distinct::of(hash, precision)));
            }
            Some(sketch)
        };
        let straight = fold(&mut hashes.iter().copied()).unwrap();
        let mut merged: Option<Distinct> = None;
        for part in (0..parts).rev() {
            // Each value twice, in different parts.
            let own = hashes.iter().enumerate().filter(|(index, _)| index % parts == part || (index + 1) % parts == part);
            let Some(sketch) = fold(&mut own.map(|(_, hash)| *hash).rev()) else { continue };
            let mut bytes = Vec::new();
            sketch.encode(&mut bytes);
            let sketch = Distinct::decode(precision, &mut Reader::new(&bytes)).unwrap();
            match &mut merged {
                Some(merged) => assert!(merged.merge(&sketch)),
                None => merged = Some(sketch),
            }
        }
        prop_assert_eq!(merged.unwrap(), straight.clone());
        if straight.is_exact() {
            prop_assert_eq!(straight.count(), count);
        }
    }
}

#[test]
fn distinct_values_are_exact_and_then_near() {
    let mut sketch = Distinct::of(distinct::hash("0"), distinct::PRECISION);
    let mut checked = 0;
    for n in 1..300_000_u64 {
        assert!(sketch.merge(&Distinct::of(distinct::hash(&n.to_string()), distinct::PRECISION)));
        let count = n + 1;
        if count <= 1_536 {
            assert!(sketch.is_exact());
            assert_eq!(sketch.count(), count);
        } else if count % 2_500 == 0 || count == 1_537 {
            assert!(!sketch.is_exact());
            let off = (sketch.count() as f64 - count as f64).abs() / count as f64 * 100.0;
            // Three standard errors; what is hashed is fixed, so this is either always true or never.
            assert!(
                off < 3.0 * sketch.error_percent(),
                "{count}: {} is off by {off} %",
                sketch.count()
            );
            checked += 1;
        }
    }
    assert!(checked > 100);
    let mut bytes = Vec::new();
    sketch.encode(&mut bytes);
    assert_eq!((bytes.len(), sketch.encoded_len()), (12_289, 12_289));
}

/// Anyone must be able to compute the hash: SHA-256 of the text `"a"`, its first eight bytes.
#[test]
fn the_hash_is_the_documented_one() {
    assert_eq!(distinct::hash("\"a\""), 0xac8d_8342_bbb2_362d);
}

#[test]
fn small_whole_numbers_are_exact() {
    let values: Vec<f64> = (1..=100).map(f64::from).collect();
    let sketch = quantiles(&values, BUCKETS);
    for (name, value) in [
        ("p0", 1.0),
        ("p1", 1.0),
        ("p50", 50.0),
        ("p99", 99.0),
        ("p99_1", 100.0),
        ("p100", 100.0),
    ] {
        let at = sketch.at(Share::parse(name).unwrap());
        assert_eq!((json!(at.value), at.exact), (json!(value), true), "{name}");
    }
    assert!((sketch.error_percent() - 1.0).abs() < f64::EPSILON);
}

#[test]
fn shares_are_read_as_they_are_documented() {
    for wrong in [
        "", "p", "50", "p101", "p1000", "p5_", "p_5", "p5_1234", "p-1", "p100_001",
    ] {
        assert_eq!(Share::parse(wrong), None, "{wrong}");
    }
    assert_eq!(Share::parse("p99_9"), Share::parse("p99_900"));
    assert_ne!(Share::parse("p99_9"), Share::parse("p99_09"));
}
