//! Regular expressions of RE2, which Envoy has, in the syntax of the crate `regex`. Most of the
//! syntax is the same. What both take and read otherwise is written in another way here:
//!
//! - `\d`, `\w`, `\s` and `\b` are of ASCII.
//! - `\<` and `\>` are `<` and `>`.
//! - In brackets `[`, `&&`, `--` and `~~` are the characters that they are.
//!
//! Source: [RE2's syntax](https://github.com/google/re2/wiki/Syntax).

/// The same expression for `regex`.
pub(super) fn translate(pattern: &str) -> String {
    let mut to = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some(letter) = next(&mut rest) {
        match letter {
            '[' => rest = brackets(rest, &mut to),
            '\\' => match next(&mut rest) {
                Some(letter @ ('<' | '>')) => to.push(letter),
                Some('b') => to.push_str(r"(?-u:\b)"),
                Some(letter) => match ascii(letter) {
                    Some((class, true)) => to.push_str(&format!("[{class}]")),
                    Some((class, false)) => to.push_str(&format!("[^{class}]")),
                    None => to.extend(['\\', letter]),
                },
                None => to.push('\\'),
            },
            letter => to.push(letter),
        }
    }
    to
}

/// What stands in brackets behind the first one; what follows them.
fn brackets<'p>(mut rest: &'p str, to: &mut String) -> &'p str {
    to.push('[');
    if let Some(negated) = rest.strip_prefix('^') {
        to.push('^');
        rest = negated;
    }
    let mut is_first = true;
    while let Some(letter) = next(&mut rest) {
        if letter == ']' && !is_first {
            to.push(']');
            return rest;
        }
        is_first = false;
        let named = rest.strip_prefix(':').filter(|_| letter == '[');
        if let Some((name, behind)) = named.and_then(|named| named.split_once(":]")) {
            to.push_str(&format!("[:{name}:]"));
            rest = behind;
            continue;
        }
        if !item(letter, &mut rest, to) {
            continue;
        }
        // A range, unless the brackets end behind it.
        let end = rest.strip_prefix('-').filter(|end| !end.starts_with(']'));
        if let Some(mut end) = end {
            if let Some(letter) = next(&mut end) {
                to.push('-');
                item(letter, &mut end, to);
                rest = end;
            }
        }
    }
    // They do not end, which is refused.
    rest
}

/// A character in brackets, or a class of them; whether a range may begin with it.
fn item(letter: char, rest: &mut &str, to: &mut String) -> bool {
    match letter {
        '\\' => match next(rest) {
            Some(letter) => match ascii(letter) {
                Some((class, is_it)) => {
                    let class = match is_it {
                        true => class.to_owned(),
                        false => format!("[^{class}]"),
                    };
                    to.push_str(&class);
                    return false;
                }
                None => to.extend(['\\', letter]),
            },
            None => to.push('\\'),
        },
        '[' | '&' | '-' | '~' => to.extend(['\\', letter]),
        letter => to.push(letter),
    }
    true
}

/// The characters of a class that has a letter, and whether the letter stands for them or for all
/// others.
fn ascii(letter: char) -> Option<(&'static str, bool)> {
    let class = match letter.to_ascii_lowercase() {
        'd' => "0-9",
        'w' => "0-9A-Za-z_",
        's' => r"\t\n\f\r\x20",
        _ => return None,
    };
    Some((class, letter.is_ascii_lowercase()))
}

fn next(rest: &mut &str) -> Option<char> {
    let mut letters = rest.chars();
    let letter = letters.next();
    *rest = letters.as_str();
    letter
}
