//! What to do about an error, in words of the command line: the library names its calls, here there are flags and commands.

use rowferry::{Error, ErrorKind};

/// The library's names in `code`, and what is typed instead. Those with a type stand for that one alone.
const NAMES: &[(&str, &str)] = &[
    ("Connections::list", "rowferry connections list --db DB"),
    ("always", "--always"),
    ("append_again", "--append-again"),
    ("append_new", "--append-new"),
    ("clear", "rowferry keymap clear"),
    ("create_missing_tables", "--no-create-tables"),
    ("dangling", "--dangling"),
    ("extra_columns", "--ignore-extra-columns"),
    ("key_file", "--key-file"),
    ("max_bytes", "--max-bytes"),
    ("max_records", "--max-records"),
    ("on_lossy", "--on-lossy"),
    ("outside_references", "--outside-references"),
    ("password", "--password-file"),
    ("remove_state", "rowferry state remove"),
    ("reset_key", "rowferry sessions reset-key"),
    ("root_certificate", "--ca-cert"),
    ("set_token", "rowferry connections update --token-file"),
    ("timeout", "--max-time"),
    ("trust_proxies", "--trusted-proxy"),
    ("trust_schema", "--trust-schema"),
    ("wait_for_approval", "--wait-for-approval"),
];

/// What helps where the library's hint names no flag or command: with a command, and for errors that this side found or those of the
/// other one.
const MORE: &[(&str, ErrorKind, From, &str)] = &[
    ("pull", ErrorKind::ApprovalExpired, From::Peer, "Pull again to ask for another approval."),
    ("pull", ErrorKind::ApprovalRequired, From::Peer, "--wait-for-approval SECONDS waits for it."),
    ("pull", ErrorKind::ConnectionNotActive, From::Here, "See `rowferry connections --help`."),
    ("pull", ErrorKind::ConnectionExpired, From::Here, "`rowferry connections update --expires-at` sets another date."),
    ("pull", ErrorKind::ForbiddenAddress, From::Here, ALLOW_INTERNAL),
    ("pull", ErrorKind::OutsideAllowedHours, From::Here, "`rowferry connections update --allowed-hours` changes them."),
    ("pull", ErrorKind::InvalidPassword, From::Peer, "See --password-file."),
    ("pull", ErrorKind::PasswordRequired, From::Peer, "See --password-file."),
    ("pull", ErrorKind::PullLimit, From::Here, "See --max-records and --max-bytes."),
    ("pull", ErrorKind::RecordLimit, From::Here, "`rowferry connections update --max-records-total` raises it."),
    ("pull", ErrorKind::Timeout, From::Here, "See --timeout and --max-time."),
    ("pull", ErrorKind::TableNotAllowed, From::Here, "`rowferry connections update --allowed-tables` changes it."),
    ("pull", ErrorKind::TableNotFound, From::Here, "`rowferry tables URL` lists them."),
    ("connections", ErrorKind::ForbiddenAddress, From::Here, ALLOW_INTERNAL),
    ("transfers", ErrorKind::NotFound, From::Here, "`rowferry transfers list --db DB` shows those that there are."),
    ("sessions", ErrorKind::NotFound, From::Here, "`rowferry sessions list --db DB` shows those that there are."),
];

const ALLOW_INTERNAL: &str = "`rowferry settings set allow_internal_urls true --db DB` does that.";

/// Whose error it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Here,
    Peer,
}

/// The message and what to do, as one text.
pub fn text(error: &Error, command: &str) -> String {
    let message = translated(error.message());
    match hint(error, command) {
        Some(hint) => format!("{message}. {hint}"),
        None => message,
    }
}

/// What to do about an error of a command.
pub fn hint(error: &Error, command: &str) -> Option<String> {
    let hint = error.hint().map(translated);
    let from = if error.is_from_peer() { From::Peer } else { From::Here };
    let is_meant = |entry: &&(&str, ErrorKind, From, &str)| (entry.0, entry.1, entry.2) == (command, error.kind(), from);
    let more = MORE.iter().find(is_meant).map(|(_, _, _, more)| *more);
    match (hint, more) {
        (Some(hint), Some(more)) if !hint.contains("--") && !hint.contains("`rowferry ") => Some(format!("{hint} {more}")),
        (None, Some(more)) => Some(more.to_owned()),
        (hint, _) => hint,
    }
}

/// A text of the library, with what is typed instead of the calls that it names in `code`, with or without their type.
pub fn translated(text: &str) -> String {
    let mut parts = text.split('`');
    let mut said = parts.next().unwrap_or_default().to_owned();
    while let Some(code) = parts.next() {
        let Some(after) = parts.next() else {
            said.extend(["`", code]);
            break;
        };
        let name = code.rsplit_once('(').map_or(code, |(call, _)| call).rsplit(['.', ':']).next().unwrap_or_default();
        let typed = NAMES.iter().find(|(call, _)| [code, name].contains(call)).map_or(code, |(_, typed)| typed);
        said.extend(["`", typed, "`", after]);
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_become_what_is_typed() {
        for (text, said) in [
            ("Set `append_again`.", "Set `--append-again`."),
            ("`PullOptions::append_new(true)`, or `append_again`", "`--append-new`, or `--append-again`"),
            ("Make one: `Site::reset_key`.", "Make one: `rowferry sessions reset-key`."),
            ("More time: `PullOptions::timeout`.", "More time: `--max-time`."),
            ("`Site::builder().key_file(..)`", "`--key-file`"),
            ("as `.trust_schema(true)` does", "as `--trust-schema` does"),
            (
                "`Connections::list` has them, `Tables::list` not.",
                "`rowferry connections list --db DB` has them, `Tables::list` not.",
            ),
            ("`nothing` known, and ` one alone", "`nothing` known, and ` one alone"),
            ("append_again without marks", "append_again without marks"),
        ] {
            assert_eq!(translated(text), said);
        }
    }

    #[test]
    fn a_hint_without_a_flag_gets_one() {
        let error = |hint: &str| hint_of(Error::new(ErrorKind::PullLimit, "m").with_hint(hint));
        fn hint_of(error: Error) -> String {
            hint(&error, "pull").unwrap_or_default()
        }
        assert_eq!(error("Pull again."), "Pull again. See --max-records and --max-bytes.");
        assert_eq!(error("Raise `max_bytes`."), "Raise `--max-bytes`.");
        assert_eq!(hint_of(Error::new(ErrorKind::PullLimit, "m")), "See --max-records and --max-bytes.");
        assert_eq!(hint_of(Error::new(ErrorKind::DiskFull, "m").with_hint("Make room.")), "Make room.");
        assert_eq!(text(&Error::new(ErrorKind::DiskFull, "m").with_hint("Make room."), "pull"), "m. Make room.");
        assert_eq!(hint(&Error::new(ErrorKind::PullLimit, "m"), "tables"), None);
    }
}
