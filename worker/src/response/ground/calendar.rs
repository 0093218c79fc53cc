//! PURE: times, dates, weekdays and places in an order, which are no amounts.

use super::{
    quantities::{Bound, Quantity, Unit},
    tokens::Token,
};

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
const ORDINALS: [&str; 8] = ["last", "first", "second", "third", "fourth", "fifth", "sixth", "seventh"];

/// Times, dates and weekdays, which are no amounts.
pub fn calendar(tokens: &[Token], at: usize) -> Option<(Quantity, usize)> {
    let exact = |unit, value, raw| Quantity { unit, value, raw, bound: Bound::Open };
    let day = |at: usize| match tokens.get(at) {
        Some(Token::Number(day)) if (1.0..=31.0).contains(day) && day.fract() == 0.0 => Some(*day),
        _ => None,
    };
    match tokens.get(at)? {
        Token::Clock(minutes) => {
            let late = at > 1
                && matches!(
                    tokens[at - 2..at],
                    [Token::Han('下'), Token::Han('午')] | [Token::Han('晚'), Token::Han('上')]
                );
            let pm = tokens.get(at + 1).is_some_and(|token| token.is_word(&["pm"])) || late;
            let value = if pm && *minutes < 720.0 { minutes + 720.0 } else { *minutes };
            Some((exact(Unit::Clock, value, value), at + 1))
        }
        Token::Word(word) => {
            let plain = word.trim_end_matches('s');
            let place = ORDINALS.iter().position(|ordinal| ordinal == word);
            let aside = matches!(tokens.get(at + 1), Some(Token::Mark(',')));
            if let Some(place) = place.filter(|_| !aside) {
                return Some((exact(Unit::Ordinal, place as f64, place as f64), at + 1));
            }
            if let Some(place) = WEEKDAYS.iter().position(|name| *name == plain) {
                return Some((exact(Unit::Weekday, place as f64 + 1.0, 0.0), at + 1));
            }
            let month = month(word)?;
            let (value, end) = day(at + 1).map_or((0.0, at + 1), |day| (day, at + 2));
            // "may" is a month only beside a day.
            (word != "may" || value > 0.0).then(|| (exact(Unit::Date, month * 100.0 + value, value), end))
        }
        Token::Number(number) => {
            let late = at > 1
                && matches!(
                    tokens[at - 2..at],
                    [Token::Han('下'), Token::Han('午')] | [Token::Han('晚'), Token::Han('上')]
                );
            match (tokens.get(at + 1)?, tokens.get(at + 2)) {
                (Token::Word(word), _) if month(word).is_some() => {
                    let (day, month) = (day(at)?, month(word)?);
                    Some((exact(Unit::Date, month * 100.0 + day, day), at + 2))
                }
                (Token::Word(word), Some(Token::Word(of)))
                    if of == "of" && ["st", "nd", "rd", "th"].contains(&word.as_str()) =>
                {
                    let month = month(tokens.get(at + 3)?.word()?)?;
                    Some((exact(Unit::Date, month * 100.0 + number, *number), at + 4))
                }
                (Token::Han('月'), rest) => {
                    let day = if matches!(rest, Some(Token::Number(_))) { day(at + 2) } else { None };
                    let end = day.map_or(at + 2, |_| {
                        at + 3 + usize::from(matches!(tokens.get(at + 3), Some(Token::Han('日' | '号'))))
                    });
                    Some((exact(Unit::Date, number * 100.0 + day.unwrap_or_default(), day.unwrap_or_default()), end))
                }
                (Token::Han('点'), rest) => {
                    let half = if rest == Some(&Token::Han('半')) { 30.0 } else { 0.0 };
                    let value = number * 60.0 + half + if late && *number < 12.0 { 720.0 } else { 0.0 };
                    Some((exact(Unit::Clock, value, *number), at + 2))
                }
                _ => None,
            }
        }
        Token::Han('周' | '期' | '拜') => {
            let Some(Token::Han(day)) = tokens.get(at + 1) else { return None };
            let place = "一二三四五六日".chars().position(|name| name == *day).or((*day == '天').then_some(6))?;
            Some((exact(Unit::Weekday, place as f64 + 1.0, 0.0), at + 2))
        }
        Token::Han(_) | Token::Mark(_) => None,
    }
}

/// 1 to 12.
fn month(word: &str) -> Option<f64> {
    let full = [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ];
    let place = MONTHS
        .iter()
        .zip(full)
        .position(|(short, full)| word == *short || word == full || word == "sept" && full == "september")?;
    Some(place as f64 + 1.0)
}
