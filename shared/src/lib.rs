//! The contract of Talkfleet and the plumbing that gateway and worker must do identically; no business lives here.

/// Identifiers, parsed once; nothing else may become part of a subject or a key.
pub mod id;

/// The nouns of a conversation: what is asked, what is answered, and the frames between.
pub mod chat;

/// Every error code once: status, close code, retry, and the sentence that a user reads.
pub mod error;

/// Bytes: MessagePack or JSON, bounded in size and depth.
pub mod envelope;

/// PURE: what a dead letter says of itself, and by what it is grouped.
pub mod dead;

/// PURE: releases side by side.
pub mod release;

/// What operators change, as it is written down.
pub mod audit;

/// Every subject, built only from parsed ids.
pub mod subject;

/// Every header, spelled once.
pub mod header;

/// Who owns a conversation, and under which key that is stored.
pub mod owner;

/// PURE: whom the desk has forgotten.
pub mod forgotten;

/// PURE: bytes as hexadecimal digits.
pub mod hex;

/// API keys: what is stored of them, and under which name.
pub mod keys;

/// Every stream, consumer and bucket, once.
pub mod topology;

/// The only door to NATS.
pub mod bus;

/// The way to Redis that gateway and worker go alike.
pub mod redis_door;

/// Layers of configuration: defaults file, file, environment, flag.
pub mod config;

/// When certificates end.
pub mod certificate;

/// Every metric, once.
pub mod metrics;

/// Logs, spans and the trace that travels in headers.
pub mod telemetry;

/// The only door to OpenTelemetry: spans, handed along.
pub mod spans;

/// The admin port: liveness, readiness, metrics.
pub mod admin;

/// Start, stop and drain.
pub mod lifecycle;

/// Panics are told by their place, never by their words.
pub mod panics;

/// How long to wait before trying again.
pub mod retry;

/// The clock by which code waits.
pub mod clock;

/// Chance where it decides something.
pub mod chance;

/// A door for fuzz targets to what nothing else outside may call.
#[doc(hidden)]
pub mod fuzz;
