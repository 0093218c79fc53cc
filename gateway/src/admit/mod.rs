//! Admission: may a request come in now? What it may draw from its limits, and whether there is room to serve it.

/// PURE: token buckets.
pub mod bucket;

/// PURE: who is served next when there is no room for all.
pub mod queue;

/// Which buckets a request draws from, and where they are kept.
pub(crate) mod limiter;

pub use self::{bucket::Allowance, queue::Lane};
