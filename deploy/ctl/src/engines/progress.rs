//! How the launcher tells what takes time: a bar on a terminal, one line each elsewhere, nothing in tests.
use std::io::IsTerminal as _;
use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

pub trait Progress: Send + Sync {
    /// One sentence for a person.
    fn line(&self, text: &str);
    /// A download has come so far. `done_bytes == total_bytes` ends it.
    fn downloaded(&self, done_bytes: u64, total_bytes: u64);
}

/// For tests and for callers with a voice of their own.
pub struct Silent;

impl Progress for Silent {
    fn line(&self, _: &str) {}
    fn downloaded(&self, _: u64, _: u64) {}
}

/// Writes to standard error, so that standard output stays the command's own.
#[derive(Default)]
pub struct Terminal {
    bar: Mutex<Option<ProgressBar>>,
}

impl Progress for Terminal {
    fn line(&self, text: &str) {
        let bar = self.bar.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match bar.as_ref() {
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        }
    }

    fn downloaded(&self, done_bytes: u64, total_bytes: u64) {
        if !std::io::stderr().is_terminal() {
            return;
        }
        let mut slot = self.bar.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if done_bytes >= total_bytes {
            if let Some(bar) = slot.take() {
                bar.finish_and_clear();
            }
            return;
        }
        slot.get_or_insert_with(|| bar(total_bytes)).set_position(done_bytes);
    }
}

fn bar(total_bytes: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total_bytes), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("  {bar:32} {decimal_bytes} of {decimal_total_bytes}, {eta} left") {
        bar.set_style(style);
    }
    bar
}
