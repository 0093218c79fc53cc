//! `talkfleet forget`: a customer or a conversation, everywhere, with a look at every place afterwards that shows it.

/// PURE: whose something is.
mod search;

/// PURE: what a look at one place came to.
mod place;

/// PURE: what others' turns tell of them.
mod retold;

/// What lies in the broker's streams.
mod streams;

/// What lies in Redis.
mod copies;

/// What lies in PostgreSQL.
mod rows;

/// What lies in folders.
mod files;

/// What was done, for people, for scripts, and for the file of receipts.
mod report;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use talkfleet_shared::{
    bus::Bus,
    chat::ArchiveChange,
    forgotten::Whom,
    id::{ConversationId, TenantId, UserId},
};
use talkfleet_worker::{copies::Copies, store::Store};

pub(crate) use self::report::{Receipt, read_receipts};
use self::{
    place::Place,
    report::Report,
    search::{Search, Wanted},
};
use crate::{
    audit::{Deed, noted},
    connect::{Connect, RedisArgs, parse_tenant},
};

/// How long turns that run may take to end: each stops when its worker hears of it.
const STOPS_WITHIN: Duration = Duration::from_secs(5);

/// How long is waited in any case: turns past the queue are seen by nobody until they are written down.
const SETTLE: Duration = Duration::from_secs(1);

/// How often it is looked whether they have ended.
const LOOK: Duration = Duration::from_millis(200);

/// Looks that erase, at most: each finds what the one before has taught, and what came in meanwhile.
const LOOKS_MAX: usize = 5;

/// Conversations that are told in one message.
const TOLD_MAX: usize = 1_000;

/// The folder of receipts within a data folder.
const RECEIPTS: &str = "forgotten";

/// Forget a customer or a conversation everywhere, and look afterwards whether anything is left
///
/// What was asked up to now goes: memory and copies in Redis and in every worker, messages on the queue, turn records, the
/// journal (each message is overwritten), dead letters, replays' streams, the archive. Turns that run stop. Then every place
/// is looked through again for their ids and for words that only they have said; the exit code is 0 when nothing was found.
/// It may be interrupted and started again at any time.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Whose customer it is
    #[arg(long, value_parser = parse_tenant, required_unless_present = "listed", conflicts_with = "listed")]
    tenant: Option<TenantId>,
    /// The customer, by the id that messages name
    #[arg(long, value_parser = parse_user, required_unless_present_any = ["conversation", "listed"], conflicts_with_all = ["conversation", "listed"])]
    user: Option<UserId>,
    /// A conversation, whoever spoke in it
    #[arg(long, value_parser = parse_conversation, conflicts_with = "listed")]
    conversation: Option<ConversationId>,
    /// Everybody who was ever forgotten here, once more: what a backup or a straggler brought back
    #[arg(long)]
    listed: bool,
    /// Only tell what would go
    #[arg(long)]
    dry_run: bool,
    /// Folders whose files are looked through as well, such as those of replays; what is found is named and left alone
    #[arg(long, value_name = "DIR")]
    files: Vec<PathBuf>,
    /// Where the receipt goes; without it, into the data folder
    #[arg(long, value_name = "DIR")]
    receipts: Option<PathBuf>,
    /// Print JSON, for scripts
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
    #[command(flatten)]
    redis: RedisArgs,
}

fn parse_user(text: &str) -> Result<UserId, String> {
    UserId::parse(text).map_err(|error| format!("a user's id {error}"))
}

