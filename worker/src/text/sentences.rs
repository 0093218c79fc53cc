//! Where a sentence ends, in English and Chinese: abbreviations, decimals and links do not end one.

/// Words before a full stop that does not end a sentence. Short on purpose: a sentence too long is read, one cut in
/// half is not understood.
const ABBREVIATIONS: [&str; 28] = [
    "mr", "mrs", "ms", "dr", "prof", "st", "no", "nos", "vs", "etc", "e.g", "i.e", "eg", "ie", "approx", "inc", "ltd",
    "co", "corp", "fig", "dept", "est", "tel", "ext", "jan", "feb", "sept", "dec",
];

/// The sentences of a text as trimmed slices, in order. A line break ends one too (headings, list items).
pub fn sentences(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let end = match c {
            '\n' => at,
            '。' | '！' | '？' | '!' | '?' | '…' => at + c.len_utf8(),
            '.' if ends_here(text, start, at) => at + 1,
            _ => continue,
        };
        let end = end + closing(&text[end..]);
        push(&mut found, &text[start..end]);
        start = end.max(at + c.len_utf8());
        while chars.peek().is_some_and(|(next, _)| *next < start) {
            chars.next();
        }
    }
    push(&mut found, &text[start..]);
    found
}

fn push<'a>(found: &mut Vec<&'a str>, sentence: &'a str) {
    let sentence = sentence.trim();
    if sentence.chars().any(char::is_alphanumeric) {
        found.push(sentence);
    }
}

/// Quotes, brackets and further marks that belong to the sentence they close.
fn closing(rest: &str) -> usize {
    rest.char_indices()
        .find(|(_, c)| {
            !matches!(
                c,
                '"' | '\''
                    | '”'
                    | '’'
                    | ')'
                    | '）'
                    | '」'
                    | '』'
                    | '》'
                    | '】'
                    | '!'
                    | '?'
                    | '！'
                    | '？'
                    | '。'
                    | '…'
                    | '.'
            )
        })
        .map_or(rest.len(), |(at, _)| at)
}

fn ends_here(text: &str, start: usize, at: usize) -> bool {
    let after = &text[at + 1..];
    let closed = after.trim_start_matches(['"', '\'', '”', '’', ')', '.']);
    // A decimal, a version, a link or "e.g." inside: no space follows.
    if closed.starts_with(|c: char| !c.is_whitespace() && !crate::text::is_han(c)) {
        return false;
    }
    let word =
        text[start..at].rsplit(|c: char| c.is_whitespace() || c == '(').next().unwrap_or_default().to_lowercase();
    // "J. Smith", "U.S. customers": a single letter, alone or after another dot, is an initial.
    let initial =
        word.rsplit('.').next().is_some_and(|last| last.chars().count() == 1 && last.chars().all(char::is_alphabetic));
    // "1. Open the app": the number of a list item belongs to what follows it.
    let numbered = text[start..at].trim_start() == word && !word.is_empty() && word.chars().all(|c| c.is_ascii_digit());
    let next_is_lower = closed.trim_start_matches([' ', '\t']).starts_with(char::is_lowercase);
    if ABBREVIATIONS.contains(&word.as_str()) || initial {
        // "…, pens, etc. Call us": the list's own end is an end when a capital follows.
        return word == "etc" && !next_is_lower;
    }
    !numbered && !next_is_lower
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        assert_eq!(sentences(text), expected);
    }

    #[test]
    fn english() {
        check(
            "It costs $4.50. Dr. Lee ships it, e.g. by post. Call us!",
            &["It costs $4.50.", "Dr. Lee ships it, e.g. by post.", "Call us!"],
        );
        check(
            "See help.example.com/a.b for more. \"Done.\" Next?!",
            &["See help.example.com/a.b for more.", "\"Done.\"", "Next?!"],
        );
        check(
            "U.S. customers pay no tax. Pens, etc. Call us.",
            &["U.S. customers pay no tax.", "Pens, etc.", "Call us."],
        );
        check("1. Open the app. 2. Tap Returns.", &["1. Open the app.", "2. Tap Returns."]);
        check("Wait... what? ok", &["Wait... what?", "ok"]);
    }

    #[test]
    fn chinese_and_lines() {
        check("退货免运费。三天内到账！好吗？", &["退货免运费。", "三天内到账！", "好吗？"]);
        check("他说：“可以。”然后走了", &["他说：“可以。”", "然后走了"]);
        check("Title\n\n- one\n- two.\n---\n", &["Title", "- one", "- two."]);
        check("", &[]);
    }

    proptest::proptest! {
        #[test]
        fn nothing_readable_is_lost(text in "[a-z .?!\"\n退货。！0-9]{0,60}") {
            let kept: String = sentences(&text).concat().chars().filter(|c| c.is_alphanumeric()).collect();
            let all: String = text.chars().filter(|c| c.is_alphanumeric()).collect();
            proptest::prop_assert_eq!(kept, all);
        }
    }
}
