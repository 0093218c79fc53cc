//! Markdown with its front matter.

use std::collections::BTreeMap;

use pulldown_cmark::{Event, HeadingLevel, Parser, Tag, TagEnd};

use serde_json::Value;

use super::{Article, QUESTION_CHARS_MAX, QUESTIONS_MAX, decode::check_lines};

/// Reads an article; its title is the front matter's, else that of a first heading, else empty.
pub(crate) fn read(text: &str) -> Result<Article, String> {
    check_lines(text)?;
    let (matter, body) = front_matter(text)?;
    let field = |name: &str| matter.get(name).and_then(word);
    let heading = first_heading(body);
    let title = field("title").or_else(|| heading.as_ref().map(|(words, _)| words.clone())).unwrap_or_default();
    // A first heading that only repeats the title would be quoted as if it were a sentence.
    let body = match heading {
        Some((words, rest)) if words == title => rest,
        _ => body,
    };
    Ok(Article {
        id: field("id"),
        url: field("url").unwrap_or_default(),
        category: field("category").unwrap_or_default(),
        body: body.trim().to_owned(),
        questions: matter.get("questions").map_or(Ok(Vec::new()), questions)?,
        title,
    })
}

/// The words of a heading of the first level that the text begins with, and what follows it.
fn first_heading(body: &str) -> Option<(String, &str)> {
    let mut events = Parser::new(body).into_offset_iter();
    let (Event::Start(Tag::Heading { level: HeadingLevel::H1, .. }), place) = events.next()? else { return None };
    let words =
        events.take_while(|(event, _)| !matches!(event, Event::End(TagEnd::Heading(_)))).filter_map(|(event, _)| {
            match event {
                Event::Text(text) | Event::Code(text) => Some(text.into_string()),
                Event::SoftBreak => Some(" ".into()),
                _ => None,
            }
        });
    Some((words.collect::<String>().trim().to_owned(), &body[place.end..]))
}

/// Plain text as Markdown: what would be a mark is a character.
pub(super) fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        if matches!(c, '\\' | '*' | '_' | '`' | '[' | ']' | '<' | '>' | '&' | '~' | '|') {
            out.push('\\');
        }
        out.push(c);
    }
}

/// The pairs between two lines of `---` on top; other tools keep more there than we read, so unknown ones pass.
fn front_matter(text: &str) -> Result<(BTreeMap<String, Value>, &str), String> {
    let Some(rest) = text.strip_prefix("---\n") else { return Ok((BTreeMap::new(), text)) };
    let Some((matter, body)) = rest.split_once("\n---\n").or_else(|| Some((rest.strip_suffix("\n---")?, ""))) else {
        // A rule on top and none below is Markdown.
        return Ok((BTreeMap::new(), text));
    };
    let pairs: BTreeMap<String, Value> = serde_saphyr::from_str(matter).map_err(|error| match error.location() {
        Some(location) => format!("its front matter is no YAML at line {}", location.line() + 1),
        None => "its front matter is no YAML".into(),
    })?;
    Ok((pairs.into_iter().map(|(key, value)| (key.to_lowercase(), value)).collect(), body))
}

fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// How customers ask, a list of texts. A mistake is named: left out silently, the article would just be found less.
fn questions(value: &Value) -> Result<Vec<String>, String> {
    let Value::Array(list) = value else {
        return Err("its 'questions' are no list; write one a line after '- '".into());
    };
    let texts: Option<Vec<String>> = list.iter().map(|one| word(one).filter(|text| !text.is_empty())).collect();
    let texts = texts.ok_or("one of its 'questions' is no text; put it into quotation marks")?;
    if texts.len() > QUESTIONS_MAX {
        return Err(format!("it has more than {QUESTIONS_MAX} 'questions'; keep those that differ most"));
    }
    if texts.iter().any(|text| text.chars().count() > QUESTION_CHARS_MAX) {
        return Err(format!("one of its 'questions' is longer than {QUESTION_CHARS_MAX} characters; shorten it"));
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_article_and_its_fields() {
        let text = "---\ntitle: \"Returns: how?\"\nurl: /help/returns\ncategory: returns\ntags: [a, b]\n---\n# Returns: *how?*\n\nSend it **back**.\n";
        let article = read(text).unwrap();
        assert_eq!(
            (article.title.as_str(), article.url.as_str(), article.category.as_str()),
            ("Returns: how?", "/help/returns", "returns")
        );
        assert_eq!(article.body, "Send it **back**.");
        assert_eq!(read("---\ntitle: A\n---\n# B\nx").unwrap().body, "# B\nx");
    }

    #[test]
    fn customers_questions_are_a_list_of_texts() {
        let article = read("---\ntitle: A\nquestions:\n  - \"how: much?\"\n  - 退货 要多久\n---\nx\n").unwrap();
        assert_eq!(article.questions, ["how: much?", "退货 要多久"]);
        assert!(read("---\ntitle: A\n---\nx").unwrap().questions.is_empty());
        let long = "a".repeat(QUESTION_CHARS_MAX + 1);
        let many = "  - a\n".repeat(QUESTIONS_MAX + 1);
        for (list, part) in [
            (" how", "no list"),
            ("\n  - [a]", "no text"),
            ("\n  - \"\"", "no text"),
            (&format!("\n  - {long}"), "longer"),
            (&format!("\n{many}"), "more than"),
        ] {
            let why = read(&format!("---\nquestions:{list}\n---\nx\n")).unwrap_err();
            assert!(why.contains(part), "{list}: {why}");
        }
    }

    #[test]
    fn an_escaped_text_is_read_back_as_it_was() {
        let text = r"1 < 2 & a*b_c*d `e` [f](g) \ <b>h</b> i|j ~k~";
        let mut markdown = String::new();
        escape(text, &mut markdown);
        let words = Parser::new(&markdown).filter_map(|event| match event {
            Event::Text(text) => Some(text.into_string()),
            _ => None,
        });
        assert_eq!(words.collect::<String>(), text);
    }

    #[test]
    fn the_title_is_found_without_front_matter() {
        let article = read("# 怎么退货？\n\n七天内可退。\n").unwrap();
        assert_eq!((article.title.as_str(), article.body.as_str()), ("怎么退货？", "七天内可退。"));
        assert_eq!(read("---\n\ntext").unwrap().body, "---\n\ntext");
        assert_eq!(read("---\ntitle: 7\n---").unwrap().title, "7");
    }

    #[test]
    fn front_matter_that_is_no_yaml_is_named() {
        assert!(read("---\ntitle: [\n---\nx\n").unwrap_err().contains("front matter"));
        let bomb = "---\na: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f,*f,*f,*f,*f,*f]\n---\nx\n";
        let started = std::time::Instant::now();
        let _ = read(bomb);
        assert!(started.elapsed().as_secs() < 5);
    }

    #[test]
    fn deep_nesting_ends() {
        assert!(read(&"> ".repeat(50_000)).is_ok());
        assert!(read(&"[".repeat(50_000)).is_ok());
    }
}
