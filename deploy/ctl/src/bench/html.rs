//! The report as a page: rate and latency over time, percentiles, and what a turn costs which process.

use super::{
    figures::Figures,
    report::{Outcome, Report, Run},
};
use crate::{
    eval::html::{self, Drawing, Headline, bar, drawings, head},
    gate::{Gauge, State, written},
    page::{
        escape::escaped,
        grouped, micros, millis,
        plot::{Axis, Mark, Plot},
        section, table,
    },
};

/// The whole page of several scenarios.
pub(super) fn page(all: &[(Report, Outcome)]) -> String {
    let (first, _) = match all.first() {
        Some(first) => first,
        None => return String::new(),
    };
    let names: Vec<&str> = all.iter().map(|(report, _)| report.scenario.as_str()).collect();
    let kicker = format!("Bench · {} · over {}, channel {}", names.join(", "), first.face, first.channel);
    let sentence = match &first.skipped {
        Some(why) => format!("Not measured: {why}."),
        None => format!(
            "{} turns a second at p99 {} ms{}.",
            grouped(first.figures.turns_per_s.round() as usize),
            millis(first.figures.p99_ms),
            first.figures.cpu_us_per_turn.map_or(String::new(), |us| format!(", {} µs of CPU each", micros(us)))
        ),
    };
    let sections: Vec<String> = all.iter().flat_map(|(report, outcome)| sections(report, outcome)).collect();
    html::page("Bench: what a fleet carries", &kicker, &sentence, &headlines(&first.figures), &sections)
}

/// Every drawing with the name of its file.
pub(super) fn plots(all: &[(Report, Outcome)]) -> Vec<(String, Drawing<'static>)> {
    let named = all.iter().flat_map(|(report, outcome)| {
        let main = outcome.runs.first();
        main.into_iter()
            .flat_map(|run| drawn(run))
            .map(|drawing| (format!("{}-{}", report.scenario, drawing.name), drawing))
    });
    named.collect()
}

fn headlines(figures: &Figures) -> Vec<Headline> {
    let whole = |value: f64| grouped(value.round() as usize);
    let headline = |value: String, name: &'static str, beside: String| Headline { value, name, beside };
    let mut all = vec![
        headline(whole(figures.turns_per_s), "turns a second", format!("of {} offered", whole(figures.offered_per_s))),
        headline(format!("{} ms", millis(figures.p50_ms)), "median", "from the intended moment".into()),
        headline(format!("{} ms", millis(figures.p99_ms)), "p99", format!("p99.9 {} ms", millis(figures.p999_ms))),
    ];
    if let Some(us) = figures.cpu_us_per_turn {
        all.push(headline(format!("{} µs", micros(us)), "CPU a turn", "all processes, load generator apart".into()));
    }
    let failed = figures.errors + figures.late + figures.unanswered;
    all.push(headline(grouped(failed as usize), "failed", format!("{} shed", grouped(figures.shed as usize))));
    all
}

fn sections(report: &Report, outcome: &Outcome) -> Vec<String> {
    let name = &report.scenario;
    let title = format!("{}: {}", escaped(name), escaped(&report.what));
    let found: String = report.found.iter().map(|found| format!("<p class=how>{}</p>", escaped(found))).collect();
    let mut body = found + &gate(report);
    match (&report.skipped, outcome.runs.first()) {
        (Some(why), _) => body += &format!("<p>Not measured: {}.</p>", escaped(why)),
        (None, Some(main)) => body += &(drawings(&drawn(main)) + &processes(&main.figures)),
        (None, None) => {}
    }
    if !outcome.runs.is_empty() {
        body += &runs(&outcome.runs);
    }
    let how = "Open load: a message is sent when it is due, and its latency counts from then. CPU time is what the kernel \
               counted for each process beside the run, divided by the answers.";
    vec![section(name, &title, how, &body)]
}

fn gate(report: &Report) -> String {
    let row = |check: &super::threshold::Check| {
        let (class, word) = if check.state == State::Fail { ("fail", "exceeded") } else { ("pass", "kept") };
        let sort = check.figure.sort();
        format!(
            "<tr class={class}><td><span class=state>{word}</span><td><code>{}</code><small>{}</small><td class=n>{}<td class=n>{}",
            check.figure.name(),
            escaped(check.what),
            written(sort, check.found),
            written(sort, check.limit)
        )
    };
    let rows: String = report.checks.iter().map(row).collect();
    if rows.is_empty() { rows } else { table("gate", "<tr><th><th>figure<th class=n>found<th class=n>limit", &rows) }
}

fn processes(figures: &Figures) -> String {
    let most = figures.cpu_us.values().copied().fold(1e-9, f64::max);
    let of = |name: &String, us: f64| {
        let rss = figures.rss_mib.get(name).copied().unwrap_or_default();
        let descriptors = figures.descriptors.get(name).copied().unwrap_or_default();
        format!(
            "<tr><th scope=row>{}{}<td class=n>{rss:.1}<td class=n>{descriptors}",
            escaped(name),
            bar(us / most, &micros(us))
        )
    };
    let rows: String = figures.cpu_us.iter().map(|(name, us)| of(name, *us)).collect();
    if rows.is_empty() {
        return String::new();
    }
    let columns = [("", "process"), ("n", "CPU µs a turn"), ("n", "RSS, MiB"), ("n", "descriptors")];
    table("processes", &head(&columns), &rows)
}

