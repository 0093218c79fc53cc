//! Files of knowledge: every article can be shown as it is, and no file becomes much more than it was.

use pulldown_cmark::{Event, Parser};
use talkfleet::{
    fuzz::{self, Article, Reading},
    knowledge::{BODY_CHARS_MAX, ID_CHARS_MAX, QUESTION_CHARS_MAX, QUESTIONS_MAX, TITLE_CHARS_MAX, URL_CHARS_MAX},
};

use super::sentence;

/// How much larger a file may become: marks of Markdown are escaped, every line of a list is indented.
const GROWTH_MAX: usize = 16;
const GROWTH_BYTES: usize = 4_096;

pub(super) fn markdown(data: &[u8]) {
    read("a.md", data);
}

pub(super) fn html(data: &[u8]) {
    words_alone(read("a.html", data));
}

pub(super) fn text(data: &[u8]) {
    words_alone(read("a.txt", data));
}

pub(super) fn csv(data: &[u8]) {
    read("a.csv", data);
}

pub(super) fn jsonl(data: &[u8]) {
    read("a.jsonl", data);
}

pub(super) fn pdf(data: &[u8]) {
    words_alone(read("a.pdf", data));
}

fn read(path: &str, data: &[u8]) -> Vec<Article> {
    let reading = fuzz::article(path, data);
    assert_eq!(reading, fuzz::article(path, data), "the same file is read differently");
    match reading {
        Ok(Reading { articles, skipped }) => {
            articles.iter().for_each(shown);
            let bytes: usize = articles.iter().map(|article| article.body.len() + article.title.len()).sum();
            // A PDF is compressed; how much it may become is said by its reader.
            let grown = GROWTH_MAX * data.len() + GROWTH_BYTES;
            assert!(path.ends_with(".pdf") || bytes <= grown, "{} bytes became {bytes}", data.len());
            skipped.iter().for_each(|why| sentence(why, 600));
            articles
        }
        Err(why) => {
            sentence(&why, 600);
            Vec::new()
        }
    }
}

fn shown(article: &Article) {
    let Article { id, title, url, category: _, body, questions } = article;
    let id = id.as_deref().unwrap_or_default();
    assert!((1..=ID_CHARS_MAX).contains(&id.chars().count()) && !id.chars().any(char::is_control), "{id:?}");
    assert!(title.chars().count() <= TITLE_CHARS_MAX && !title.chars().any(char::is_control), "{title:?}");
    let web = url.starts_with("https://") || url.starts_with("http://");
    let path = url.starts_with('/') && !url.starts_with("//") && !url.starts_with("/\\");
    assert!(url.is_empty() || web || path, "{url:?}");
    assert!(url.len() <= URL_CHARS_MAX && !url.contains(char::is_whitespace), "{url:?}");
    assert!(body.chars().count() <= BODY_CHARS_MAX && body.chars().any(char::is_alphanumeric), "{body:?}");
    assert!(!body.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')), "{body:?}");
    assert!(questions.len() <= QUESTIONS_MAX);
    assert!(questions.iter().all(|question| (1..=QUESTION_CHARS_MAX).contains(&question.chars().count())));
}

/// What was no Markdown holds no HTML as Markdown either: words that look like a tag stay words.
fn words_alone(articles: Vec<Article>) {
    for article in articles {
        for event in Parser::new(&article.body) {
            assert!(!matches!(event, Event::Html(_) | Event::InlineHtml(_)), "{event:?} in {:?}", article.body);
        }
    }
}
