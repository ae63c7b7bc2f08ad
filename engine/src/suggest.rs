//! "Did you mean": the known name that is nearest to a wrong one.

/// Names longer than this are not compared: the distance costs the product of the lengths.
const LONGEST: usize = 64;

/// The candidate with the smallest edit distance to `wrong`, if it is near enough to be meant: a third of the longer
/// name's characters at most. Among equals the first in order, so the answer does not depend on the order given.
pub fn nearest<'a>(wrong: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if wrong.len() > LONGEST {
        return None;
    }
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= LONGEST && *candidate != wrong)
        .map(|candidate| (distance(wrong, candidate), candidate))
        .filter(|(distance, candidate)| 3 * distance <= wrong.chars().count().max(candidate.chars().count()).max(3))
        .min()
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours that lead from `a` to `b`, regardless of ASCII case.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().map(|c| c.to_ascii_lowercase()).collect();
    let b: Vec<char> = b.chars().map(|c| c.to_ascii_lowercase()).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        let mut left = i + 1;
        for (j, y) in b.iter().enumerate() {
            let at = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX / 2);
            let mut best = (left + 1)
                .min(at(&above, j + 1) + 1)
                .min(at(&above, j) + usize::from(x != y));
            let swapped = j > 0 && i > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
            left = best;
        }
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let steps = ["clean", "count", "sign-off"];
        assert_eq!(Some("clean"), nearest("clen", steps));
        assert_eq!(Some("count"), nearest("cuont", steps));
        assert_eq!(Some("sign-off"), nearest("sign_off", steps));
        assert_eq!(Some("count"), nearest("COUNT", steps));
        assert_eq!(None, nearest("publish", steps));
        assert_eq!(None, nearest(&"c".repeat(5000), steps));
    }

    #[test]
    fn counts_edits() {
        for (a, b, edits) in [
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("ab", "ba", 1),
            ("x", "x", 0),
        ] {
            assert_eq!(edits, distance(a, b), "{a} -> {b}");
        }
    }
}