fn runs(all: &[Run]) -> String {
    let row = |run: &Run| {
        let figures = &run.figures;
        let cpu = figures.cpu_us_per_turn.map_or("–".to_owned(), micros);
        let whole = |value: f64| grouped(value.round() as usize);
        let cells = [
            whole(figures.offered_per_s),
            whole(figures.turns_per_s),
            millis(figures.p50_ms),
            millis(figures.p99_ms),
            cpu,
            grouped(figures.shed as usize),
            grouped((figures.errors + figures.late + figures.unanswered) as usize),
        ];
        format!("<tr><th scope=row>{}{}", escaped(&run.name), cells.map(|cell| format!("<td class=n>{cell}")).concat())
    };
    let columns = [
        ("", "run"),
        ("n", "offered/s"),
        ("n", "turns/s"),
        ("n", "p50 ms"),
        ("n", "p99 ms"),
        ("n", "CPU µs a turn"),
        ("n", "shed"),
        ("n", "failed"),
    ];
    table("runs", &head(&columns), &all.iter().map(row).collect::<String>())
}

fn drawn(run: &Run) -> Vec<Drawing<'static>> {
    vec![rate(run), latency(run), percentiles(run)]
}

fn seconds(to: f64) -> Axis<'static> {
    Axis { name: "seconds", from: 0.0, to: to.max(1.0), logarithmic: false, write: |value| format!("{value:.0}") }
}

fn rate(run: &Run) -> Drawing<'static> {
    let (tally, wide) = (&run.measured.tally, run.measured.tally.window_s.max(0.001));
    // The last window is mostly the tail of answers.
    let line = |of: fn(&crate::bench::tally::Window) -> u64| -> Vec<(f64, f64)> {
        let points = tally.windows.iter().enumerate();
        points.map(|(at, window)| ((at as f64 + 0.5) * wide, of(window) as f64 / wide)).collect()
    };
    let (issued, answered, shed) = (line(|one| one.issued), line(|one| one.answered), line(|one| one.shed));
    let most = issued.iter().chain(&answered).map(|(_, rate)| *rate).fold(1.0, f64::max);
    let y = Axis {
        name: "messages a second",
        from: 0.0,
        to: most * 1.05,
        logarithmic: false,
        write: |value| grouped(value.round() as usize),
    };
    let mut marks =
        vec![Mark::Guide { class: "noise", points: issued }, Mark::Line { class: "baseline", points: answered }];
    if tally.shed > 0 {
        marks.push(Mark::Line { class: "candidate", points: shed });
    }
    let what = "Messages due (dashed), answered (blue) and shed (orange) over the time of the run";
    let plot = Plot { what, x: seconds(tally.windows.len() as f64 * wide), y, marks };
    Drawing { name: "rate", title: what, plot }
}

fn latency(run: &Run) -> Drawing<'static> {
    let (tally, wide) = (&run.measured.tally, run.measured.tally.window_s.max(0.001));
    let line = |quantile: f64| -> Vec<(f64, f64)> {
        let seen = tally.windows.iter().enumerate().filter(|(_, window)| window.latency.count() > 0);
        seen.map(|(at, window)| ((at as f64 + 0.5) * wide, window.latency.quantile_ms(quantile))).collect()
    };
    let marks = vec![
        Mark::Line { class: "candidate", points: line(0.99) },
        Mark::Line { class: "baseline", points: line(0.5) },
    ];
    let what = "Median (blue) and p99 (orange) over the time of the run";
    let plot = Plot { what, x: seconds(tally.windows.len() as f64 * wide), y: ms(tally.latency.max_ms()), marks };
    Drawing { name: "latency", title: what, plot }
}

fn ms(to: f64) -> Axis<'static> {
    Axis { name: "ms", from: 0.1, to: to.max(1.0) * 1.1, logarithmic: true, write: |value| format!("{value}") }
}

fn percentiles(run: &Run) -> Drawing<'static> {
    let latency = &run.measured.tally.latency;
    let points = (0..=80).map(|step| {
        let one_in = 10f64.powf(f64::from(step) / 20.0);
        (one_in, latency.quantile_ms(1.0 - 1.0 / one_in))
    });
    let x = Axis {
        name: "one answer in so many is slower",
        from: 1.0,
        to: 10_000.0,
        logarithmic: true,
        write: |value| grouped(value.round() as usize),
    };
    let what = "Latency by percentile";
    let marks = vec![Mark::Line { class: "baseline", points: points.collect() }];
    Drawing { name: "percentiles", title: what, plot: Plot { what, x, y: ms(latency.max_ms()), marks } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures::tests::measured;

    #[test]
    fn a_page_shows_every_run_and_nothing_of_it_is_markup() {
        let mut outcome = Outcome::of(Run::new("steady", measured()));
        outcome.runs.push(Run::new("<b>again", measured()));
        let report = Report {
            scenario: "durable".into(),
            what: "x".into(),
            talkfleet: "0",
            debug_build: true,
            face: "http".into(),
            channel: "web".into(),
            fleet: "own".into(),
            figures: outcome.runs[0].figures.clone(),
            extra: Default::default(),
            found: vec!["<i>".into()],
            runs: vec![],
            skipped: None,
            checks: vec![],
            passed: true,
        };
        let all = [(report, outcome)];
        let page = page(&all);
        assert!(!page.contains("<b>again") && !page.contains("<i>") && page.contains("&lt;b&gt;again"));
        assert!(page.contains("gateway") && page.matches("<svg").count() == 3);
        assert_eq!(plots(&all).len(), 3);
        let json = serde_json::to_value(&all[0].0).unwrap();
        assert_eq!((json["turns_per_s"].as_f64(), json["cpu_us"]["nats"].as_f64()), (Some(9.6), Some(10.0)));
        let text = all[0].0.to_string();
        assert!(text.contains("issued 100 = answered 96 + shed 2 + late 0 + errors 1 + unanswered 1"), "{text}");
        assert!(text.contains("other work kept 0.5 cores"), "{text}");
    }
}
