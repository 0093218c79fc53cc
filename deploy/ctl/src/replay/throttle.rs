//! Customers come first: a replay slows down and stops while the live fleet has more to do than it may.

use std::time::Duration;

use indicatif::ProgressBar;
use talkfleet_shared::bus::Bus;
use tokio::sync::watch;

use super::pace::Gate;

/// How often the live fleet is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Follows the live fleet's lag for as long as somebody holds the receiver; the bar tells when the replay waits for it.
pub(super) fn watch(live: Bus, lag_max: u64, bar: ProgressBar) -> watch::Receiver<Gate> {
    let (sender, receiver) = watch::channel(Gate::default());
    tokio::spawn(async move {
        loop {
            // A fleet that cannot be asked is not known to be in need.
            if let Ok(lag) = live.lag().await {
                let lag = lag.waiting + lag.running;
                let gate = sender.borrow().after(lag, lag_max);
                bar.set_message(match gate {
                    Gate::Open => String::new(),
                    Gate::Narrow => format!("(slowly: {lag} messages at the live fleet)"),
                    Gate::Shut => format!("(waiting: {lag} messages at the live fleet, more than {lag_max})"),
                });
                sender.send_if_modified(|known| std::mem::replace(known, gate) != gate);
            }
            tokio::select! {
                () = sender.closed() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    });
    receiver
}
