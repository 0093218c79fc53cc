//! PDF to Markdown, page by page; what has no text in it (a scan) or is locked is refused by name.

use lopdf::{Document, Object};

use super::{Article, BODY_CHARS_MAX, markdown::escape};

/// The most pages of one file.
const PAGES_MAX: usize = 2_000;

/// Below this many letters on a page on average, the file is a scan.
const LETTERS_PER_PAGE_MIN: usize = 8;

/// Reads a PDF; run it in the sandbox only, for a hostile one can ask for any amount of time and memory.
pub(super) fn read(bytes: &[u8]) -> Result<Article, String> {
    let file = Document::load_mem(bytes).map_err(|error| format!("it is no readable PDF ({error}); print it anew"))?;
    if file.is_encrypted() {
        return Err("it is encrypted; save it without a password".into());
    }
    let pages = file.get_pages();
    if pages.len() > PAGES_MAX {
        return Err(format!("it has {} pages and at most {PAGES_MAX} are read; split it", pages.len()));
    }
    let mut body = String::new();
    let mut unreadable = 0;
    for page in pages.keys() {
        match file.extract_text(&[*page]) {
            Ok(text) => paragraphs(&text, &mut body),
            Err(_) => unreadable += 1,
        }
        if body.len() > BODY_CHARS_MAX * 4 {
            return Err("it holds more text than one document may; split it".into());
        }
    }
    let letters = body.chars().filter(|c| c.is_alphabetic()).count();
    if unreadable == pages.len() || letters < LETTERS_PER_PAGE_MIN * pages.len().max(1) {
        return Err("no text can be read from it; it may be a scan, so run it through text recognition first".into());
    }
    Ok(Article { title: title(&file).unwrap_or_default(), body, ..Article::default() })
}

/// Lines of a page: an empty one ends a paragraph, and a word that was cut at a line's end is whole again.
fn paragraphs(page: &str, body: &mut String) {
    for line in page.lines().map(str::trim) {
        if line.is_empty() {
            if !body.is_empty() && !body.ends_with("\n\n") {
                body.push_str("\n\n");
            }
        } else if body.ends_with('-') && line.starts_with(char::is_lowercase) {
            body.pop();
            escape(line, body);
        } else {
            if !body.is_empty() && !body.ends_with('\n') {
                body.push('\n');
            }
            escape(&line.replace(char::is_control, ""), body);
        }
    }
    if !body.is_empty() && !body.ends_with("\n\n") {
        body.push_str("\n\n");
    }
}

fn title(file: &Document) -> Option<String> {
    let info = match file.trailer.get(b"Info").ok()? {
        Object::Reference(id) => file.get_dictionary(*id).ok()?,
        Object::Dictionary(info) => info,
        _ => return None,
    };
    let title = lopdf::decode_text_string(info.get(b"Title").ok()?).ok()?;
    Some(title.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
pub(super) mod tests {
    use lopdf::{
        Stream,
        content::{Content, Operation},
        dictionary,
    };

    use super::*;

    /// A one-page PDF with a line of text.
    pub(in super::super) fn sample(line: &str) -> Vec<u8> {
        let mut file = Document::with_version("1.5");
        let pages = file.new_object_id();
        let font = file.add_object(dictionary! { "Type" => "Font", "Subtype" => "Type1", "BaseFont" => "Courier" });
        let resources = file.add_object(dictionary! { "Font" => dictionary! { "F1" => font } });
        let content = Content {
            operations: vec![
                Operation::new("BT", vec![]),
                Operation::new("Tf", vec!["F1".into(), 12.into()]),
                Operation::new("Td", vec![50.into(), 700.into()]),
                Operation::new("Tj", vec![Object::string_literal(line)]),
                Operation::new("ET", vec![]),
            ],
        };
        let content = file.add_object(Stream::new(dictionary! {}, content.encode().unwrap()));
        let page = file.add_object(dictionary! { "Type" => "Page", "Parent" => pages, "Contents" => content });
        let tree = dictionary! {
            "Type" => "Pages", "Kids" => vec![page.into()], "Count" => 1, "Resources" => resources,
            "MediaBox" => vec![0.into(), 0.into(), 595.into(), 842.into()],
        };
        file.objects.insert(pages, Object::Dictionary(tree));
        let catalog = file.add_object(dictionary! { "Type" => "Catalog", "Pages" => pages });
        let info = file.add_object(dictionary! { "Title" => Object::string_literal("Our  terms") });
        file.trailer.set("Root", catalog);
        file.trailer.set("Info", info);
        let mut bytes = Vec::new();
        file.save_to(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn words_and_title_come_out() {
        let article = read(&sample("You may return shoes within 30 days.")).unwrap();
        assert_eq!(article.title, "Our terms");
        assert_eq!(article.body.trim(), "You may return shoes within 30 days.");
    }

    #[test]
    fn what_is_broken_or_a_scan_is_refused() {
        assert!(read(b"").unwrap_err().contains("no readable PDF"));
        assert!(read(b"%PDF-1.7 nothing follows").unwrap_err().contains("no readable PDF"));
        assert!(read(&sample("")).unwrap_err().contains("scan"));
        let whole = sample("You may return shoes within 30 days.");
        for cut in (0..whole.len()).step_by(37) {
            let _ = read(&whole[..cut]);
        }
    }

    #[test]
    fn a_cut_word_is_whole_again() {
        let mut body = String::new();
        paragraphs("you may re-\nturn it\n\n\nnext\u{7}", &mut body);
        assert_eq!(body, "you may return it\n\nnext\n\n");
    }
}
