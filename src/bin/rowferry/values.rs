//! Values of options, read from text. What is wrong with one is wrong usage.

use std::str::FromStr;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use log::LevelFilter;
use rowferry::{AllowedHours, Metadata, Strategy};
use time::format_description::well_known::Rfc3339;
use time::macros::{format_description, time as clock};
use time::{Date, OffsetDateTime, Time};

/// One of these words, which completions offer; `name` is how each is typed.
pub fn word<T>(all: &[T], name: fn(T) -> &'static str) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err = rowferry::Error> + Copy + Send + Sync + 'static,
{
    PossibleValuesParser::new(all.iter().map(|word| name(*word))).try_map(|text| text.parse::<T>())
}

/// `users=merge`
pub fn table_strategy(text: &str) -> Result<(String, Strategy), String> {
    // The last one: a table's name may have the sign in it.
    let (table, strategy) = text.rsplit_once('=').ok_or("write it like users=merge")?;
    if table.is_empty() {
        return Err("the table's name is missing: write it like users=merge".to_owned());
    }
    Ok((table.to_owned(), strategy.parse().map_err(|error: rowferry::Error| error.to_string())?))
}

/// `users=email` or `lines=order,number`
pub fn table_key(text: &str) -> Result<(String, Vec<String>), String> {
    let wrong = "write it like users=email, or lines=order,number";
    let (table, columns) = text.rsplit_once('=').filter(|(table, _)| !table.is_empty()).ok_or(wrong)?;
    Ok((table.to_owned(), list(columns).map_err(|_| wrong)?))
}

/// `updated_at`, or `users=changed_at` for one table.
pub fn newer_by(text: &str) -> Result<(Option<String>, String), String> {
    let (table, column) = match text.rsplit_once('=') {
        Some((table, column)) => (Some(table.to_owned()), column),
        None => (None, text),
    };
    match column.is_empty() || table.as_deref() == Some("") {
        true => Err("write it like updated_at, or users=changed_at".to_owned()),
        false => Ok((table, column.to_owned())),
    }
}

/// What is logged: `debug`, or `warn,rowferry::pull=debug`, and after a slash what lines must contain. The logger leaves out what it cannot
/// read, which is then missed.
pub fn log_filter(text: &str) -> Result<String, String> {
    let (levels, contains) = text.split_once('/').unwrap_or((text, ""));
    let is_level = |level: &str| level.trim().parse::<LevelFilter>().is_ok();
    let is_module = |module: &str| {
        let module = module.trim();
        !module.is_empty() && module.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | ':' | '-'))
    };
    let is_right = |part: &str| match part.split_once('=') {
        Some((module, level)) => is_module(module) && is_level(level),
        None => is_level(part),
    };
    match levels.split(',').all(is_right) && !contains.contains('/') {
        true => Ok(text.to_owned()),
        false => Err("write it like debug, or warn,rowferry::pull=debug".to_owned()),
    }
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

/// Seconds, or none.
pub fn seconds_or_none(text: &str) -> Result<Duration, String> {
    if text.parse() == Ok(0.0) { Ok(Duration::ZERO) } else { seconds(text) }
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
        Err(_) if number.is_nan() => Err("it is no number".to_owned()),
        Err(_) if number < 0.0 => Err("it must be more than 0".to_owned()),
        Err(_) => Err("it is too long".to_owned()),
    }
}

/// A new value for something that may also be taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change<T> {
    /// `none`: it is taken away.
    None,
    /// This is its value.
    To(T),
}

impl<T> Change<T> {
    pub fn value(&self) -> Option<&T> {
        match self {
            Change::None => None,
            Change::To(value) => Some(value),
        }
    }
}

/// `none`, or what the parser takes.
pub fn or_none<T>(parse: impl Fn(&str) -> Result<T, String> + Clone) -> impl Fn(&str) -> Result<Change<T>, String> + Clone {
    move |text| match text {
        "none" => Ok(Change::None),
        _ => parse(text).map(Change::To),
    }
}

/// An id, or a part of one.
pub fn id(text: &str) -> Result<String, String> {
    let digits = text.chars().filter(|c| *c != '-').count();
    match (4..=32).contains(&digits) && text.chars().all(|c| c == '-' || c.is_ascii_hexdigit()) {
        true => Ok(text.to_owned()),
        false => Err("write the id, or at least 4 of its digits: its beginning or its end".to_owned()),
    }
}

/// A count.
pub fn count(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "it is not a count: write a number, or none".to_owned())
}

/// `a,b`: at least one, apart by commas. One that has a comma or is called none goes into double quotes, its own ones doubled.
pub fn list<T: FromStr<Err: ToString>>(text: &str) -> Result<Vec<T>, String> {
    let mut names = vec![String::new()];
    let mut quoted = false;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let Some(name) = names.last_mut() else { break };
        match c {
            '"' if quoted && rest.peek() == Some(&'"') => name.extend(rest.next()),
            '"' if quoted || name.is_empty() => quoted = !quoted,
            ',' if !quoted => names.push(String::new()),
            c => name.push(c),
        }
    }
    if quoted || names.iter().any(String::is_empty) {
        return Err("write it like a,b".to_owned());
    }
    names.iter().map(|name| name.parse().map_err(|error: T::Err| error.to_string())).collect()
}

