//! A database as it is shown: without a password.

/// Parameters of a URL that are no secrets.
const PLAIN: &[&str] = &["host", "hostaddr", "port", "user", "dbname", "sslmode", "connect_timeout", "application_name"];

/// What was typed after `--db`, without what might be a password. It can be typed again, with the password elsewhere.
pub fn without_password(db: &str) -> String {
    if !super::is_url(db) {
        return db.to_owned();
    }
    let (scheme, rest) = db.split_once("://").unwrap_or(("postgres", ""));
    let (base, query) = rest.split_once('?').unwrap_or((rest, ""));
    // As the URL is read: the user's name and password end at the first `@`, whatever is in them.
    let (user, place) = match base.split_once('@') {
        Some((credentials, place)) => (Some(credentials.split(':').next().unwrap_or_default()), place),
        None if query.contains('@') => (None, ""),
        None => (None, base),
    };
    // A password that has an `@` or a `?` itself was to be written otherwise: whatever is left of it is not shown.
    if place.contains('@') || rest.matches('@').count() > base.matches('@').count() {
        return format!("{scheme}://..");
    }
    let is_plain = |part: &&str| part.split_once('=').is_some_and(|(name, _)| PLAIN.contains(&name));
    let kept: Vec<&str> = query.split('&').filter(is_plain).collect();
    let user = user.map_or(String::new(), |user| format!("{user}@"));
    let query = if kept.is_empty() { String::new() } else { format!("?{}", kept.join("&")) };
    format!("{scheme}://{user}{place}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        for (url, expected) in [
            ("shop.db", "shop.db"),
            ("postgres://ann:secret@db.example:5433/shop", "postgres://ann@db.example:5433/shop"),
            ("postgresql://ann:se/cr?et@h/shop", "postgresql://.."),
            ("postgres://ann:se/cret@h/shop", "postgres://ann@h/shop"),
            ("postgres://ann:secr@et@h/shop", "postgres://.."),
            ("postgres://h/shop?user=ann&password=secret&sslmode=disable", "postgres://h/shop?user=ann&sslmode=disable"),
            ("postgres://h/shop?p%61ssword=secret", "postgres://h/shop"),
            ("postgres://ann:secret@/shop?host=/run/pg", "postgres://ann@/shop?host=/run/pg"),
            ("POSTGRES://ann@%2Frun%2Fpg/shop", "POSTGRES://ann@%2Frun%2Fpg/shop"),
        ] {
            let shown = without_password(url);
            assert_eq!(shown, expected, "{url}");
            assert!(!shown.contains("secret"));
        }
    }
}
