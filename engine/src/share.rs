//! Whose a worker of a shared pool is: max-min fairness over what each run can use.
//!
//! * Nobody has more than it can use, and no worker is nobody's while somebody could use more.
//! * Of two runs that could both use more, neither has two workers more than the other.
//! * Who has a worker keeps it where that is fair: the answer to the answer is the answer, and as few change hands as can.
//! * The same question has the same answer, so passes over different runs agree without talking to each other.
//!
//! It says only where *new* work goes. What runs on a worker that is another's now is finished, not taken away.

/// On whose behalf a worker is at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// Nobody's.
    Nobody,
    /// A claim's, by its place in the list.
    Claim(usize),
    /// Of somebody who claims nothing any more: what it runs is being finished.
    Leaving,
}

/// Whose each worker is, in the order of `workers`; `None`: nobody wants it. `claims` are the workers that each can use, the most senior
/// first.
#[must_use]
pub fn shares(claims: &[u64], workers: &[Holder]) -> Vec<Option<usize>> {
    let mut held = vec![0_u64; claims.len()];
    for holder in workers {
        if let Holder::Claim(claim) = holder
            && let Some(held) = held.get_mut(*claim)
        {
            *held += 1;
        }
    }
    let mut left = fair(claims, &held, workers.len() as u64);
    let mut owners: Vec<Option<usize>> = vec![None; workers.len()];
    // Who has one keeps it, the first ones first: pools are drained from the end.
    for (owner, holder) in owners.iter_mut().zip(workers) {
        if let Holder::Claim(claim) = holder
            && let Some(left) = left.get_mut(*claim).filter(|left| **left > 0)
        {
            *left -= 1;
            *owner = Some(*claim);
        }
    }
    // The others take what is free, then what will be soon, then what somebody has beyond a fair share.
    let mut open: Vec<usize> = (0..workers.len()).collect();
    open.retain(|index| owners.get(*index).is_some_and(Option::is_none));
    open.sort_by_key(|index| match workers.get(*index) {
        Some(Holder::Nobody) => 0,
        Some(Holder::Leaving) => 1,
        _ => 2,
    });
    let mut open = open.into_iter();
    for (claim, left) in left.into_iter().enumerate() {
        let taken = usize::try_from(left).unwrap_or(usize::MAX);
        for index in open.by_ref().take(taken) {
            if let Some(owner) = owners.get_mut(index) {
                *owner = Some(claim);
            }
        }
    }
    owners
}

