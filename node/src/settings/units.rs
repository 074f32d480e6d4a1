//! Durations and sizes, as people write them.

use std::time::Duration;

/// `90s`, `15m`, `24h`, `7d`; also `500ms`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text).ok_or_else(|| format!("{text:?} is not a duration: write 90s, 15m, 24h or 7d"))?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" => return Err(format!("the duration {text:?} has no unit: write {text}s, {text}m, {text}h or {text}d")),
        _ => return Err(format!("{unit:?} is not a unit of time: use ms, s, m, h or d")),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(|| format!("{text} is too long"))
}

/// How long a token may be good for: more than no time, and at most ten years.
pub fn lifetime(text: &str) -> Result<Duration, String> {
    const LONGEST: Duration = Duration::from_secs(10 * 366 * 86_400);
    let lifetime = duration(text)?;
    match lifetime {
        Duration::ZERO => Err("a token must be good for some time: write 15m, 24h or 7d".into()),
        _ if lifetime > LONGEST => Err(format!("{text} is too long: at most ten years")),
        _ => Ok(lifetime),
    }
}

/// `512KiB`, `64 MiB`, `2GB`.
pub fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text).ok_or_else(|| format!("{text:?} is not a size: write 64MiB or 2GB"))?;
    let bytes = match unit.to_ascii_lowercase().as_str() {
        "b" => 1,
        "kb" | "k" => 1000,
        "mb" | "m" => 1_000_000,
        "gb" | "g" => 1_000_000_000,
        "tb" | "t" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        "" => return Err(format!("the size {text:?} has no unit: write {text}MiB or {text}GB")),
        _ => return Err(format!("{unit:?} is not a unit of size: use KiB, MiB, GiB, TiB, or kB, MB, GB, TB")),
    };
    number.checked_mul(bytes).ok_or_else(|| format!("{text} is too large"))
}

fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_needed_and_known() {
        assert_eq!(duration("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(duration(" 500 ms"), Ok(Duration::from_millis(500)));
        assert_eq!(size("64 MiB"), Ok(64 << 20));
        assert_eq!(size("2GB"), Ok(2_000_000_000));
        for wrong in ["", "h", "10", "10y", "-1s", "1.5h", "999999999999999999999s", "18446744073709551615d"] {
            duration(wrong).unwrap_err();
        }
        for wrong in ["", "MiB", "10", "10 MiBs", "-1MB", "99999999999TiB"] {
            size(wrong).unwrap_err();
        }
    }
}
