//! The Talkfleet gateway.
