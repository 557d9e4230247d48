//! Numbers as people read them. Used in messages, progress lines and reports; never in machine-readable output.

/// A number of bytes: `512 B`, `1.5 KiB`, `11.2 MiB`.
pub fn bytes(count: u64) -> String {
    const NAMES: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut name = 0;
    // Not 1024: 1023.95 would be written as 1024.0.
    while value >= 1023.95 && name + 1 < NAMES.len() {
        value /= 1024.0;
        name += 1;
    }
    format!("{value:.1} {}", NAMES[name])
}

/// A time span: `35 ms`, `4.2 s`, `3 min 20 s`, `2 h 05 min`, `3 d 04 h`.
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "unknown".into();
    }
    if seconds < 0.9995 {
        return format!("{:.0} ms", seconds * 1e3);
    }
    if seconds < 59.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    let (days, hours, minutes) = (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes} min {:02} s", whole % 60),
        (0, _) => format!("{hours} h {minutes:02} min"),
        _ => format!("{days} d {hours:02} h"),
    }
}

/// A whole number with its thousands apart: `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate: `2,567 tokens/s`, `3.4 steps/s`, `0.052 steps/s`.
pub fn rate(per_second: f64, unit: &str) -> String {
    let number = if !per_second.is_finite() {
        "?".into()
    } else if per_second >= 99.95 {
        count(per_second.round() as u64)
    } else if per_second >= 0.995 || per_second == 0.0 {
        format!("{per_second:.1}")
    } else {
        format!("{per_second:.3}")
    };
    format!("{number} {unit}/s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples() {
        assert_eq!(
            [0, 1023, 1024, 1_048_523, 1_048_576, u64::MAX].map(bytes),
            ["0 B", "1023 B", "1.0 KiB", "1023.9 KiB", "1.0 MiB", "16.0 EiB"]
        );
        assert_eq!(
            [0.0, 0.0354, 0.9996, 4.24, 59.96, 200.0, 7_499.0, 273_600.0, f64::NAN].map(duration),
            ["0 ms", "35 ms", "1.0 s", "4.2 s", "1 min 00 s", "3 min 20 s", "2 h 04 min", "3 d 04 h", "unknown"]
        );
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [2567.4, 99.9, 3.44, 0.0518, f64::INFINITY].map(|per_second| rate(per_second, "steps")),
            ["2,567 steps/s", "99.9 steps/s", "3.4 steps/s", "0.052 steps/s", "? steps/s"]
        );
    }
}
