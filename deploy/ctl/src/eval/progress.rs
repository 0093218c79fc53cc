//! How far a long measurement is: one bar on standard error, which scripts and files never see.

use indicatif::{ProgressBar, ProgressStyle};

/// Steps that a training is counted in.
pub const TRAINING_STEPS: u64 = 100;

/// A bar with the name of what is being done.
pub fn bar(what: &'static str, steps: u64) -> ProgressBar {
    let bar = ProgressBar::new(steps);
    if let Ok(style) = ProgressStyle::with_template("  {bar:32} {percent:>3} % {msg}, {elapsed}") {
        bar.set_style(style);
    }
    bar.with_message(what)
}
