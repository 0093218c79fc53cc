//! Figures as people read them.

/// A number as people read it: `10,000`.
pub fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Milliseconds as people read them.
pub fn millis(ms: f64) -> String {
    match ms {
        ms if ms >= 100.0 => format!("{ms:.0}"),
        ms if ms >= 10.0 => format!("{ms:.1}"),
        ms => format!("{ms:.2}"),
    }
}

/// A share in percent, with as many digits as it takes to tell it from 0.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent == 0.0 {
        "0 %".into()
    } else if percent.abs() < 0.095 {
        format!("{percent:.2} %")
    } else {
        format!("{percent:.1} %")
    }
}

/// CPU microseconds, as precise as they are worth.
pub fn micros(us: f64) -> String {
    match us {
        us if us >= 100.0 => grouped(us.round() as usize),
        us if us >= 10.0 => format!("{us:.0}"),
        us => format!("{us:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_as_precise_as_they_are_worth() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.0, 0.0004, 0.0012, 0.5, 1.0].map(percent), ["0 %", "0.04 %", "0.1 %", "50.0 %", "100.0 %"]);
        assert_eq!([3.21, 42.4, 1_234.4].map(micros), ["3.2", "42", "1,234"]);
        assert_eq!([0.123, 12.34, 123.4].map(millis), ["0.12", "12.3", "123"]);
    }
}
