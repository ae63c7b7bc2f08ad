//! How many partitions of each step may be in flight, where a run or its steps say so.

use braid_crds::{Parallelism, limits};

use crate::expr::{ExprError, Scope, Template};

/// A limit that is no number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParallelismError {
    /// It cannot be evaluated.
    #[error("parallelism: {0}")]
    NoValue(ExprError),
    /// It is no number of partitions.
    #[error("parallelism must be a number from 1 to {}, and it is {text:?}", limits::PARALLELISM)]
    NoNumber {
        /// What it is.
        text: String,
    },
}

/// The number that a limit is.
pub fn resolve(parallelism: &Parallelism, scope: &Scope) -> Result<u64, ParallelismError> {
    let text = match parallelism {
        Parallelism::Count(count) => return Ok(*count),
        Parallelism::Text(text) => Template::parse(text).and_then(|template| template.render(scope)),
    };
    let text = text.map_err(ParallelismError::NoValue)?;
    let count = text
        .parse()
        .ok()
        .filter(|count| (1..=limits::PARALLELISM).contains(count));
    count.ok_or_else(|| ParallelismError::NoNumber {
        text: text.chars().take(40).collect(),
    })
}

/// What each of the steps that run may have in flight, when `run` is the most of all together and each wants so much. Everybody gets an
/// even share, and what one does not need goes to the others; if there is less than one for each, the first are served.
#[must_use]
pub fn shares(run: u64, wants: &[u64]) -> Vec<u64> {
    let mut order = wants.to_vec();
    order.sort_unstable();
    let mut rest = run;
    let mut left = order.len() as u64;
    // Those that want little first: what they leave is for the others.
    for want in order {
        if rest.checked_div(left).is_none_or(|even| want > even) {
            break;
        }
        rest -= want;
        left -= 1;
    }
    // Everybody left wants more than an even share, and the first of them get what the division leaves over.
    let even = rest.checked_div(left).unwrap_or(u64::MAX);
    let mut over = rest.checked_rem(left).unwrap_or(0);
    wants
        .iter()
        .map(|want| {
            let one = u64::from(over > 0 && *want > even);
            over -= one;
            (*want).min(even.saturating_add(one))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_limit_is_a_number_or_gives_one() {
        let scope = Scope {
            params: [("n".to_owned(), json!(7)), ("s".to_owned(), json!("x"))].into(),
            ..Scope::default()
        };
        let text = |text: &str| resolve(&Parallelism::Text(text.into()), &scope);
        assert_eq!(Ok(5), resolve(&Parallelism::Count(5), &scope));
        assert_eq!(Ok(20), text("20"));
        assert_eq!(Ok(14), text("$(params.n * 2)"));
        assert_eq!(
            Err(ParallelismError::NoNumber { text: "x".into() }),
            text("$(params.s)")
        );
        assert_eq!(
            Err(ParallelismError::NoNumber { text: "-7".into() }),
            text("$(-params.n)")
        );
        assert!(matches!(text("$(params.m)"), Err(ParallelismError::NoValue(_))));
    }

    #[test]
    fn shares_are_even() {
        assert_eq!(vec![5, 5], shares(10, &[100, 100]));
        assert_eq!(vec![8, 2], shares(10, &[100, 2]));
        assert_eq!(vec![4, 3, 3], shares(10, &[100, 100, 100]));
        assert_eq!(vec![1, 1, 0], shares(2, &[9, 9, 9]));
        assert_eq!(vec![3], shares(10, &[3]));
    }

    proptest! {
        #[test]
        fn never_more_than_there_is_and_never_less_than_can_be_used(
            run in 1_u64..40,
            wants in prop::collection::vec(0_u64..40, 0..6),
        ) {
            let given = shares(run, &wants);
            prop_assert!(given.iter().zip(&wants).all(|(given, want)| given <= want));
            prop_assert_eq!(run.min(wants.iter().sum()), given.iter().sum::<u64>());
            // Nobody has more than one above somebody who wanted more than he got.
            for (hungry, want) in given.iter().zip(&wants).filter(|(given, want)| given < want) {
                prop_assert!(given.iter().all(|other| *other <= hungry + 1), "{:?} {:?} {}", given, wants, want);
            }
        }
    }
}
