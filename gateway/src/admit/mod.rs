//! Admission: may a request come in now? What it may draw from its limits, and whether there is room to serve it.

/// PURE: token buckets.
pub mod bucket;

/// Which buckets a request draws from, and where they are kept.
pub(crate) mod limiter;

/// PURE: how many may be under way.
pub mod concurrency;

/// PURE: who is served next when there is no room for all.
pub mod queue;

/// PURE: is there any use in letting a request in?
pub mod shed;

/// How much of its CPU this process uses.
mod cpu;

/// Room for a request, a short wait for it, or a refusal.
pub mod gate;

pub use self::{bucket::Allowance, queue::Lane};
