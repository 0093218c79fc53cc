//! CPU time of a thread, and work that is spread over the cores while each counts its own.

use rustix::time::{ClockId, clock_gettime};

/// What a measured piece of work came to.
#[derive(Debug, Clone)]
pub struct Metered<T> {
    pub results: Vec<T>,
    /// CPU time of each, whoever did it and however long it had to wait.
    pub cpu_us: Vec<f64>,
}

impl<T> Metered<T> {
    /// Mean CPU time of one result.
    pub fn us_each(&self) -> f64 {
        self.cpu_us.iter().sum::<f64>() / self.results.len().max(1) as f64
    }
}

/// CPU time of this thread so far, in microseconds.
pub fn thread_us() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 * 1e6 + now.tv_nsec as f64 / 1e3
}

/// CPU time of this process so far, in seconds.
pub fn process_seconds() -> f64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

/// Does the work for every item, a thread per core, in the items' order. `done` hears how many more are done.
pub fn spread<I: Sync, T: Send>(
    items: &[I],
    work: impl Fn(usize, &I) -> T + Sync,
    done: impl Fn(u64) + Sync,
) -> Metered<T> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let each = items.len().div_ceil(threads).max(1);
    let (work, done) = (&work, &done);
    let part = move |(number, part): (usize, &[I])| {
        let one = |(at, item): (usize, &I)| {
            let since = thread_us();
            let result = work(number * each + at, item);
            let cpu_us = thread_us() - since;
            done(1);
            (result, cpu_us)
        };
        part.iter().enumerate().map(one).unzip()
    };
    let parts: Vec<(Vec<T>, Vec<f64>)> = std::thread::scope(|scope| {
        let running: Vec<_> =
            items.chunks(each).enumerate().map(|numbered| scope.spawn(move || part(numbered))).collect();
        let joined = running.into_iter().map(|thread| thread.join());
        joined.map(|part| part.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    let (results, cpu_us): (Vec<Vec<T>>, Vec<Vec<f64>>) = parts.into_iter().unzip();
    Metered { results: results.into_iter().flatten().collect(), cpu_us: cpu_us.concat() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_their_order_and_sleeping_costs_nothing() {
        let items: Vec<u64> = (0..41).collect();
        let busy = spread(&items, |at, item| (0..200_000u64).fold(at as u64 ^ item, |sum, n| sum ^ n), |_| {});
        assert_eq!(busy.results.len(), 41);
        let doubled = spread(&items, |at, item| at as u64 + item, |_| {});
        assert_eq!(doubled.results, items.iter().map(|item| 2 * item).collect::<Vec<_>>());
        let asleep = spread(&items[..2], |_, _| std::thread::sleep(std::time::Duration::from_millis(40)), |_| {});
        assert!(asleep.cpu_us.iter().sum::<f64>() < 20_000.0, "{:?}", asleep.cpu_us);
        assert!(spread(&[] as &[u8], |_, _| (), |_| {}).us_each() == 0.0);
    }
}
