//! `talkfleet conversation`: who owns one, the bot or a person; whoever takes it stops the bot in mid-answer.

use std::{process::ExitCode, time::SystemTime};

use anyhow::Result;
use serde::Serialize;
use serde_json::json;
use talkfleet_shared::{
    bus::Bus,
    chat::{Outcome, TurnRecord},
    id::{ConversationId, TenantId},
    owner::{self, Owner, OwnerRecord},
    topology,
};

use crate::{
    audit::{Deed, noted},
    connect::About,
};

/// Turns that whoever takes a conversation over is told: what fits on a screen beside the summary.
const TURNS_TOLD: usize = 4;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Who owns a conversation
    Owner {
        #[command(flatten)]
        which: Which,
    },
    /// Take a conversation over: the bot stops at once and only says that a colleague is there; tells what it is about
    Take {
        #[command(flatten)]
        which: Which,
        /// Who takes it
        #[arg(long, default_value = "a colleague")]
        name: String,
    },
    /// Give a conversation back to the bot
    Release {
        #[command(flatten)]
        which: Which,
    },
}

/// Which conversation is meant.
#[derive(Debug, clap::Args)]
pub(crate) struct Which {
    /// The conversation, as answers name it
    #[arg(value_parser = parse_conversation)]
    conversation: ConversationId,
    #[command(flatten)]
    about: About,
}

/// An owner with the revision that a turn notes; 0 when nobody ever took the conversation.
pub(crate) struct Now {
    owner: Owner,
    since_ms: Option<u64>,
    revision: u64,
}

/// What a conversation is about, for whoever takes it over.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Story {
    /// As it was written when the bot handed over last; None while it did not, or longer ago than turns are kept.
    summary: Option<String>,
    /// The last turns, oldest first.
    turns: Vec<Said>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Said {
    customer: String,
    /// None for a turn without an answer.
    bot: Option<String>,
}

impl Story {
    /// Of these records, oldest first.
    fn of(mut records: Vec<TurnRecord>) -> Self {
        let summary = records.iter().rev().find_map(|record| record.summary.clone());
        let last = records.split_off(records.len().saturating_sub(TURNS_TOLD));
        let said = |record: TurnRecord| Said {
            customer: record.ask.text.into(),
            bot: match record.outcome {
                Outcome::Answered { answer } => Some(answer.text),
                Outcome::Cancelled { text, .. } => Some(text).filter(|text| !text.is_empty()),
                Outcome::Failed { .. } | Outcome::Expired { .. } => None,
            },
        };
        Self { summary, turns: last.into_iter().map(said).collect() }
    }

    fn lines(&self) -> Vec<String> {
        let summary = self.summary.iter().map(|summary| format!("\nwhat the bot noted:\n{summary}"));
        let turns = self.turns.iter().map(|said| {
            format!("\ncustomer: {}\nbot: {}", said.customer, said.bot.as_deref().unwrap_or("(no answer)"))
        });
        summary.chain(turns).collect()
    }
}

fn parse_conversation(text: &str) -> Result<ConversationId, String> {
    ConversationId::parse(text).map_err(|error| format!("a conversation's name {error}"))
}

pub(crate) async fn run(command: Command) -> Result<ExitCode> {
    let (which, wanted) = match command {
        Command::Owner { which } => (which, None),
        Command::Take { which, name } => (which, Some(Owner::Human { name })),
        Command::Release { which } => (which, Some(Owner::Bot)),
    };
    let takes = matches!(wanted, Some(Owner::Human { .. }));
    let Which { conversation, about } = which;
    let bus = about.connect.bus().await?;
    let mut now = read(&bus, &about.tenant, &conversation).await?;
    // Taking it again begins its week anew; giving back what is the bot's already changes nothing.
    if let Some(owner) = wanted.filter(|owner| *owner != Owner::Bot || now.owner != Owner::Bot) {
        let action = if owner == Owner::Bot { "conversation.release" } else { "conversation.take" };
        let deed = Deed::new(action).of(&about.tenant).on(&conversation);
        now = noted(&about.connect, deed, write(&bus, &about.tenant, &conversation, owner)).await?;
    }
    // It is taken, whether or not what was said can be read.
    let story = match takes {
        true => Some(Story::of(bus.records_of(&about.tenant, &conversation).await.unwrap_or_default())),
        false => None,
    };
    match about.json {
        true => println!(
            "{}",
            json!({
                "conversation": conversation,
                "owner": now.owner,
                "since_ms": now.since_ms,
                "revision": now.revision,
                "story": story,
            })
        ),
        false => {
            println!("{}", sentence(&conversation, &now.owner));
            story.iter().flat_map(Story::lines).for_each(|line| println!("{line}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn sentence(conversation: &ConversationId, owner: &Owner) -> String {
    match owner {
        Owner::Bot => format!("{conversation} is the bot's"),
        Owner::Human { name } => {
            format!("{conversation} is {name}'s; `talkfleet conversation release {conversation}` gives it back")
        }
    }
}

async fn read(bus: &Bus, tenant: &TenantId, conversation: &ConversationId) -> Result<Now> {
    let entry = bus.get(topology::OWNERS, &owner::key(tenant, conversation)).await?;
    let Some((value, revision)) = entry.and_then(|entry| Some((entry.value?, entry.revision))) else {
        return Ok(Now { owner: Owner::Bot, since_ms: None, revision: 0 });
    };
    let record: OwnerRecord = serde_json::from_slice(&value)?;
    Ok(Now { owner: record.owner, since_ms: Some(record.since_ms), revision })
}

/// Writes down who owns a conversation.
pub(crate) async fn write(bus: &Bus, tenant: &TenantId, conversation: &ConversationId, owner: Owner) -> Result<Now> {
    let key = owner::key(tenant, conversation);
    if owner == Owner::Bot {
        bus.remove(topology::OWNERS, &key).await?;
        return Ok(Now { owner, since_ms: None, revision: 0 });
    }
    let since_ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis() as u64;
    let record = OwnerRecord { owner, since_ms };
    let revision = bus.put(topology::OWNERS, &key, serde_json::to_vec(&record)?.into()).await?;
    Ok(Now { owner: record.owner, since_ms: Some(since_ms), revision })
}
