//! The known word that a misspelt one probably means.

/// The nearest of `known`, if it is near enough to be meant.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    const WORD_BYTES_MAX: usize = 64;
    if word.len() > WORD_BYTES_MAX {
        return None;
    }
    let word = normal(word);
    let distance_max = (word.len() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|known| (distance(&word, &normal(known)), known))
        .filter(|(distance, known)| *distance <= distance_max && *distance < known.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// Case and the choice of dash are never what somebody meant.
fn normal(word: &str) -> Vec<char> {
    word.chars().map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() }).collect()
}

/// Letters to insert, delete, change or swap with their neighbour.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=b.len()).collect();
    let mut a_last = None;
    for (i, &a_char) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        let mut b_last = None;
        for ((j, &b_char), pair) in b.iter().enumerate().zip(previous.windows(2)) {
            let (diagonal, above) = (pair.first().copied().unwrap_or(0), pair.last().copied().unwrap_or(0));
            let left = row.last().copied().unwrap_or(0);
            let mut best = (diagonal + usize::from(a_char != b_char)).min(above + 1).min(left + 1);
            if a_last == Some(b_char) && b_last == Some(a_char) {
                let swapped = j.checked_sub(1).and_then(|column| before.get(column)).copied();
                best = best.min(swapped.map_or(best, |swapped| swapped + 1));
            }
            row.push(best);
            b_last = Some(b_char);
        }
        before = std::mem::replace(&mut previous, row);
        a_last = Some(a_char);
    }
    previous.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        let distance = |a: &str, b: &str| distance(&normal(a), &normal(b));
        assert_eq!(distance("", ""), 0);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("bakend", "backend"), 1);
        assert_eq!(distance("prot", "port"), 1);
        assert_eq!(distance("proto", "port"), 2);
        assert_eq!(distance("pot", "opt"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("Full-NAT", "full_nat"), 0);
    }

    #[test]
    fn only_near_words_are_suggested() {
        let known = ["name", "vip", "port", "protocol", "backend"];
        assert_eq!(nearest("backends", known), Some("backend"));
        assert_eq!(nearest("protcol", known), Some("protocol"));
        assert_eq!(nearest("vp", known), Some("vip"));
        assert_eq!(nearest("weight", known), None);
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest("x", ["y"]), None);
        assert_eq!(nearest(&"p".repeat(1 << 20), known), None);
    }
}
