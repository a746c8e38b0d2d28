//! Columns of text for people.

/// Rows as aligned columns with two spaces between them, each line indented by two; the first row is the head.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let wide = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(wide).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        format!("  {}\n", line.trim_end())
    };
    rows.iter().map(line).collect()
}

/// Seconds for people: `0.8 s`, `12 s`, `1m 20s`.
pub(super) fn seconds(seconds: f64) -> String {
    if !seconds.is_finite() {
        return "never".to_owned();
    }
    if seconds < 1.0 {
        return format!("{} s", (seconds * 100.0).round() / 100.0);
    }
    if seconds < 10.0 {
        return format!("{} s", (seconds * 10.0).round() / 10.0);
    }
    #[expect(clippy::cast_possible_truncation, reason = "it saturates, and is bounded by weeks")]
    let whole = jiff::SignedDuration::from_secs(seconds.round() as i64);
    if seconds < 60.0 { format!("{} s", whole.as_secs()) } else { format!("{whole:#}") }
}

/// A whole number with its thousands set apart.
pub(super) fn count(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A share as per cent with as few digits as help: `0.05 %`, `1.2 %`, `12 %`.
pub(super) fn percent(share: f64) -> String {
    let value = share * 100.0;
    let decimals = match value {
        0.0 => 0,
        1.0.. => 1,
        0.1.. => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    let text =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} %")
}
