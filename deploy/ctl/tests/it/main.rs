//! The whole fleet on real engines: NATS with JetStream, Redis and PostgreSQL, started on free ports for these tests.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

/// `Desk::open().gateways(2).workers(3).start().await`: a fleet of its own for each test.
mod harness;

/// One question over every face, answered with the right article.
mod faces;

/// What each delivery class promises.
mod delivery;

/// The demo's held-out questions: how often it is right, and how often it declines.
mod paraphrases;

/// The desk asked the questions of a labelled file.
mod eval;

/// The queue as a public interface: plain NATS tools, strange producers, strange roles.
mod queue;

/// What is accepted is answered once, in order, within its deadline, whatever dies.
mod promises;

/// The manifests' autoscaling on real workers.
mod rehearse;

/// The release before this one, run beside it.
mod previous;

/// A candidate beside the stable workers, by share.
mod release;

/// What simulations believe of the broker is what nats-server does.
mod conformance;

/// What is said on the bus is what the AsyncAPI document says.
mod contracts;

/// What cannot be processed is set aside, and people list, mend, redrive and drop it.
mod dead;

/// A person takes a conversation over, and the bot stops speaking.
mod owner;

/// A model that streams slowly: frames in mid-answer, stopped, resumed, taken over.
mod model;

/// What is away is left alone and tried again; turns wait for a model and say so.
mod ladder;

/// Bursts of messages and clients that hang up: what each channel's policy makes of them.
mod bursts;

/// Tenants and visitors see nothing of one another.
mod walls;

/// What browsers are told.
mod browsers;

/// Tokens of a company's own identity provider, and bad ones.
mod tokens;

/// What operators change is noted.
mod audit;

/// Bad input is refused with a clear code and disturbs nobody.
mod refusals;

/// Records, feedback and usage reach PostgreSQL, and conversations are read back.
mod archive;

/// Copies before the database: made once, dropped by message, no loss without Redis.
mod caches;

/// Certificates of authorities that are made for a test.
mod certificates;

/// Redis with a user for each role, and over TLS.
mod redis_doors;

/// PostgreSQL with a role for each part, and over TLS.
mod sql_doors;

/// Another server takes over as the database.
mod promotion;

/// Redis as a cluster: slots move and a master dies under load.
mod redis_cluster;

/// Somebody is forgotten, and what is old goes.
mod forget;

/// A backup of a working desk, put back.
mod backup;

/// Reads go to replicas as far as these have come.
mod replicas;

/// Knowledge, intents and keys change while the fleet runs.
mod changes;

/// Recorded traffic is asked again, apart from the live fleet.
mod replay;

/// Where knowledge is searched: the same questions to every backend.
mod backends;

/// Who is let in, together and under overload.
mod admission;

/// The three binaries as an operator starts and stops them.
mod processes;

/// The broker as an operator runs it: users, keys, permissions.
mod broker;

/// TLS to the broker and at the gateway.
mod tls;

/// The queue itself, deleted and paused under its readers.
mod queue_faults;

/// A real fleet broken on purpose, in short.
mod chaos;

/// What an operator sees: what waits, whatever role is away.
mod watch;

/// Traces, at a receiver that speaks OTLP.
mod traces;

/// Boards and runbook, on a fleet that Prometheus scrapes.
mod boards;

/// A small load on a fleet of its own, counted and weighed.
mod bench;