/// How many of `workers` each claim is given. What a division leaves over goes to who has more already, then to the most senior.
fn fair(claims: &[u64], held: &[u64], workers: u64) -> Vec<u64> {
    let mut given = vec![0; claims.len()];
    let mut order: Vec<usize> = (0..claims.len()).collect();
    let claim = |index: usize| claims.get(index).copied().unwrap_or(0);
    order.sort_by_key(|index| claim(*index));
    let (mut rest, mut left) = (workers, order.len() as u64);
    let mut wanting = Vec::new();
    for index in order {
        let share = rest.checked_div(left).unwrap_or(0);
        if claim(index) <= share {
            if let Some(given) = given.get_mut(index) {
                *given = claim(index);
            }
            rest -= claim(index);
            left -= 1;
        } else {
            wanting.push(index);
        }
    }
    let share = rest.checked_div(wanting.len() as u64).unwrap_or(0);
    let mut over = rest.checked_rem(wanting.len() as u64).unwrap_or(0);
    wanting.sort_by_key(|index| (held.get(*index).is_none_or(|held| *held <= share), *index));
    for index in wanting {
        if let Some(given) = given.get_mut(index) {
            *given = share + over.min(1);
            over = over.saturating_sub(1);
        }
    }
    given
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, clippy::cast_possible_truncation)]
    use proptest::prelude::*;

    use super::*;

    fn count(owners: &[Option<usize>], claims: usize) -> Vec<u64> {
        let of = |claim| owners.iter().filter(|owner| **owner == Some(claim)).count() as u64;
        (0..claims).map(of).collect()
    }

    fn held_by(owners: &[Option<usize>]) -> Vec<Holder> {
        let holder = |owner: &Option<usize>| owner.map_or(Holder::Nobody, Holder::Claim);
        owners.iter().map(holder).collect()
    }

    type Case<'a> = (&'a str, &'a [u64], Vec<Holder>, &'a [u64]);

    #[test]
    fn tables() {
        let free = |workers| vec![Holder::Nobody; workers];
        let of = |claim, workers| vec![Holder::Claim(claim); workers];
        let cases: [Case<'_>; 8] = [
            ("nobody", &[], free(3), &[]),
            ("alone", &[100], free(3), &[3]),
            ("alone, with little", &[2], free(3), &[2]),
            ("two", &[100, 100], free(4), &[2, 2]),
            ("who wants little gets it", &[1, 100, 100], free(9), &[1, 4, 4]),
            (
                "what is left over goes to the most senior",
                &[9, 9, 9],
                free(4),
                &[2, 1, 1],
            ),
            ("or to who has it", &[9, 9], [of(1, 2), free(1)].concat(), &[1, 2]),
            ("more runs than workers", &[9, 9, 9], free(2), &[1, 1, 0]),
        ];
        for (what, claims, workers, expected) in cases {
            assert_eq!(count(&shares(claims, &workers), claims.len()), expected, "{what}");
        }
        // A new run takes from the end, and what is free before what is at work.
        let workers = [Holder::Claim(0), Holder::Claim(0), Holder::Claim(0), Holder::Leaving];
        assert_eq!(shares(&[9, 9], &workers), [Some(0), Some(0), Some(1), Some(1)]);
        let workers = [Holder::Leaving, Holder::Nobody, Holder::Claim(0)];
        assert_eq!(shares(&[9, 1], &workers), [Some(1), Some(0), Some(0)]);
    }

    fn holders(claims: usize) -> impl Strategy<Value = Vec<Holder>> {
        let one = prop_oneof![
            2 => Just(Holder::Nobody),
            1 => Just(Holder::Leaving),
            4 => (0..claims.max(1)).prop_map(Holder::Claim),
        ];
        prop::collection::vec(one, 0..24)
    }

    fn questions() -> impl Strategy<Value = (Vec<u64>, Vec<Holder>)> {
        prop::collection::vec(prop_oneof![0..4_u64, 0..40_u64], 0..7)
            .prop_flat_map(|claims| (Just(claims.clone()), holders(claims.len())))
    }

    proptest! {
        #[test]
        fn shares_are_fair((claims, workers) in questions()) {
            let owners = shares(&claims, &workers);
            let given = count(&owners, claims.len());
            let idle = owners.iter().filter(|owner| owner.is_none()).count();
            for (has, claim) in given.iter().zip(&claims) {
                prop_assert!(has <= claim, "more than it can use");
                prop_assert!(idle == 0 || has == claim, "idle while somebody wants");
                for other in &given {
                    prop_assert!(has == claim || *other <= has + 1, "unfair: {given:?} of {claims:?}");
                }
            }
        }

        #[test]
        fn shares_are_stable_and_move_little((claims, workers) in questions()) {
            let owners = shares(&claims, &workers);
            prop_assert_eq!(&shares(&claims, &held_by(&owners)), &owners, "the answer to the answer");
            // A worker changes hands only if its holder has as much as it is given without it.
            let given = count(&owners, claims.len());
            for (claim, given) in given.iter().enumerate() {
                let before = workers.iter().filter(|holder| **holder == Holder::Claim(claim)).count() as u64;
                let kept = workers.iter().zip(&owners)
                    .filter(|(holder, owner)| **holder == Holder::Claim(claim) && **owner == Some(claim)).count() as u64;
                prop_assert_eq!(kept, before.min(*given));
            }
        }

        /// Whoever takes what is theirs first, the others' answers stay what they were.
        #[test]
        fn passes_agree_whatever_their_order((claims, workers) in questions(), first in any::<prop::sample::Index>()) {
            prop_assume!(!claims.is_empty());
            let owners = shares(&claims, &workers);
            let first = first.index(claims.len());
            let taken: Vec<Holder> = workers.iter().zip(&owners).map(|(holder, owner)| match (holder, owner) {
                (Holder::Nobody, Some(owner)) if *owner == first => Holder::Claim(first),
                (holder, _) => *holder,
            }).collect();
            prop_assert_eq!(shares(&claims, &taken), owners);
        }
    }
}
