//! Numbers and times, as people read them.

use protocol::time::{FileTime, UnixMillis};

/// `1.2 GB`: three digits at most, in powers of a thousand, as disks are sold.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// `12,345`.
pub fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `12,345 files` or `1 file`.
pub fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

/// `350 MB/s`.
pub fn speed(count: u64, seconds: f64) -> String {
    let per_second = if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
    format!("{}/s", bytes(per_second as u64))
}

/// `4.2 s`, `3 min 05 s`, `2 h 07 min`.
pub fn seconds(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
    }
}

/// `12.3%`, `<0.1%`.
pub fn percent(part: u64, whole: u64) -> String {
    let share = part as f64 * 100.0 / whole as f64;
    match (part, whole) {
        (_, 0) => "-".into(),
        (1.., _) if share < 0.05 => "<0.1%".into(),
        _ => format!("{share:.1}%"),
    }
}

/// `2026-01-31 12:00:00Z`.
pub fn time(at: UnixMillis) -> String {
    civil(i64::try_from(at.0 / 1000).unwrap_or(i64::MAX))
}

/// The same for a file.
pub fn file_time(at: FileTime) -> String {
    civil(at.secs)
}

/// The proleptic Gregorian date of seconds since 1970, after Howard Hinnant's
/// `civil_from_days`.
fn civil(secs: i64) -> String {
    let (days, rest) = (secs.div_euclid(86_400), secs.rem_euclid(86_400));
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// Rows as columns: all but the last padded, those of `right` to the right.
pub fn columns(rows: &[Vec<String>], right: &[usize]) -> String {
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = width(column).unwrap_or(0);
            if column > 0 {
                line.push_str("  ");
            }
            if right.contains(&column) {
                line.push_str(&format!("{cell:>width$}"));
            } else {
                line.push_str(&format!("{cell:<width$}"));
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        assert_eq!(
            ["0 B", "999 B", "1.00 kB", "104 MB", "1.00 GB"],
            [0, 999, 1000, 104_000_000, 999_999_999].map(bytes).each_ref().map(String::as_str)
        );
        assert_eq!(
            ["0", "999", "1,000", "1,234,567"],
            [0, 999, 1000, 1_234_567].map(count).each_ref().map(String::as_str)
        );
        assert_eq!([percent(1, 0), percent(0, 9), percent(1, 10_000), percent(1, 3)], ["-", "0.0%", "<0.1%", "33.3%"]);
        assert_eq!(seconds(59.4), "59.4 s");
        assert_eq!(seconds(61.0), "1 min 01 s");
        assert_eq!(seconds(7500.0), "2 h 05 min");
    }

    #[test]
    fn dates_are_of_the_calendar() {
        assert_eq!(civil(0), "1970-01-01 00:00:00Z");
        assert_eq!(civil(951_827_696), "2000-02-29 12:34:56Z");
        assert_eq!(civil(-1), "1969-12-31 23:59:59Z");
        assert_eq!(civil(1_798_761_599), "2026-12-31 23:59:59Z");
    }
}