/// A moment, or a date, which stands for its beginning in UTC.
pub fn date(text: &str) -> Result<OffsetDateTime, String> {
    moment(text, Time::MIDNIGHT)
}

/// A moment, or a date, which stands for its last second in UTC.
pub fn date_end(text: &str) -> Result<OffsetDateTime, String> {
    moment(text, clock!(23:59:59))
}

fn moment(text: &str, time_of_day: Time) -> Result<OffsetDateTime, String> {
    let date = || Date::parse(text, format_description!("[year]-[month]-[day]"));
    let written =
        OffsetDateTime::parse(text, &Rfc3339).or_else(|_| date().map(|date| date.with_time(time_of_day).assume_utc()));
    written.map_err(|_| "write it like 2030-01-31 or 2030-01-31T18:00:00Z".to_owned())
}

/// `22-5`
pub fn hours_of_day(text: &str) -> Result<AllowedHours, String> {
    let hours = text.split_once('-').and_then(|(start, end)| Some((start.parse().ok()?, end.parse().ok()?)));
    let (start, end) = hours.ok_or("write it like 22-5, or none")?;
    AllowedHours::new(start, end).map_err(|error| error.to_string())
}

/// Notes: a JSON object.
pub fn metadata(text: &str) -> Result<Metadata, String> {
    serde_json::from_str(text).map_err(|error| format!("it is not a JSON object: {error}"))
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn keys_and_columns_go_with_their_tables() {
        let key = |table: &str, columns: &[&str]| Ok((table.to_owned(), columns.iter().map(|c| c.to_string()).collect()));
        assert_eq!(table_key("users=email"), key("users", &["email"]));
        assert_eq!(table_key("a=b=c,\"d,e\""), key("a=b", &["c", "d,e"]));
        assert!(["users", "users=", "=email", "users=a,"].iter().all(|text| table_key(text).is_err()));
        assert_eq!(newer_by("at"), Ok((None, "at".to_owned())));
        assert_eq!(newer_by("a=b=at"), Ok((Some("a=b".to_owned()), "at".to_owned())));
        assert!(["", "a=", "=at"].iter().all(|text| newer_by(text).is_err()));
    }

    #[test]
    fn a_filter_of_the_log_has_levels() {
        for right in ["off", "DEBUG", "warn,rowferry::pull=debug", "rowferry=info, rustls=error", "debug/table"] {
            assert_eq!(log_filter(right).as_deref(), Ok(right));
        }
        for wrong in
            ["", "nonsense=???", "nonsense", "debgu", "=debug", "rowferry=", "debug,", "a b=info", "info/a/b", "a=b=info"]
        {
            assert!(log_filter(wrong).is_err(), "{wrong}");
        }
    }

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
        assert_eq!(
            ["1e30", "-1", "NaN"].map(|text| seconds(text).unwrap_err()),
            ["it is too long", "it must be more than 0", "it is no number"]
        );
    }

    #[test]
    fn lists_may_have_names_with_commas() {
        for (text, names) in [
            ("users", &["users"][..]),
            ("a,b", &["a", "b"]),
            (r#""a,b",c"#, &["a,b", "c"]),
            (r#""none""#, &["none"]),
            (r#""say ""hi""",x"y"#, &[r#"say "hi""#, r#"x"y"#]),
            (" a, b", &[" a", " b"]),
        ] {
            assert_eq!(list::<String>(text).unwrap(), names, "{text}");
        }
        for bad in ["", ",", "a,", ",a", "a,,b", r#""a"#, r#""""#] {
            assert!(list::<String>(bad).is_err(), "{bad}");
        }
        assert_eq!(or_none(list::<String>)("none"), Ok(Change::None));
        assert_eq!(or_none(list::<String>)("a"), Ok(Change::To(vec!["a".to_owned()])));
        assert!(list::<rowferry::AddressRange>("10.0.0.0/8,x").unwrap_err().contains("\"x\" is "));
    }

    #[test]
    fn dates_have_a_beginning_and_an_end() {
        assert_eq!(date("2030-01-31"), Ok(datetime!(2030-01-31 00:00 UTC)));
        assert_eq!(date_end("2030-01-31"), Ok(datetime!(2030-01-31 23:59:59 UTC)));
        assert_eq!(date_end("2030-01-31T18:00:00+01:00"), Ok(datetime!(2030-01-31 18:00 +1)));
        for bad in ["", "soon", "2030-02-30", "2030-01-31 18:00", "31.1.2030", "2030-01-31T25:00:00Z"] {
            assert!(date(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn hours_counts_and_notes_are_checked() {
        assert_eq!(hours_of_day("22-5"), Ok(AllowedHours::new(22, 5).unwrap()));
        for bad in ["22", "22-24", "-1-5", "a-b", ""] {
            assert!(hours_of_day(bad).is_err(), "{bad}");
        }
        for bad in ["-1", "1.5", "x", "", "99999999999999999999"] {
            assert!(count(bad).is_err(), "{bad}");
        }
        assert_eq!(metadata(r#"{"a":1}"#).unwrap()["a"], 1);
        for bad in ["", "[]", "1", "{"] {
            assert!(metadata(bad).is_err(), "{bad}");
        }
    }
}
