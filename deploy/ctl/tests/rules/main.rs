//! The house rules as tests: what a reader may rely on in every file of this repository; no engine is needed.
//!
//! A rule is a function from files to findings. Each is asked twice: about the repository, where it must find nothing, and
//! about a sample that breaks it, where it must find just that.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot read its files has failed")]

/// The repository's files as text, and what of them is code.
mod tree;

/// Every file opens with its sentence and stays short.
mod files;

/// One door per engine; deciding code names none of them.
mod doors;

/// Subjects, headers and metrics are spelled once.
mod words;

/// What may lie at the top, who may see whom, and how many dependencies there are.
mod house;

/// Alerts are tested, explained and routed.
mod observe;

/// Every key of the configuration is explained.
mod config;

/// Manifests agree with the code.
mod cluster;

/// What operators change is noted.
mod deeds;

/// Every threat names the test that shows what stops it.
mod security;

/// Schemas are fresh, golden bytes are read, and both agree.
mod schemas;
