//! PURE: text in the columns of a terminal, where a Chinese character is as wide as two letters.

use crate::page::escape::is_hidden;

/// The text, filled up with spaces to so many columns.
pub fn padded(text: &str, columns: usize) -> String {
    let missing = columns.saturating_sub(width(text));
    format!("{text}{}", " ".repeat(missing))
}

fn width(text: &str) -> usize {
    text.chars().filter(|c| !is_hidden(*c)).map(|c| if is_wide(c) { 2 } else { 1 }).sum()
}

/// What Unicode's annex 11 calls wide or full-width, in blocks.
fn is_wide(c: char) -> bool {
    matches!(c,
        '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{303e}' | '\u{3041}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}' | '\u{fe30}'..='\u{fe4f}' | '\u{ff00}'..='\u{ff60}' | '\u{ffe0}'..='\u{ffe6}'
        | '\u{1f300}'..='\u{1faff}' | '\u{20000}'..='\u{3fffd}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_one_another() {
        for (text, padded_text) in
            [("ab", "ab    "), ("查流量", "查流量"), ("查a", "查a   "), ("longer than six", "longer than six")]
        {
            assert_eq!(padded(text, 6), padded_text);
        }
    }
}
