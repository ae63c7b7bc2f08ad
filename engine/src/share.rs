//! Whose a worker of a shared pool is: max-min fairness over what each run can use, first between namespaces, then between the runs of
//! each, so that a namespace has no more for having more runs.
//!
//! * Nobody has more than it can use, and no worker is nobody's while somebody could use more.
//! * Of two namespaces that could both use more, neither has two workers more than the other; nor of two runs of one namespace.
//! * Who has a worker keeps it where that is fair: the answer to the answer is the answer, and as few change hands as can.
//! * The same question has the same answer, so passes over different runs agree without talking to each other.
//!
//! It says only where *new* work goes. What runs on a worker that is another's now is finished, not taken away.

use std::collections::BTreeMap;

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

/// What a run can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Claim<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// So many workers at most.
    pub workers: u64,
}

/// Whose each worker is, in the order of `workers`; `None`: nobody wants it. `claims` are what each run can use, the most senior first.
#[must_use]
pub fn shares(claims: &[Claim<'_>], workers: &[Holder]) -> Vec<Option<usize>> {
    let mut held = vec![0_u64; claims.len()];
    for holder in workers {
        if let Holder::Claim(claim) = holder
            && let Some(held) = held.get_mut(*claim)
        {
            *held += 1;
        }
    }
    let mut left = given(claims, &held, workers.len() as u64);
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

/// The claims of one namespace.
#[derive(Default)]
struct Group {
    /// Their places in the list of all.
    places: Vec<usize>,
    /// What each can use.
    claims: Vec<u64>,
    /// What each has.
    held: Vec<u64>,
}

impl Group {
    /// How many of `workers` each of them is given.
    fn given(&self, workers: u64) -> Vec<u64> {
        fair(&self.claims, workers, |index, share| {
            self.held.get(index).is_some_and(|held| *held > share)
        })
    }

    /// Whether with one more than `share` somebody keeps a worker who else would lose it.
    fn keeps(&self, share: u64) -> bool {
        let (less, more) = (self.given(share), self.given(share + 1));
        let mut members = self.held.iter().zip(less.iter().zip(&more));
        members.any(|(held, (less, more))| less < more && held > less)
    }
}

/// How many of `workers` each claim is given.
fn given(claims: &[Claim<'_>], held: &[u64], workers: u64) -> Vec<u64> {
    // The most senior one first, as its most senior run is.
    let mut groups: Vec<Group> = Vec::new();
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    for (place, (claim, held)) in claims.iter().zip(held).enumerate() {
        let group = *known.entry(claim.namespace).or_insert_with(|| {
            groups.push(Group::default());
            groups.len() - 1
        });
        if let Some(group) = groups.get_mut(group) {
            group.places.push(place);
            group.claims.push(claim.workers);
            group.held.push(*held);
        }
    }
    let sum = |group: &Group| group.claims.iter().fold(0_u64, |sum, claim| sum.saturating_add(*claim));
    let sums: Vec<u64> = groups.iter().map(sum).collect();
    let of_groups = fair(&sums, workers, |index, share| {
        groups.get(index).is_some_and(|group| group.keeps(share))
    });
    let mut given = vec![0; claims.len()];
    for (group, workers) in groups.iter().zip(of_groups) {
        for (place, share) in group.places.iter().zip(group.given(workers)) {
            if let Some(given) = given.get_mut(*place) {
                *given = share;
            }
        }
    }
    given
}

/// How many of `workers` each claim is given. What a division leaves over goes to who `keeps` something by one more than the share, then to
/// the first.
fn fair(claims: &[u64], workers: u64, keeps: impl Fn(usize, u64) -> bool) -> Vec<u64> {
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
    wanting.sort_by_cached_key(|index| (!keeps(*index, share), *index));
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

    /// Namespaces by their numbers.
    const NAMES: [&str; 4] = ["a", "b", "c", "d"];

    fn count(owners: &[Option<usize>], claims: usize) -> Vec<u64> {
        let of = |claim| owners.iter().filter(|owner| **owner == Some(claim)).count() as u64;
        (0..claims).map(of).collect()
    }

    fn held_by(owners: &[Option<usize>]) -> Vec<Holder> {
        let holder = |owner: &Option<usize>| owner.map_or(Holder::Nobody, Holder::Claim);
        owners.iter().map(holder).collect()
    }

    fn in_one(workers: &[u64]) -> Vec<Claim<'static>> {
        in_two(workers, &[])
    }

    fn in_two(first: &[u64], second: &[u64]) -> Vec<Claim<'static>> {
        let claim = |namespace| {
            move |workers: &u64| Claim {
                namespace,
                workers: *workers,
            }
        };
        first
            .iter()
            .map(claim("a"))
            .chain(second.iter().map(claim("b")))
            .collect()
    }

    type Case<'a> = (&'a str, Vec<Claim<'static>>, Vec<Holder>, &'a [u64]);

    #[test]
    fn tables() {
        let free = |workers| vec![Holder::Nobody; workers];
        let of = |claim, workers| vec![Holder::Claim(claim); workers];
        let cases: [Case<'_>; 14] = [
            ("nobody", in_one(&[]), free(3), &[]),
            ("alone", in_one(&[100]), free(3), &[3]),
            ("alone, with little", in_one(&[2]), free(3), &[2]),
            ("two", in_one(&[100, 100]), free(4), &[2, 2]),
            ("who wants little gets it", in_one(&[1, 100, 100]), free(9), &[1, 4, 4]),
            (
                "what is left over goes to the most senior",
                in_one(&[9, 9, 9]),
                free(4),
                &[2, 1, 1],
            ),
            (
                "or to who has it",
                in_one(&[9, 9]),
                [of(1, 2), free(1)].concat(),
                &[1, 2],
            ),
            ("more runs than workers", in_one(&[9, 9, 9]), free(2), &[1, 1, 0]),
            (
                "many runs do not starve one",
                in_two(&[9; 6], &[9]),
                free(8),
                &[1, 1, 1, 1, 0, 0, 4],
            ),
            (
                "who wants little in a namespace",
                in_two(&[1, 9], &[9, 1]),
                free(8),
                &[1, 3, 3, 1],
            ),
            (
                "a namespace that wants little",
                in_two(&[1, 1], &[9, 9]),
                free(8),
                &[1, 1, 3, 3],
            ),
            (
                "what is left over goes to the senior namespace",
                in_two(&[9], &[9, 9]),
                free(3),
                &[2, 1, 0],
            ),
            (
                "or to the one that has it",
                in_two(&[9], &[9, 9]),
                [of(1, 1), of(2, 1), free(1)].concat(),
                &[1, 1, 1],
            ),
            (
                "as far as somebody there keeps it",
                in_two(&[9, 9], &[9]),
                [of(0, 2), of(2, 2), free(1)].concat(),
                &[2, 1, 2],
            ),
        ];
        for (what, claims, workers, expected) in cases {
            assert_eq!(count(&shares(&claims, &workers), claims.len()), expected, "{what}");
        }
        // A new run takes from the end, and what is free before what is at work.
        let workers = [Holder::Claim(0), Holder::Claim(0), Holder::Claim(0), Holder::Leaving];
        assert_eq!(shares(&in_one(&[9, 9]), &workers), [Some(0), Some(0), Some(1), Some(1)]);
        let workers = [Holder::Leaving, Holder::Nobody, Holder::Claim(0)];
        assert_eq!(shares(&in_one(&[9, 1]), &workers), [Some(1), Some(0), Some(0)]);
    }

    fn holders(claims: usize) -> impl Strategy<Value = Vec<Holder>> {
        let one = prop_oneof![
            2 => Just(Holder::Nobody),
            1 => Just(Holder::Leaving),
            4 => (0..claims.max(1)).prop_map(Holder::Claim),
        ];
        prop::collection::vec(one, 0..24)
    }

    fn questions() -> impl Strategy<Value = (Vec<Claim<'static>>, Vec<Holder>)> {
        let claim = |namespaces: usize| {
            let workers = prop_oneof![0..4_u64, 0..40_u64];
            (0..namespaces, workers).prop_map(|(namespace, workers)| Claim {
                namespace: NAMES[namespace],
                workers,
            })
        };
        (1..=NAMES.len())
            .prop_flat_map(move |namespaces| prop::collection::vec(claim(namespaces), 0..9))
            .prop_flat_map(|claims| (Just(claims.clone()), holders(claims.len())))
    }

    /// What those of a namespace come to.
    fn sum(claims: &[Claim<'_>], of: &[u64], namespace: &str) -> u64 {
        let theirs = claims.iter().zip(of).filter(|(claim, _)| claim.namespace == namespace);
        theirs.map(|(_, of)| of).sum()
    }

    proptest! {
        #[test]
        fn shares_are_fair_between_namespaces_and_within_each((claims, workers) in questions()) {
            let owners = shares(&claims, &workers);
            let given = count(&owners, claims.len());
            let wanted: Vec<u64> = claims.iter().map(|claim| claim.workers).collect();
            let idle = owners.iter().filter(|owner| owner.is_none()).count();
            for (has, claim) in given.iter().zip(&claims) {
                prop_assert!(*has <= claim.workers, "more than it can use");
                let satisfied = *has == claim.workers;
                prop_assert!(idle == 0 || satisfied, "idle while somebody wants");
                for (other, beside) in given.iter().zip(&claims) {
                    let apart = beside.namespace != claim.namespace;
                    prop_assert!(apart || satisfied || *other <= has + 1, "unfair: {given:?} of {claims:?}");
                }
                let own = sum(&claims, &given, claim.namespace);
                let satisfied = own == sum(&claims, &wanted, claim.namespace);
                for other in NAMES {
                    let theirs = sum(&claims, &given, other);
                    prop_assert!(satisfied || theirs <= own + 1, "unfair to {}: {given:?} of {claims:?}", claim.namespace);
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

        /// One namespace is as none, and as many as there are runs.
        #[test]
        fn namespaces_of_one_run_each_are_as_the_runs_of_one((claims, workers) in questions()) {
            let few = &claims[..claims.len().min(NAMES.len())];
            let workers: Vec<Holder> = workers.into_iter().map(|holder| match holder {
                Holder::Claim(claim) if claim >= few.len() => Holder::Leaving,
                holder => holder,
            }).collect();
            let apart: Vec<Claim<'_>> = few.iter().zip(NAMES).map(|(claim, namespace)| Claim { namespace, ..*claim }).collect();
            let together: Vec<Claim<'_>> = few.iter().map(|claim| Claim { namespace: "x", ..*claim }).collect();
            prop_assert_eq!(shares(&apart, &workers), shares(&together, &workers));
        }
    }
}
