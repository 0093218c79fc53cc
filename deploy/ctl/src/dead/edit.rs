//! `talkfleet dead edit`: a dead letter mended, by words on the command line, from a file, or in an editor.

use std::{
    io::{IsTerminal, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};
use talkfleet_shared::{
    bus::Dead,
    chat::Ask,
    envelope::{self, Format},
    header,
};

use super::{confirmed, group::Body, show};
use crate::{
    audit::{Deed, noted},
    connect::Output,
};

/// What an ask may hold.
const FIELDS: [&str; 5] = ["text", "user", "channel", "history", "metadata"];

/// Mend a dead letter: the edited message is checked as an ask and takes the letter's place under a new number.
///
/// Without --set or --file the message opens in $VISUAL or $EDITOR. Nothing is stored unless the message is one that the
/// desk can read; `talkfleet dead redrive` asks it again.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Its number, as `list` shows it
    id: u64,
    /// One field, such as --set text="Where is my parcel?" or --set metadata.page=/orders; may be repeated
    #[arg(long, value_name = "FIELD=VALUE", value_parser = parse_set, conflicts_with = "file")]
    set: Vec<(String, String)>,
    /// The whole message as JSON; `-` reads standard input
    #[arg(long, value_name = "F")]
    file: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let bus = args.output.connect.bus().await?;
    let dead = show::one(&bus, args.id).await?;
    if dead.head.asked_in().is_none() {
        bail!("dead letter {} is no customer's message, so there is nothing to mend in it", args.id);
    }
    let ask = match (&args.file, args.set.is_empty()) {
        (Some(file), _) => checked(&parse(&read(file)?)?)?,
        (None, false) => checked(&with(value_of(&dead), &args.set)?)?,
        (None, true) => in_editor(&value_of(&dead))?,
    };
    let mend = async { Ok(bus.mend_dead(&dead, &ask).await?) };
    let id = noted(&args.output.connect, Deed::new("dead.edit").on(args.id), mend).await?;
    match args.output.json {
        true => println!("{}", json!({ "id": id, "was": args.id })),
        false => println!("dead letter {} is mended and is now {id}; `talkfleet dead redrive {id}` asks it", args.id),
    }
    Ok(ExitCode::SUCCESS)
}

fn parse_set(text: &str) -> Result<(String, String), String> {
    let (field, value) = text.split_once('=').ok_or("write it as field=value, such as text=Hello")?;
    let top = field.split('.').next().unwrap_or_default();
    if !FIELDS.contains(&top) || (field != top && top != "metadata") {
        return Err(format!("'{field}' is no field of a message; there are {}, and metadata.NAME", FIELDS.join(", ")));
    }
    Ok((field.to_owned(), value.to_owned()))
}

/// What is in the letter; of one that cannot be read at all, nothing.
fn value_of(dead: &Dead) -> Value {
    match Body::of(dead.head.header(header::CONTENT_TYPE), &dead.body) {
        Body::Message(value @ Value::Object(_)) => value,
        Body::Message(_) | Body::Text(_) | Body::Hex(_) => json!({}),
    }
}

fn with(mut value: Value, set: &[(String, String)]) -> Result<Value> {
    for (field, text) in set {
        match field.split_once('.') {
            Some((top, name)) => {
                if !value[top].is_object() {
                    value[top] = json!({});
                }
                value[top][name] = text.as_str().into();
            }
            None if matches!(field.as_str(), "history" | "metadata") => value[field.as_str()] = parse(text)?,
            None => value[field.as_str()] = text.as_str().into(),
        }
    }
    Ok(value)
}

fn parse(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|error| anyhow!("this is no JSON: {error}"))
}

fn read(file: &Path) -> Result<String> {
    let mut text = String::new();
    match file == Path::new("-") {
        true => std::io::stdin().read_to_string(&mut text).map(drop),
        false => std::fs::read_to_string(file).map(|read| text = read),
    }
    .with_context(|| format!("{} cannot be read", file.display()))?;
    Ok(text)
}

/// The message as an ask, as strictly as a worker would read it; an error names the field.
fn checked(value: &Value) -> Result<Ask> {
    let decode = |value: &Value| envelope::decode::<Ask>(&serde_json::to_vec(value).unwrap_or_default(), Format::Json);
    let error = match decode(value) {
        Ok(ask) => return Ok(ask),
        Err(error) => error,
    };
    // Each field alone beside a sound text: the one that is refused there is the wrong one.
    let refused = |field: &&str| {
        let mut alone = json!({ "text": "a" });
        alone[*field] = value.get(*field)?.clone();
        decode(&alone).err().map(|error| format!("field `{field}`: {error}"))
    };
    let why = FIELDS.iter().find_map(refused).unwrap_or_else(|| error.to_string());
    let why = why.rsplit_once(" at line ").map_or(why.as_str(), |(why, _)| why);
    bail!("the message is no ask, and nothing was stored: {why}")
}

/// The message that an edited text becomes, as it is stored.
pub(crate) fn edited(text: &str) -> Result<Vec<u8>> {
    Ok(envelope::encode(&checked(&parse(text)?)?, Format::Json)?.to_vec())
}

/// Opens the message in an editor until it is sound or given up.
fn in_editor(value: &Value) -> Result<Ask> {
    let set = |name| std::env::var(name).ok().filter(|editor| !editor.trim().is_empty());
    let editor = set("VISUAL")
        .or_else(|| set("EDITOR"))
        .context("say how to mend it: --set FIELD=VALUE, --file F, or $EDITOR")?;
    let mut file = tempfile::Builder::new().prefix("dead-letter-").suffix(".json").tempfile()?;
    file.write_all(serde_json::to_string_pretty(value)?.as_bytes())?;
    file.flush()?;
    loop {
        let run = format!("{editor} \"$0\"");
        let status = std::process::Command::new("sh").args(["-c", &run]).arg(file.path()).status();
        if !status.with_context(|| format!("'{editor}' cannot be run"))?.success() {
            bail!("the editor gave up, so nothing was stored");
        }
        match std::fs::read_to_string(file.path()).map_err(Into::into).and_then(|text| checked(&parse(&text)?)) {
            Ok(ask) => return Ok(ask),
            Err(error) if std::io::stdin().is_terminal() => {
                eprintln!("talkfleet: {error}");
                if !confirmed("Edit again", false)? {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(value: Value, what: &str) {
        let why = checked(&value).unwrap_err().to_string();
        assert!(why.contains(what), "{why}");
    }

    #[test]
    fn what_is_no_ask_is_refused_by_the_name_of_its_field() {
        refused(json!({}), "missing field `text`");
        refused(json!({ "text": "" }), "field `text`: the body does not have the documented shape: the text is empty");
        refused(json!({ "text": "a", "user": "a b" }), "field `user`");
        refused(json!({ "text": "a", "history": [{ "question": 1 }] }), "field `history`");
        refused(json!([]), "no ask");
        assert_eq!(checked(&json!({ "text": " a " })).unwrap().text.as_str(), "a");
    }

    #[test]
    fn fields_are_set_by_name() {
        let set = |text: &str| parse_set(text).unwrap();
        let value = with(json!({}), &[set("text=a=b"), set("metadata.page=/x"), set("history=[]")]).unwrap();
        assert_eq!(value, json!({ "text": "a=b", "metadata": { "page": "/x" }, "history": [] }));
        for wrong in ["text", "txet=a", "text.a=b", "=a"] {
            assert!(parse_set(wrong).is_err(), "{wrong}");
        }
    }
}