fn parse_conversation(text: &str) -> Result<ConversationId, String> {
    ConversationId::parse(text).map_err(|error| format!("a conversation's id {error}"))
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let desk = Desk::open(&args.connect, &args.redis).await?;
    let wanted = args
        .tenant
        .clone()
        .zip(args.user.clone().map(Whom::User).or(args.conversation.clone().map(Whom::Conversation)));
    let report = match (wanted, args.dry_run) {
        (Some((tenant, whom)), false) => {
            let mark = desk.bus.salt().await?.mark(&tenant, &whom);
            let deed = Deed::new("forget").of(&tenant).on(format!("{} {mark}", whom.what()));
            noted(&args.connect, deed, desk.forget(tenant, whom, &args.files)).await?
        }
        (Some((tenant, whom)), true) => desk.would_forget(Wanted::One { tenant, whom }, &args.files).await?,
        (None, true) => desk.would_forget(Wanted::Listed(desk.bus.forgotten_list().await?), &args.files).await?,
        (None, false) => noted(&args.connect, Deed::new("forget.listed"), desk.forget_listed(&args.files)).await?,
    };
    let receipt = match (report.receipt(), args.dry_run) {
        (Some(receipt), false) => {
            let folder = args.receipts.unwrap_or_else(|| args.connect.data_dir().join(RECEIPTS));
            Some(receipt.keep(&folder).context("everything was done, but the receipt could not be kept")?)
        }
        _ => None,
    };
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&report.json(receipt.as_deref()))?),
        false => report.lines(receipt.as_deref()).iter().for_each(|line| println!("{line}")),
    }
    Ok(if args.dry_run || report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every place that holds something of customers.
pub(crate) struct Desk {
    bus: Bus,
    store: Store,
    /// Every server of Redis; the members of a cluster have other keys each.
    copies: Vec<Copies>,
}

impl Desk {
    pub(crate) async fn open(connect: &Connect, redis: &RedisArgs) -> Result<Self> {
        let copies = redis.servers(connect)?.into_iter().map(Copies::open).collect::<Result<_, _>>()?;
        Ok(Self { bus: connect.bus().await?, store: connect.store().await?, copies })
    }

    /// Forgets somebody: first it is written down, so that nothing that is under way brings them back.
    async fn forget(&self, tenant: TenantId, whom: Whom, files: &[PathBuf]) -> Result<Report> {
        let began = Instant::now();
        let what = whom.what();
        let (mark, tombstone) = self.bus.forget(&tenant, &whom).await?;
        let mut search = Search::new(Wanted::One { tenant, whom }, tombstone.at_ms);
        self.settle(&mut search).await?;
        let report = self.erase(&mut search, files).await?;
        let salt = self.bus.salt().await?.fingerprint();
        Ok(Report { what, mark: Some((mark, tombstone, salt)), took: began.elapsed(), ..report })
    }

    /// Forgets everybody on the list once more.
    pub(crate) async fn forget_listed(&self, files: &[PathBuf]) -> Result<Report> {
        let began = Instant::now();
        let mut search = Search::new(Wanted::Listed(self.bus.forgotten_list().await?), self.now_ms().await?);
        let report = self.erase(&mut search, files).await?;
        Ok(Report { took: began.elapsed(), ..report })
    }

    async fn would_forget(&self, wanted: Wanted, files: &[PathBuf]) -> Result<Report> {
        let began = Instant::now();
        let mut search = Search::new(wanted, self.now_ms().await?);
        self.look(&mut search, false, true).await?;
        search.again();
        let places = self.look(&mut search, false, true).await?;
        let files = read_files(&mut search, files)?;
        Ok(Report { took: began.elapsed(), ..Report::of(&search, places, 2, files) })
    }

    /// Waits until turns of theirs have ended, or for as long as that may take.
    async fn settle(&self, search: &mut Search) -> Result<()> {
        let began = Instant::now();
        tokio::time::sleep(SETTLE).await;
        while began.elapsed() < STOPS_WITHIN && streams::open_asks(&self.bus, search).await? > 0 {
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Looks, erases, and looks again until a whole look finds nothing.
    async fn erase(&self, search: &mut Search, files: &[PathBuf]) -> Result<Report> {
        self.look(search, false, false).await?;
        let (mut erased, mut looks) = (BTreeMap::new(), 1);
        let places = loop {
            search.again();
            let places = self.look(search, true, looks == 1).await?;
            looks += 1;
            places.iter().for_each(|place| *erased.entry(place.name.clone()).or_insert(0) += place.erased);
            self.tell(search).await;
            if places.iter().all(|place| place.theirs == 0 && place.retold == 0) || looks > LOOKS_MAX {
                break places;
            }
        };
        let files = read_files(search, files)?;
        let total = |place: Place| Place { erased: erased.get(&place.name).copied().unwrap_or_default(), ..place };
        Ok(Report::of(search, places.into_iter().map(total).collect(), looks, files))
    }

    async fn look(&self, search: &mut Search, erase: bool, first: bool) -> Result<Vec<Place>> {
        let mut places = streams::look(&self.bus, &self.store, search, erase).await?;
        places.extend(rows::look(&self.store, search, erase).await?);
        // After the database, from which copies are made.
        places.push(copies::look(&self.copies, search, erase, first).await?);
        Ok(places)
    }

    /// Every worker drops its copies of their conversations.
    async fn tell(&self, search: &Search) {
        let mut changed: BTreeMap<&TenantId, Vec<ConversationId>> = BTreeMap::new();
        for (tenant, conversation) in search.conversations() {
            changed.entry(tenant).or_default().push(conversation.clone());
        }
        for (tenant, conversations) in changed {
            for some in conversations.chunks(TOLD_MAX) {
                let change = ArchiveChange { conversations: some.to_vec(), position: None };
                if let Err(error) = self.bus.tell_changed(tenant, &change).await {
                    tracing::warn!(%error, "workers keep copies of histories until they expire");
                }
            }
        }
    }

    async fn now_ms(&self) -> Result<u64> {
        let (_, now) = self.bus.time().await?;
        Ok(u64::try_from(now.unix_timestamp_nanos() / 1_000_000)?)
    }
}

fn read_files(search: &mut Search, folders: &[PathBuf]) -> Result<Vec<Place>> {
    folders.iter().map(|folder| files::look(folder, search)).collect()
}
