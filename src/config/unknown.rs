//! What to write instead of a key that does not exist.

/// Says that a key is unknown and what was probably meant; its value is left out, since it may be a secret.
pub(super) fn unknown(noun: &str, name: &str, known: &[&'static str]) -> String {
    let place = |name: &str| {
        let file = format!("{name}_file");
        let secrets = format!("is not a known {noun}; secrets come from {file} or {name}_env");
        known.contains(&file.as_str()).then_some(secrets)
    };
    place(name)
        .or_else(|| {
            closest(name, known)
                .map(|meant| format!("is not a known {noun}; did you mean {meant}?"))
        })
        .or_else(|| place("secret").filter(|_| name.contains("secret")))
        .unwrap_or_else(|| format!("is not a known {noun}"))
}

/// Returns the closest candidate, or `None` when none is close.
fn closest<'c>(word: &str, candidates: &[&'c str]) -> Option<&'c str> {
    let nearest = candidates
        .iter()
        .map(|candidate| (distance(word, candidate), *candidate))
        .min_by_key(|(distance, _)| *distance);
    match nearest {
        Some((distance, candidate)) if distance <= 2 && distance < candidate.chars().count() => {
            Some(candidate)
        }
        _ => None,
    }
}

/// Counts the single-character edits between two words (Levenshtein), one row of the table at a time.
fn distance(from: &str, to: &str) -> usize {
    // Nothing that long is near a key, and the work grows with the square.
    if from.len() > 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (deleted, a) in from.chars().enumerate() {
        let mut left = deleted + 1;
        let mut next = vec![left];
        for (b, (diagonal, above)) in to.chars().zip(row.iter().zip(row.iter().skip(1))) {
            left = (diagonal + usize::from(a != b))
                .min(above + 1)
                .min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        for (from, to, edits) in [
            ("", "abc", 3),
            ("listen", "listen", 0),
            ("lisen", "listen", 1),
            ("upstraem", "upstream", 2),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(from, to), edits, "{from} → {to}");
        }
    }

    #[test]
    fn a_word_far_from_all_has_no_closest() {
        assert_eq!(closest("lisen", &["listen", "threads"]), Some("listen"));
        assert_eq!(closest("quota", &["listen", "threads"]), None);
        assert_eq!(closest("xy", &["ab"]), None);
    }
}
