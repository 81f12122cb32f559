//! Numbers of bytes: `"512KiB"`, `"10MiB"`, `"1GiB"`.

/// What to write.
pub(crate) const HINT: &str = "write it as in \"512KiB\", \"10MiB\" or \"1GiB\"";

/// Reads a number of bytes. Only binary units: whether "MB" means 1000 or 1024 is nobody's agreement.
pub(crate) fn parse(text: &str) -> Result<u64, &'static str> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let Ok(number) = number.parse::<u64>() else {
        return Err("is not a size");
    };
    let unit = match unit.trim_start() {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "" => return Err("has no unit"),
        _ => return Err("is not a size"),
    };
    number.checked_mul(unit).ok_or("is too large")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        assert_eq!(parse("0B"), Ok(0));
        assert_eq!(parse("512KiB"), Ok(512 * 1024));
        assert_eq!(parse("64 MiB"), Ok(64 << 20));
        assert_eq!(parse("1GiB"), Ok(1 << 30));
    }

    #[test]
    fn others_are_refused() {
        assert_eq!(parse("10"), Err("has no unit"));
        assert_eq!(parse("10MB"), Err("is not a size"));
        assert_eq!(parse("MiB"), Err("is not a size"));
        assert_eq!(parse("-1MiB"), Err("is not a size"));
        assert_eq!(parse("99999999999TiB"), Err("is too large"));
    }
}
