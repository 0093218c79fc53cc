//! The operator's command: the one crate that sees both halves of the fleet.

/// The command tree.
pub mod cli;

/// Where a running fleet is, as flags, variables or the data folder say.
pub mod connect;

/// NATS, Redis and PostgreSQL: found or fetched, started, stopped.
pub mod engines;

/// `talkfleet up`: the whole desk on one machine.
pub mod up;

/// `talkfleet ask`: one question in the terminal.
mod ask;

/// `talkfleet publish`: a file of messages onto the queue at a rate.
mod publish;

/// Gateways and workers as processes of their own.
mod members;

/// `talkfleet bench`: what a fleet carries, how fast, and at what cost.
mod bench;

/// `talkfleet chaos`: the promises, held against a fleet that is broken on purpose.
mod chaos;

/// `talkfleet rehearse`: the manifests' autoscaling, on real workers, through a day's load.
mod rehearse;

/// `talkfleet replay`: recorded traffic asked again, apart from the live fleet.
pub mod replay;

/// `talkfleet knowledge`: files into articles.
pub mod knowledge;

/// `talkfleet intents`: train, list, show, import, roll back.
mod intents;

/// `talkfleet eval`: how good intents, retrieval and answers are on a team's own labelled files.
mod eval;

/// Gates: figures against limits.
pub mod gate;

/// PURE: pages and drawings that reports are made of.
mod page;

/// Text in the columns of a terminal.
mod width;

/// `talkfleet schema`: what under `schemas/` is written from the code.
pub mod schema;

/// `talkfleet audit`: who changed what.
mod audit;

/// `talkfleet keys`: API keys.
mod keys;

/// `talkfleet conversation`: the bot's, or a person's.
mod conversation;

/// `talkfleet dead`: messages that could not be processed.
mod dead;

/// `talkfleet database`: the schema, by its owner.
mod database;

/// `talkfleet release`: a candidate beside the stable workers.
mod release;

/// `talkfleet backup` and `talkfleet restore`: streams and database into a folder, and back.
mod backup;

/// `talkfleet forget`: a customer or a conversation, everywhere.
mod forget;

/// `talkfleet topology`: streams, consumers and buckets.
mod topology;

/// The broker's users, their rights and their keys.
pub mod broker;

/// `talkfleet doctor`: what is wrong here, and what to do.
mod doctor;

/// `talkfleet health`: is a process ready?
mod health;

/// A door for fuzz targets to what nothing else outside may call.
#[doc(hidden)]
pub mod fuzz;
