//! The Talkfleet worker.
