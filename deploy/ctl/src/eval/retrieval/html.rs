//! PURE: the report as a page: who ranks how well and at what cost, whether the quote holds the answer, and what came instead.

use super::report::{Miss, Report, TierFigures};
use crate::{
    eval::html::{self, Drawing, Headline, bar, head},
    page::{
        escape::{escaped, isolated},
        grouped, micros, percent,
        plot::{Axis, Mark, Plot, whole_percent},
        section, table,
    },
};

/// Writes the page.
pub fn page(report: &Report) -> String {
    let figures = &report.figures;
    let drawn = drawings(report);
    let named = |name: &str| html::drawings(drawn.iter().filter(|one| one.name == name));
    let sections = [
        tiers(report, &named("cost"), &named("places")),
        quotes(report),
        answerable(report, &named("answerable")),
        misses(report),
    ];
    let kicker = format!(
        "Retrieval · {} questions over {} documents ({} passages)",
        grouped(figures.ranking.questions),
        grouped(figures.documents),
        grouped(figures.passages)
    );
    let sentence = format!(
        "{} of {} questions find their document first.",
        percent(figures.ranking.recall_at_1),
        grouped(figures.ranking.questions)
    );
    html::page(
        "Retrieval: whether the document that answers is found",
        &kicker,
        &sentence,
        &headlines(report),
        &sections,
    )
}

fn headlines(report: &Report) -> Vec<Headline> {
    let figures = &report.figures;
    let one = |value: String, name, beside: String| Headline { value, name, beside };
    let by = format!("tier {}", figures.tier.name());
    let mut all = vec![
        one(format!("{:.3}", figures.ranking.ndcg_at_10), "nDCG@10", by),
        one(percent(figures.ranking.recall_at_1), "recall@1", "came first".into()),
        one(percent(figures.ranking.recall_at_5), "recall@5", "among five".into()),
        one(format!("{:.3}", figures.ranking.mrr_at_10), "MRR@10", "mean of 1 / place".into()),
    ];
    if let Some(three) = figures.answer_in_3 {
        all.push(one(percent(three), "answer quoted", "inside three sentences".into()));
    }
    if let Some(area) = figures.answerable_auroc {
        all.push(one(format!("{area:.3}"), "answerable", "AUROC of the score".into()));
    }
    let beside = format!("{} of it to encode", micros(figures.encode_us_per_query));
    all.push(one(format!("{} µs", micros(figures.cpu_us_per_query)), "CPU a query", beside));
    all
}

fn tiers(report: &Report, cost: &str, places: &str) -> String {
    let figures = &report.figures;
    let columns = [
        ("", "tier"),
        ("n", "recall@1"),
        ("n", "recall@5"),
        ("n", "MRR@10"),
        ("n", "nDCG@10"),
        ("n", "questions"),
        ("n", "CPU µs a query"),
        ("n", "p99"),
    ];
    let rows: String = figures.tiers.iter().map(|tier| row(tier.tier.name(), tier)).collect();
    let mut body = table("tiers", &head(&columns), &rows);
    if figures.languages.len() > 1 {
        let of = |(tag, tiers): (&&'static str, &Vec<TierFigures>)| {
            tiers.iter().map(|tier| row(&format!("{tag} · {}", tier.tier.name()), tier)).collect::<String>()
        };
        let rows: String = figures.languages.iter().map(of).collect();
        body += &format!("<h3>By the language of the question</h3>{}", table("tiers", &head(&columns), &rows));
    }
    let drawn =
        if figures.tiers.len() > 1 { format!("<div class=pair>{cost}{places}</div>") } else { places.to_owned() };
    let how = "Each tier alone. A long document is cut into passages, and the best of them is its place.";
    section("tiers", "Who ranks how well", how, &(body + &drawn))
}

