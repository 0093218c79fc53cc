//! One file to articles, by its kind; what a customer could be shown of them is checked here.

use super::{
    Article, BODY_CHARS_MAX, FoundFile, ID_CHARS_MAX, Isolation, Reading, TITLE_CHARS_MAX, URL_CHARS_MAX,
    decode::{check_lines, decode},
    html,
    markdown::{self, escape},
    pdf, shown, table,
};

/// The kinds of files that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Markdown,
    Html,
    Text,
    Csv,
    JsonLines,
    Pdf,
}

impl Kind {
    const ALL: [Self; 6] = [Self::Markdown, Self::Html, Self::Text, Self::Csv, Self::JsonLines, Self::Pdf];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Markdown => "markdown",
            Self::Html => "html",
            Self::Text => "text",
            Self::Csv => "csv",
            Self::JsonLines => "jsonl",
            Self::Pdf => "pdf",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// By the file's ending.
    fn of(path: &str) -> Result<Self, String> {
        let ending = path.rsplit_once('.').map(|(_, ending)| ending.to_lowercase()).unwrap_or_default();
        match ending.as_str() {
            "md" | "markdown" => Ok(Self::Markdown),
            "html" | "htm" | "xhtml" => Ok(Self::Html),
            "txt" | "text" => Ok(Self::Text),
            "csv" | "tsv" => Ok(Self::Csv),
            "jsonl" | "ndjson" => Ok(Self::JsonLines),
            "pdf" => Ok(Self::Pdf),
            "zip" | "gz" | "tgz" | "tar" | "7z" | "rar" | "bz2" | "xz" | "zst" => {
                Err("archives are not opened; unpack it first".into())
            }
            _ => Err("its ending is none of md, html, txt, csv, jsonl, pdf".into()),
        }
    }

    /// Whether its parser may take longer than a file of this size deserves.
    fn needs_sandbox(self) -> bool {
        matches!(self, Self::Html | Self::Pdf)
    }

    /// Reads a file within this process.
    pub(super) fn parse(self, bytes: &[u8]) -> Result<Reading, String> {
        match self {
            Self::Markdown => markdown::read(&decode(bytes)?).map(Reading::one),
            Self::Html => html::read(&decode(bytes)?).map(Reading::one),
            Self::Text => text(&decode(bytes)?).map(Reading::one),
            Self::Csv => table::read_csv(&decode(bytes)?),
            Self::JsonLines => table::read_jsonl(&decode(bytes)?),
            Self::Pdf => pdf::read(bytes).map(Reading::one),
        }
    }
}

/// Reads a file into articles with ids, titles and addresses that can be used; a file without any is refused.
pub(super) async fn read(file: &FoundFile, bytes: &[u8], isolation: &Isolation) -> Result<Reading, String> {
    let kind = Kind::of(&file.path)?;
    if bytes.is_empty() {
        return Err("it is empty".into());
    }
    let reading = match isolation {
        Isolation::Process { .. } if kind.needs_sandbox() => isolation.read(kind, bytes).await?,
        _ => kind.parse(bytes)?,
    };
    checked(&file.path, reading)
}

/// The same within this process, for what may do no harm to it.
pub(crate) fn read_here(path: &str, bytes: &[u8]) -> Result<Reading, String> {
    checked(path, Kind::of(path)?.parse(bytes)?)
}

/// Plain text: the first line is the title when it stands alone, else the file's name serves.
fn text(text: &str) -> Result<Article, String> {
    check_lines(text)?;
    let (title, text) = match text.trim().split_once("\n\n") {
        Some((first, rest)) if !first.contains('\n') && first.chars().count() <= TITLE_CHARS_MAX => {
            (first.trim(), rest)
        }
        _ => ("", text.trim()),
    };
    let mut body = String::with_capacity(text.len());
    escape(text, &mut body);
    Ok(Article { title: title.to_owned(), body, ..Article::default() })
}

fn checked(path: &str, reading: Reading) -> Result<Reading, String> {
    let alone = reading.articles.len() == 1 && reading.skipped.is_empty();
    let mut checked = Reading { skipped: reading.skipped, ..Reading::default() };
    for article in reading.articles {
        let named = article.id.clone().unwrap_or_default();
        match check(path, article) {
            Ok(article) => checked.articles.push(article),
            Err(why) if alone => return Err(why),
            Err(why) => checked.skipped.push(format!("'{}': {why}", shown(&named))),
        }
    }
    if checked.articles.is_empty() && checked.skipped.is_empty() {
        return Err("it holds no document".into());
    }
    Ok(checked)
}

