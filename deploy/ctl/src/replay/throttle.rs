//! Customers come first: a replay slows down and stops while the live fleet has more to do than it may.

use std::time::Duration;

use indicatif::ProgressBar;
use talkfleet_shared::bus::Bus;
use tokio::sync::watch;

use super::pace::Gate;

/// How often the live fleet is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Follows the live fleet's lag for as long as somebody holds the receiver; the bar tells when the replay waits for it.
/// What the receiver says first has been looked up already: a replay does not begin at a fleet that is in need.
pub(super) async fn watch(live: Bus, lag_max: u64, bar: ProgressBar) -> watch::Receiver<Gate> {
    let first = look(&live, Gate::default(), lag_max, &bar).await;
    let (sender, receiver) = watch::channel(first);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = sender.closed() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let known = *sender.borrow();
            let gate = look(&live, known, lag_max, &bar).await;
            sender.send_if_modified(|known| std::mem::replace(known, gate) != gate);
        }
    });
    receiver
}

async fn look(live: &Bus, known: Gate, lag_max: u64, bar: &ProgressBar) -> Gate {
    // A fleet that cannot be asked is not known to be in need.
    let Ok(lag) = live.lag().await else { return known };
    let lag = lag.waiting + lag.running;
    let gate = known.after(lag, lag_max);
    bar.set_message(match gate {
        Gate::Open => String::new(),
        Gate::Narrow => format!("(slowly: {lag} messages at the live fleet)"),
        Gate::Shut => format!("(waiting: {lag} messages at the live fleet, more than {lag_max})"),
    });
    gate
}
