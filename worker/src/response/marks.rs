//! PURE: a model's text on its way to the customer: `[1]` becomes a citation, links to hosts that nobody vouched for go.

use std::collections::BTreeSet;

/// The longest mark or link that is waited for; what grows beyond is text.
const HELD_BYTES_MAX: usize = 512;

/// Reads a stream of words; whatever may still become a mark or a link is held back until that is clear.
#[derive(Debug)]
pub struct Marks {
    passages: usize,
    hosts: Vec<String>,
    held: String,
    used: BTreeSet<usize>,
}

/// What the held text begins with.
enum Start {
    /// Nothing can be said before more was read.
    Open,
    /// A mark or link of so many bytes, and what stands in its place.
    Token(usize, String),
    /// Plain text of so many bytes.
    Text(usize),
}

impl Marks {
    /// For an answer from so many passages, which may link to `hosts` only.
    pub fn new(passages: usize, hosts: Vec<String>) -> Self {
        Self { passages, hosts, held: String::new(), used: BTreeSet::new() }
    }

    /// More words came in; what is certain comes out.
    pub fn push(&mut self, words: &str) -> String {
        self.held.push_str(words);
        self.read(false)
    }

    /// No more words will come.
    pub fn finish(&mut self) -> String {
        self.read(true)
    }

    /// The passages that were marked, from 0, in their order.
    pub fn used(&self) -> impl Iterator<Item = usize> + '_ {
        self.used.iter().copied()
    }

    fn read(&mut self, ended: bool) -> String {
        let mut out = String::new();
        loop {
            let plain = certain(&self.held, ended);
            out.push_str(&self.held[..plain]);
            self.held.drain(..plain);
            if self.held.is_empty() {
                return out;
            }
            let blanks = self.held.len() - self.held.trim_start_matches(' ').len();
            let give_up = ended || self.held.len() > HELD_BYTES_MAX;
            match self.start(blanks, give_up) {
                Start::Open => return out,
                Start::Text(bytes) => {
                    out.push_str(&self.held[..bytes]);
                    self.held.drain(..bytes);
                }
                Start::Token(bytes, instead) => {
                    // A removed mark takes the blank before it along: "two days [1]." → "two days."
                    if !instead.is_empty() {
                        out.push_str(&self.held[..blanks]);
                        out.push_str(&instead);
                    }
                    self.held.drain(..bytes);
                }
            }
        }
    }

    fn start(&mut self, blanks: usize, give_up: bool) -> Start {
        let rest = &self.held[blanks..];
        let unclear = |bytes: usize| if give_up { Start::Text(blanks + bytes) } else { Start::Open };
        if !rest.is_empty() && "http".starts_with(rest) {
            return unclear(rest.len());
        }
        if rest.starts_with("http") {
            return match url_end(rest, give_up) {
                _ if !give_up && "https://".starts_with(rest) => Start::Open,
                _ if !(rest.starts_with("http://") || rest.starts_with("https://")) => Start::Text(blanks + 4),
                Some(end) => Start::Token(blanks + end, self.vouched(&rest[..end]).unwrap_or_default().to_owned()),
                None => Start::Open,
            };
        }
        let image = rest.starts_with('!');
        let bracket = usize::from(image);
        match rest[bracket..].chars().next() {
            Some('[') => {}
            // Blanks, or an exclamation mark, at the very end: more may follow.
            None => return unclear(rest.len()),
            Some(_) => return Start::Text(blanks + bracket.max(1).min(rest.len())),
        }
        let Some(close) = rest.find(']') else { return unclear(bracket + 1) };
        let label = rest[bracket + 1..close].to_owned();
        match rest[close + 1..].chars().next() {
            Some('(') => {
                let Some(end) = rest[close..].find(')').map(|at| close + at) else { return unclear(bracket + 1) };
                let kept = self.vouched(&rest[close + 2..end]).is_some();
                let instead = match (kept, image) {
                    (true, _) => rest[..=end].to_owned(),
                    (false, true) => String::new(),
                    (false, false) => label,
                };
                Start::Token(blanks + end + 1, instead)
            }
            None if !give_up => Start::Open,
            _ => match self.passages_of(&label) {
                Some(passages) if !image => {
                    self.used.extend(passages);
                    Start::Token(blanks + close + 1, String::new())
                }
                _ => Start::Text(blanks + close + 1),
            },
        }
    }

    /// `1` or `1, 3`, of passages that exist.
    fn passages_of(&self, label: &str) -> Option<Vec<usize>> {
        let numbers = label.split([',', '，', '、']).map(|number| number.trim().parse::<usize>().ok());
        let passages: Option<Vec<usize>> = numbers.map(|n| n?.checked_sub(1).filter(|n| *n < self.passages)).collect();
        passages.filter(|passages| !passages.is_empty())
    }

    fn vouched<'a>(&self, url: &'a str) -> Option<&'a str> {
        let host = host(url)?;
        self.hosts.iter().any(|known| known == host).then_some(url)
    }
}

