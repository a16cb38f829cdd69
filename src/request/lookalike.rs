//! How a backend reads a path that takes characters which look like ASCII for ASCII: the Kelvin sign for `k`, `／` for `/`.

use icu_normalizer::ComposingNormalizerBorrowed;
use percent_encoding::percent_decode_str;

/// Returns a path in normal form as such a backend reads it, without escapes and in small letters; `None` where all is ASCII.
///
/// It applies what any backend may: compatibility forms (NFKC), simple and full mappings of case both ways, and, as in Unicode's
/// NFKC_Casefold and in some file systems, nothing for what nobody sees.
pub(super) fn folded(path: &str) -> Option<String> {
    let mut escapes = path.split('%').skip(1);
    // ASCII ends at 7F.
    if !escapes.any(|escape| escape.starts_with(|digit| digit > '7')) {
        return None;
    }
    let decoded = percent_decode_str(path).decode_utf8().ok()?;
    let composed = ComposingNormalizerBorrowed::new_nfkc().normalize(&decoded);
    let mut folded = String::with_capacity(composed.len());
    for letter in composed.chars().filter(|letter| !is_invisible(*letter)) {
        fold(letter, &mut folded);
    }
    Some(folded)
}

/// Returns whether a character is one of those that Unicode calls Default_Ignorable_Code_Point, such as the soft hyphen.
fn is_invisible(letter: char) -> bool {
    matches!(letter,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

fn fold(letter: char, into: &mut String) {
    if letter.is_ascii() {
        into.push(letter.to_ascii_lowercase());
    } else if letter.to_uppercase().all(|upper| upper.is_ascii()) {
        // The dotless i and the long s among them, which are small already.
        let upper = letter.to_uppercase();
        into.extend(upper.map(|upper| upper.to_ascii_lowercase()));
    } else {
        let mut lower = letter.to_lowercase();
        match lower.next() {
            // The dotted I becomes an i, with or without a dot of its own.
            Some(first) if first.is_ascii() => into.push(first),
            first => into.extend(first.into_iter().chain(lower)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_some_backend_takes_for_ascii_is_ascii() {
        for (path, expected) in [
            ("/%E2%84%AAiosk", "/kiosk"),
            ("/%C5%BFhop", "/shop"),
            ("/adm%C4%B1n", "/admin"),
            ("/adm%C4%B0n", "/admin"),
            ("/%EF%BD%81dmin", "/admin"),
            ("/%EF%BC%A1DMIN", "/admin"),
            ("/a%EF%BC%8Fb", "/a/b"),
            ("/a/%E2%80%A5/b", "/a/../b"),
            ("/a%EF%BC%BCb", "/a\\b"),
            ("/a%EF%BC%9Bb", "/a;b"),
            ("/%EF%AC%80", "/ff"),
            ("/stra%C3%9Fe", "/strasse"),
            ("/%F0%9D%90%9Admin", "/admin"),
            ("/%E4%BD%A0/%C3%89", "/你/é"),
            ("/ki%C2%ADosk", "/kiosk"),
            ("/kiosk%E2%80%8B", "/kiosk"),
            ("/a/.%E2%80%8D./b", "/a/../b"),
            ("/%EF%BB%BFkiosk%F3%A0%81%81", "/kiosk"),
        ] {
            assert_eq!(folded(path).as_deref(), Some(expected), "{path}");
        }
    }

    #[test]
    fn a_path_of_ascii_has_no_such_reading() {
        for path in ["/", "/Kiosk", "/a%20b", "/100%25", "/%7F"] {
            assert_eq!(folded(path), None, "{path}");
        }
    }
}
