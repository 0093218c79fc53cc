//! Texts of strangers on a page: nothing in them is markup, and nothing in them stays unseen.

/// Characters that turn the direction of what follows, or that nobody sees: they are shown by their number.
pub fn is_hidden(c: char) -> bool {
    matches!(c, '\u{00AD}' | '\u{061C}' | '\u{180E}' | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}')
        || c.is_control() && !matches!(c, '\n' | '\t')
}

/// A text as the content of an element.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len() + text.len() / 8);
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\r' => {}
            c if is_hidden(c) => safe.push_str(&format!("<span class=hidden>U+{:04X}</span>", u32::from(c))),
            c => safe.push(c),
        }
    }
    safe
}

/// A text as the value of a quoted attribute, or as text in a drawing: hidden characters are left out.
pub fn attribute(text: &str) -> String {
    escaped(&text.chars().filter(|c| !is_hidden(*c)).collect::<String>())
}

/// A text that keeps its direction to itself.
pub fn isolated(text: &str) -> String {
    format!("<bdi>{}</bdi>", escaped(text))
}

/// A sentence whose names stand in backticks.
pub fn sentence(text: &str) -> String {
    let parts: Vec<&str> = text.split('`').collect();
    let mut safe = String::new();
    for (i, part) in parts.iter().enumerate() {
        match i % 2 {
            1 if i + 1 < parts.len() => safe.push_str(&format!("<code><bdi>{}</bdi></code>", escaped(part))),
            _ => safe.push_str(&escaped(part)),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_of_a_strangers_text_is_markup_or_unseen() {
        assert_eq!(escaped("<script>alert('1')</script>"), "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;");
        assert_eq!(escaped("a\u{202E}b\0"), "a<span class=hidden>U+202E</span>b<span class=hidden>U+0000</span>");
        assert_eq!(attribute("\"><b>\u{2066}"), "&quot;&gt;&lt;b&gt;");
        assert_eq!(sentence("intent `<i>` is new"), "intent <code><bdi>&lt;i&gt;</bdi></code> is new");
        assert_eq!(sentence("a ` b"), "a  b");
    }

    proptest! {
        #[test]
        fn no_text_opens_an_element_or_leaves_an_attribute(text in "\\PC{0,40}|[<>&\"'`a\u{202E}\u{2067}\\x00-\\x1f]{0,20}") {
            prop_assert!(!attribute(&text).contains(['<', '>', '"', '\'']));
            let own = ["<span class=hidden>", "</span>", "<code><bdi>", "</bdi></code>", "<bdi>", "</bdi>"];
            for safe in [escaped(&text), isolated(&text), sentence(&text)] {
                let rest = own.iter().fold(safe, |rest, markup| rest.replace(markup, ""));
                prop_assert!(!rest.contains(['<', '>', '"', '\'']), "{rest}");
                prop_assert!(!rest.chars().any(is_hidden), "{rest:?}");
            }
        }
    }
}
