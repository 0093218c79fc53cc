//! The demo: a shop's help centre and its intents, compiled in, loaded when they are new and left alone when they are not.

use std::{path::Path, sync::Arc, time::Instant};

use anyhow::{Context, Result};
use include_dir::{Dir, include_dir};
use talkfleet_shared::{bus::Bus, id::TenantId, topology};
use talkfleet_worker::{
    catalog::{self, IntentsArtefact},
    encoder::{Encoder, Encoders},
    intent,
    store::Store,
};

use crate::{
    engines::Progress,
    knowledge::{self, AddOptions, Content, Folder, FoundFile, Isolation},
};

static ARTICLES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../../schemas/demo/knowledge");
const STYLE: &str = include_str!("site.css");
const INTENTS: &str = include_str!("../../../../schemas/demo/intents.yaml");

/// What the demo is loaded into.
pub struct Target<'a> {
    pub bus: &'a Bus,
    pub store: &'a Store,
    pub tenant: &'a TenantId,
    /// The folders with the encoders' weights; the transformer may be missing.
    pub encoder: &'a Path,
    pub transformer: Option<&'a Path>,
    /// Where the articles are written as pages, for the links of citations.
    pub site: &'a Path,
}

/// Loads what is new of the demo.
pub async fn load(target: &Target<'_>, progress: &dyn Progress) -> Result<()> {
    let encoders = Encoders::load(Some(target.encoder), target.transformer)?;
    load_articles(target, encoders.multilingual.clone(), progress).await?;
    load_intents(target, encoders, progress).await
}

async fn load_articles(target: &Target<'_>, encoder: Option<Arc<Encoder>>, progress: &dyn Progress) -> Result<()> {
    let mut files = Vec::new();
    collect(&ARTICLES, &mut files);
    let folder = Folder { root: "demo".into(), files, complete: true, ..Folder::default() };
    let options = AddOptions { encoder, isolation: Isolation::InProcess, prune: true };
    let summary = knowledge::add(target.store, target.tenant, &[folder], &options, &mut |_| {}).await?;
    for skipped in &summary.skipped {
        progress.line(&format!("the demo's {}: {}", skipped.file, skipped.why));
    }
    let changed = summary.added + summary.changed + summary.removed;
    if changed > 0 {
        progress.line(&format!("loaded {changed} help articles"));
    }
    write_pages(target.site)?;
    catalog::publish_knowledge(target.bus, target.store, target.tenant).await?;
    Ok(())
}

/// Writes each article as a page under its own address.
fn write_pages(site: &Path) -> Result<()> {
    let mut files = Vec::new();
    collect(&ARTICLES, &mut files);
    std::fs::create_dir_all(site).with_context(|| format!("{} cannot be made", site.display()))?;
    std::fs::write(site.join("site.css"), STYLE)?;
    for file in &files {
        let Content::Embedded(bytes) = file.content else { continue };
        let article = knowledge::read_markdown(&String::from_utf8_lossy(bytes)).map_err(anyhow::Error::msg)?;
        let folder = site.join(article.url.trim_start_matches('/'));
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("index.html"), page(&article.title, &article.body))?;
    }
    Ok(())
}

/// An article as a page; ours are trusted, so their Markdown is rendered as it stands.
fn page(title: &str, body: &str) -> String {
    let mut html = String::new();
    pulldown_cmark::html::push_html(&mut html, pulldown_cmark::Parser::new(body));
    format!(
        "<!doctype html><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
         <link rel=\"stylesheet\" href=\"/site.css\"><main><p><a href=\"/\">Harbor Lane</a></p><h1>{title}</h1>{html}</main>\n"
    )
}

fn collect(folder: &'static Dir<'static>, into: &mut Vec<FoundFile>) {
    for file in folder.files() {
        let path = file.path().display().to_string();
        into.push(FoundFile { path, content: Content::Embedded(file.contents()) });
    }
    folder.dirs().for_each(|inner| collect(inner, into));
}

/// Trains the demo's intents unless the same file was trained before by the same build.
async fn load_intents(target: &Target<'_>, encoders: Encoders, progress: &dyn Progress) -> Result<()> {
    let (key, mark) = (format!("demo.{}", target.tenant), mark(&encoders));
    let trained = target.bus.get(topology::CATALOG, &key).await?.and_then(|entry| entry.value);
    if trained.as_deref() == Some(mark.as_bytes()) {
        return Ok(());
    }
    let since = Instant::now();
    let set = intent::parse(INTENTS).context("the demo's intents")?;
    let (artefact, examples) = tokio::task::spawn_blocking(move || {
        let model = intent::train(&set, &encoders, &mut |_| {})?;
        anyhow::Ok((IntentsArtefact::new(&set, &model)?, set.examples.len()))
    })
    .await??;
    catalog::publish_intents(target.bus, target.tenant, &artefact).await?;
    target.bus.put(topology::CATALOG, &key, mark.into()).await?;
    progress.line(&format!(
        "trained {} intents from {examples} examples in {:.1} s",
        artefact.intents.len(),
        since.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// Names the file, the build that trained it, and what it was trained with.
fn mark(encoders: &Encoders) -> String {
    let with = if encoders.transformer.is_some() { "with" } else { "without" };
    let digest = talkfleet_shared::bus::digest(INTENTS.as_bytes());
    format!("{} layout {} {with} the transformer {digest}", env!("CARGO_PKG_VERSION"), intent::ARTEFACT_VERSION)
}