/// The host of an address, with its port; nothing before an `@` can pass for it.
pub fn host(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    Some(authority.rsplit('@').next().unwrap_or(authority)).filter(|host| !host.is_empty())
}

/// Bytes at the front that no mark or link can begin in.
fn certain(text: &str, ended: bool) -> usize {
    let trigger = [text.find('['), text.find("!["), text.find("http")].into_iter().flatten().min();
    let mut bytes = trigger.unwrap_or(text.len());
    if trigger.is_none() && !ended {
        let tail = ["htt", "ht", "h", "!"].into_iter().find(|tail| text.ends_with(tail)).map_or(0, str::len);
        bytes -= tail;
    }
    if trigger.is_none() && ended { bytes } else { text[..bytes].trim_end_matches(' ').len() }
}

fn url_end(text: &str, ended: bool) -> Option<usize> {
    let stops = |c: char| c.is_whitespace() || !c.is_ascii() || matches!(c, ')' | ']' | '>' | '"' | '\'');
    text.find(stops).or(ended.then_some(text.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn marks() -> Marks {
        Marks::new(3, vec!["shop.example".into()])
    }

    #[track_caller]
    fn check(text: &str, expected: &str, used: &[usize]) {
        // However it is cut into pieces, the outcome is the same.
        for size in [1, 2, 3, 7, text.len().max(1)] {
            let mut marks = marks();
            let mut out = String::new();
            let chars: Vec<char> = text.chars().collect();
            for piece in chars.chunks(size) {
                out += &marks.push(&piece.iter().collect::<String>());
            }
            out += &marks.finish();
            assert_eq!(
                (out.as_str(), marks.used().collect::<Vec<_>>()),
                (expected, used.to_vec()),
                "{text:?} by {size}"
            );
        }
    }

    #[test]
    fn marks_become_citations() {
        check("It takes two days [1]. Refunds [2, 3] too[1].", "It takes two days. Refunds too.", &[0, 1, 2]);
        check("两天[1][3]。", "两天。", &[0, 2]);
        check("See [4] and [a] and [.", "See [4] and [a] and [.", &[]);
    }

    #[test]
    fn only_links_to_known_hosts_stay() {
        check("[help](https://shop.example/a) now", "[help](https://shop.example/a) now", &[]);
        check("[help](https://evil.example/a) now", "help now", &[]);
        check("![x](https://evil.example/?q=1) a", " a", &[]);
        check("go to https://evil.example/x now", "go to now", &[]);
        check("go to https://shop.example@evil.example/x", "go to", &[]);
        check("go to https://shop.example/x now", "go to https://shop.example/x now", &[]);
        check("the http word, oh! h", "the http word, oh! h", &[]);
    }

    proptest! {
        #[test]
        fn plain_text_passes_untouched(text in "[a-gi-z0-9 .!?\\u{4e00}-\\u{4e20}]{0,80}", size in 1usize..9) {
            let mut marks = marks();
            let chars: Vec<char> = text.chars().collect();
            let mut out: String = chars.chunks(size).map(|piece| marks.push(&piece.iter().collect::<String>())).collect();
            out += &marks.finish();
            prop_assert_eq!(out, text);
        }

        #[test]
        fn nothing_is_held_for_ever(pieces in prop::collection::vec(".{0,9}|\\[|\\]|\\(|\\)|!|http://|\\[1\\]", 0..40)) {
            let mut marks = marks();
            for piece in pieces {
                marks.push(&piece);
                prop_assert!(marks.held.len() <= HELD_BYTES_MAX + 64);
            }
            marks.finish();
            prop_assert!(marks.held.is_empty());
        }
    }
}
