//! Panics are told by their place in the source, never by their words: those may quote what a customer wrote.

use std::{cell::RefCell, panic};

thread_local! {
    /// Where this thread last panicked; a caught panic is asked about on the thread that it happened on.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From here on a panic is one line of the log with its place. The only thing of a process that is one for all of it:
/// the language keeps a single hook, so whoever owns the process calls this, once.
pub fn without_words() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |why| {
        let place = why.location().map(ToString::to_string);
        PLACE.with_borrow_mut(|last| last.clone_from(&place));
        // A reader that closed its pipe is dealt with by whoever was here before.
        if why.payload_as_str().is_some_and(|text| text.contains("Broken pipe")) {
            return before(why);
        }
        tracing::error!(place = place.unwrap_or_default(), "a panic; its words may quote a customer and are left out");
    }));
}

/// Where the panic that was just caught on this thread happened, as `file:line:column`; None when nobody noted it.
pub fn place() -> Option<String> {
    PLACE.with_borrow_mut(Option::take)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caught_panic_is_known_by_its_place() {
        let usual = panic::take_hook();
        without_words();
        let caught = panic::catch_unwind(|| panic!("my secret"));
        let place = place();
        panic::set_hook(usual);
        assert!(caught.is_err());
        assert!(place.unwrap().starts_with("shared/src/panics.rs:"));
        assert_eq!(super::place(), None);
    }
}