fn row(name: &str, tier: &TierFigures) -> String {
    let ranking = &tier.ranking;
    format!(
        "<tr><td>{}{}{}{}{}<td class=n>{}<td class=n>{}<td class=n>{}",
        escaped(name),
        bar(ranking.recall_at_1, &percent(ranking.recall_at_1)),
        bar(ranking.recall_at_5, &percent(ranking.recall_at_5)),
        bar(ranking.mrr_at_10, &format!("{:.3}", ranking.mrr_at_10)),
        bar(ranking.ndcg_at_10, &format!("{:.3}", ranking.ndcg_at_10)),
        grouped(ranking.questions),
        micros(tier.cpu_us_per_query),
        micros(tier.cpu_us_p99)
    )
}

fn quotes(report: &Report) -> String {
    let figures = &report.figures;
    let shares = [figures.answer_in_1, figures.answer_in_2, figures.answer_in_3];
    let names = ["the best sentence", "the best two", "the best three"];
    let rows: String = names
        .iter()
        .zip(shares)
        .filter_map(|(name, share)| Some(format!("<tr><td>{name}{}", bar(share?, &percent(share?)))))
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let mut how = format!(
        "What the desk quotes when no model speaks, over {} questions whose answer is known word for word. Quoting costs {} µs \
         of CPU a question.",
        grouped(figures.questions_with_answer),
        micros(figures.quote_us_per_query)
    );
    if let Some(remark) = figures.unsaid() {
        how += &format!(" {}.", escaped(&remark));
    }
    section(
        "quotes",
        "Whether the quote holds the answer",
        &how,
        &table("quotes", "<tr><th>quoted<th class=n>holds the answer", &rows),
    )
}

fn answerable(report: &Report, drawn: &str) -> String {
    let figures = &report.figures;
    if figures.unanswerable == 0 {
        return String::new();
    }
    let which = match report.unanswerable_given {
        true => "questions that no document answers",
        false => "the same questions, asked of the base after their documents were taken out, a tenth at a time",
    };
    let how = format!(
        "The score of the best passage should tell questions that the base answers from those that it does not ({which}). A \
         desk without intents declines below {:.2}: {} of these and {} of the others. Where a question belongs to one of the \
         desk's intents it declines below {:.2}: {} and {}.",
        figures.answerable_from,
        figures.unanswerable_declined.map_or("–".into(), percent),
        percent(figures.answerable_declined),
        figures.in_scope_from,
        figures.in_scope_unanswerable_declined.map_or("–".into(), percent),
        percent(figures.in_scope_answerable_declined)
    );
    section("answerable", "Whether it knows what it does not know", &how, drawn)
}

fn misses(report: &Report) -> String {
    if report.misses.is_empty() {
        return section("misses", "What came instead", "", "<p class=quiet>Every document came first.</p>");
    }
    let items: String = report.misses.iter().map(miss).collect();
    let how = format!(
        "{} questions found another document first; here the {} of which the score was surest.",
        grouped(report.misses_in_all),
        grouped(report.misses.len())
    );
    let find =
        "<input class=find data-of=misses type=search placeholder=\"find a word\" aria-label=\"find a word\" hidden>";
    section("misses", "What came instead", &how, &format!("{find}<ol class=wrongs>{items}</ol>"))
}

fn miss(miss: &Miss) -> String {
    let place = miss.place.map_or("not among ten".to_owned(), |place| format!("came at place {place}"));
    let titled = |id: &str, title: &str| {
        let title = if title.is_empty() { String::new() } else { format!(" {}", isolated(title)) };
        format!("<code>{}</code>{title}", escaped(id))
    };
    let first = if miss.found.is_empty() { "nothing".to_owned() } else { titled(&miss.found, &miss.found_title) };
    format!(
        "<li><b class=question>{}</b><p class=beside>found <span class=took>{first}</span> ({:.2}), wanted <span class=was>{}</span>, which {place}</p>\
         <p class=said>{}</p>",
        isolated(&miss.question),
        miss.score,
        titled(&miss.wanted, &miss.wanted_title),
        isolated(&miss.found_text)
    )
}

