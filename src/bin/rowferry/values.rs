//! Values of options, read from text. What is wrong with one is wrong usage.

use std::time::Duration;

use rowferry::Strategy;

/// `users=merge`
pub fn table_strategy(text: &str) -> Result<(String, Strategy), String> {
    // The last one: a table's name may have the sign in it.
    let (table, strategy) = text.rsplit_once('=').ok_or("write it like users=merge")?;
    if table.is_empty() {
        return Err("the table's name is missing: write it like users=merge".to_owned());
    }
    Ok((table.to_owned(), strategy.parse().map_err(|error: rowferry::Error| error.to_string())?))
}

/// A name or address with a port behind it; whether there is such an address shows when it is listened on.
pub fn listen(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(text.to_owned()),
        _ => Err("write it like 127.0.0.1:7171".to_owned()),
    }
}

/// Seconds, more than none.
pub fn seconds(text: &str) -> Result<Duration, String> {
    positive(text, 1.0)
}

/// Hours, more than none.
pub fn hours(text: &str) -> Result<Duration, String> {
    positive(text, 3600.0)
}

fn positive(text: &str, unit_seconds: f64) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "it is no number".to_owned())?;
    match Duration::try_from_secs_f64(number * unit_seconds) {
        Ok(time) if !time.is_zero() => Ok(time),
        Ok(_) => Err("it must be more than 0".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_strategy_is_split_at_its_last_sign() {
        assert_eq!(table_strategy("a=b=merge"), Ok(("a=b".to_owned(), Strategy::Merge)));
        assert!(table_strategy("=merge").is_err() && table_strategy("a=").is_err() && table_strategy("a").is_err());
    }

    #[test]
    fn times_are_positive() {
        assert_eq!(hours("0.5"), Ok(Duration::from_secs(1800)));
        for bad in ["0", "-1", "x", "inf", "NaN", "1e300"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
