//! The Talkfleet gateway: the front door. It lets messages in, puts them on the queue, and tells their answers as they are made.

/// Every key of the configuration.
pub mod config;

/// The desk as the faces see it: ask, come back, stop, look back, judge.
pub mod desk;

/// HTTP: routes, the accept path, and the one place where an error becomes a response.
pub mod http;

/// WebSocket: one session.
mod ws;

/// The face for OpenAI-style clients.
mod openai;

/// The customer's chat page.
mod web;

/// The face for people with a plain NATS tool.
mod ingress;

/// What a client sends, parsed into what the desk takes; shared by the faces.
pub mod intake;

/// Who calls.
pub mod auth;

/// PURE: visitors' tokens and the conversations that name their owner.
mod visitor;

/// PURE: token buckets.
pub mod admit;

/// Limits as they are kept in this process.
mod limiter;

/// Replies find the waiting client.
mod relay;

/// The one door to Redis.
mod peers;