fn check(path: &str, mut article: Article) -> Result<Article, String> {
    for text in [&mut article.body, &mut article.category].into_iter().chain(&mut article.questions) {
        // Escapes and entities bring back what decoding took out.
        text.retain(|c| !c.is_control() || matches!(c, '\n' | '\t'));
    }
    let stem = path.rsplit_once('.').map_or(path, |(stem, _)| stem);
    let id = match article.id {
        None => stem.to_owned(),
        Some(row) if row.starts_with('#') => format!("{stem}{row}"),
        Some(id) => id,
    };
    if id.is_empty() || id.chars().count() > ID_CHARS_MAX || id.chars().any(char::is_control) {
        return Err(format!(
            "its id or file name must hold 1 to {ID_CHARS_MAX} characters and no line break or control; rename it"
        ));
    }
    if !article.body.chars().any(char::is_alphanumeric) {
        return Err("it holds no text".into());
    }
    if article.body.chars().count() > BODY_CHARS_MAX {
        return Err(format!("it has more than {BODY_CHARS_MAX} characters; split it"));
    }
    if !is_address(&article.url) {
        return Err("its url is neither http(s)://… nor a path that begins with one '/'".into());
    }
    let name = stem.rsplit('/').next().unwrap_or(stem).replace(['-', '_'], " ");
    let title = if article.title.is_empty() { name } else { article.title };
    let title = title.chars().filter(|c| !c.is_control()).take(TITLE_CHARS_MAX).collect();
    Ok(Article { id: Some(id), title, ..article })
}

/// What may stand behind a citation: nothing, a web address, or a path on the company's own site. A browser takes `//`
/// and `/\` for another host.
fn is_address(url: &str) -> bool {
    let web = url.starts_with("https://") || url.starts_with("http://");
    let path = url.starts_with('/') && !url[1..].starts_with(['/', '\\']);
    let plain =
        url.len() <= URL_CHARS_MAX && !url.chars().any(|c| c.is_control() || c.is_whitespace() || "<>\"".contains(c));
    plain && (url.is_empty() || web || path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::knowledge::Content;

    async fn reading(path: &str, bytes: &[u8]) -> Result<Reading, String> {
        let file = FoundFile { path: path.into(), content: Content::Embedded(b"") };
        read(&file, bytes, &Isolation::InProcess).await
    }

    #[track_caller]
    fn one(reading: Result<Reading, String>) -> Article {
        reading.unwrap().articles.remove(0)
    }

    #[tokio::test]
    async fn a_document_is_named_after_its_file() {
        let article = one(reading("en/late-parcel.md", b"It comes tomorrow.").await);
        assert_eq!((article.id.as_deref(), article.title.as_str()), (Some("en/late-parcel"), "late parcel"));
        let article = one(reading("faq.csv", b"question,answer\nwhy?,because\n").await);
        assert!(article.id.unwrap().starts_with("faq#"));
        let article = one(reading("a.txt", "退货说明\n\n七天内可退。".as_bytes()).await);
        assert_eq!((article.title.as_str(), article.body.as_str()), ("退货说明", "七天内可退。"));
        let article = one(reading("a.md", b"---\nid: returns\n---\nx\n").await);
        assert_eq!(article.id.as_deref(), Some("returns"));
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_one_sentence() {
        for (path, bytes, part) in [
            ("a.md", b"".as_slice(), "empty"),
            ("a.md", b"---\n---\n\n", "no text"),
            ("a.md", b"PK\x03\x04\0\0", "NUL"),
            ("a.exe", b"MZ", "ending"),
            ("noending", b"x", "ending"),
            ("a.zip", b"PK", "unpack"),
            ("a.csv", b"question,answer\n", "no document"),
            ("a.md", b"---\nurl: javascript:alert(1)\n---\nx\n", "url"),
            ("a.pdf", b"%PDF-1.4", "PDF"),
        ] {
            let why = reading(path, bytes).await.unwrap_err();
            assert!(why.contains(part) && !why.contains('\n'), "{path}: {why}");
        }
        let bad_row = reading("a.csv", b"q,a,url\nx,y,//evil.example\nz,w,\n").await.unwrap();
        assert_eq!((bad_row.articles.len(), bad_row.skipped.len()), (1, 1));
    }

    #[test]
    fn only_web_addresses_and_paths_are_shown() {
        for url in ["", "/help", "/", "https://shop.example/a?b=1", "http://x"] {
            assert!(is_address(url), "{url}");
        }
        for url in
            ["//evil.example", "/\\evil.example", "javascript:x", "data:x", "help", "https://a b", "/a\nb", "/\"x"]
        {
            assert!(!is_address(url), "{url}");
        }
    }
}
