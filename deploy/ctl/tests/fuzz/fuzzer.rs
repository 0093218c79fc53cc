//! libFuzzer over one target, which `TALKFLEET_FUZZ` names; `deploy/check/fuzz.sh` builds and drives it.

#![no_main]
#![expect(clippy::expect_used, reason = "a broken promise is told by panicking")]

/// Readers of what comes from outside, each with what must hold of everything that it is given.
mod targets;

use std::sync::LazyLock;

use self::targets::{TARGETS, Target};

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let names = || TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(" ");
    let name = std::env::var("TALKFLEET_FUZZ").unwrap_or_default();
    TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| {
        // Asked for by the script, which goes through them.
        println!("{}", names());
        std::process::exit(0);
    })
});

libfuzzer_sys::fuzz_target!(init: { LazyLock::force(&TARGET); }, |data: &[u8]| (TARGET.run)(data));