/// All drawings that there is something to draw for.
pub fn drawings(report: &Report) -> Vec<Drawing<'static>> {
    let mut all = vec![places(report)];
    if report.figures.tiers.len() > 1 {
        all.push(cost(report));
    }
    if report.figures.unanswerable > 0 {
        all.push(separation(report));
    }
    all
}

fn cost(report: &Report) -> Drawing<'static> {
    let tiers = &report.figures.tiers;
    let costs = || tiers.iter().map(|tier| tier.cpu_us_per_query);
    let gains = || tiers.iter().map(|tier| tier.ranking.ndcg_at_10);
    let (low, high) = (gains().fold(1.0, f64::min), gains().fold(0.0, f64::max));
    let room = ((high - low) * 0.25).max(0.02);
    let dot = |tier: &TierFigures| Mark::Dot {
        class: "baseline",
        at: (tier.cpu_us_per_query, tier.ranking.ndcg_at_10),
        title: format!(
            "{}: nDCG@10 {:.3} at {} µs",
            tier.tier.name(),
            tier.ranking.ndcg_at_10,
            micros(tier.cpu_us_per_query)
        ),
        label: tier.tier.name().to_owned(),
    };
    let plot = Plot {
        what: "nDCG@10 of each tier against its CPU microseconds",
        x: Axis {
            name: "CPU µs a query",
            from: costs().fold(f64::MAX, f64::min).max(1.0) * 0.6,
            to: costs().fold(1.0, f64::max) * 1.6,
            logarithmic: true,
            write: micros,
        },
        y: Axis {
            name: "nDCG@10",
            from: (low - room).max(0.0),
            to: (high + room).min(1.0),
            logarithmic: false,
            write: |value| format!("{value:.2}"),
        },
        marks: tiers.iter().map(dot).collect(),
    };
    Drawing { name: "cost", title: "<b>Gain and cost</b> of each tier", plot }
}

fn places(report: &Report) -> Drawing<'static> {
    let all = report.places.iter().sum::<usize>().max(1) as f64;
    let last = report.places.len() - 1;
    let bars = report.places.iter().enumerate().map(|(at, n)| Mark::Bar {
        class: if at == 0 {
            "baseline"
        } else if at == last {
            "candidate"
        } else {
            "second"
        },
        x: (at as f64 + 0.55, at as f64 + 1.45),
        y: (0.0, *n as f64 / all),
        title: match at == last {
            true => format!("not among ten: {}", grouped(*n)),
            false => format!("place {}: {}", at + 1, grouped(*n)),
        },
    });
    let plot = Plot {
        what: "at which place the right document came",
        x: Axis {
            name: "place of the right document",
            from: 0.4,
            to: last as f64 + 1.6,
            logarithmic: false,
            write: |place| if place > 10.5 { "later".into() } else { format!("{place:.0}") },
        },
        y: Axis { name: "questions", from: 0.0, to: 1.0, logarithmic: false, write: whole_percent },
        marks: bars.collect(),
    };
    Drawing { name: "places", title: "<b>Places</b> of the right document, by the last tier", plot }
}

fn separation(report: &Report) -> Drawing<'static> {
    let chosen = report.answerable_chosen;
    let points = report.answerable_curve.iter().map(|point| (point.wanted_lost, point.unwanted_caught)).collect();
    let marks = vec![
        Mark::Guide { class: "noise", points: vec![(0.0, 0.0), (1.0, 1.0)] },
        Mark::Line { class: "baseline", points },
        Mark::Dot {
            class: "candidate",
            at: (chosen.wanted_lost, chosen.unwanted_caught),
            title: format!("the threshold of a desk without intents, {:.2}", chosen.threshold),
            label: format!("{} caught, {} lost", percent(chosen.unwanted_caught), percent(chosen.wanted_lost)),
        },
    ];
    let plot = Plot {
        what: "share of unanswerable questions that are declined, against the share of answerable ones declined with them",
        x: Axis::share("answerable, declined wrongly"),
        y: Axis::share("unanswerable, declined"),
        marks,
    };
    Drawing { name: "answerable", title: "<b>Answerable or not</b> what is declined, at every threshold", plot }
}
