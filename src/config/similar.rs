//! Which known word was probably meant: the nearest by edit distance, if it is near enough.

/// The most similar of `known`, at most two edits away, and fewer for short words.
pub(super) fn most_similar<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let tolerance = (word.chars().count() / 3).clamp(1, 2);
    let near = known.iter().map(|&candidate| (distance(word, candidate), candidate));
    near.filter(|(distance, _)| *distance <= tolerance).min().map(|(_, candidate)| candidate)
}

/// Edits between two words, where an edit inserts, drops or replaces a character or swaps two neighbours. (Damerau and
/// Levenshtein, in the variant that edits no place twice.)
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let replace = last[j] + usize::from(a != b);
            let mut best = replace.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_edit_counts_one() {
        for (left, right, expected) in [
            ("ttl", "ttl", 0),
            ("tll", "ttl", 1),
            ("tlt", "ttl", 1),
            ("tt", "ttl", 1),
            ("ttll", "ttl", 1),
            ("", "ttl", 3),
            ("lisetn", "listen", 1),
            ("capcity_", "capacity", 2),
        ] {
            assert_eq!(distance(left, right), expected, "{left} → {right}");
            assert_eq!(distance(right, left), expected, "{right} → {left}");
        }
    }

    #[test]
    fn only_a_near_word_is_offered() {
        let known = ["ttl", "min_ttl", "tags", "stale_while_revalidate"];
        assert_eq!(most_similar("stale_while_revalidat", &known), Some("stale_while_revalidate"));
        assert_eq!(most_similar("tag", &known), Some("tags"));
        assert_eq!(most_similar("url", &known), None);
        assert_eq!(most_similar("", &known), None);
    }
}
