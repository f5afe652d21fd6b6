//! What a look at a database finds.

use std::fmt;

use serde::Serialize;

string_enum! {
    /// How much a [`Finding`] matters.
    #[non_exhaustive]
    pub enum FindingLevel("level of a finding") {
        /// As it should be.
        Ok = "ok",
        /// Works, but may lead to trouble, or leaves something out.
        Warning = "warning",
        /// To be mended.
        Problem = "problem",
    }
}

/// How thoroughly [`SiteBuilder::doctor`](crate::SiteBuilder::doctor) looks for damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum IntegrityCheck {
    /// It reads every page and row of the file: `PRAGMA quick_check`.
    #[default]
    Quick,
    /// It also compares indexes with their tables, which takes longer: `PRAGMA integrity_check`.
    Full,
}

/// One thing that [`SiteBuilder::doctor`](crate::SiteBuilder::doctor) looked at. Its text is one line: `problem: <message>. <hint>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// How much it matters.
    pub level: FindingLevel,
    /// What was looked at, in snake case, for scripts: `sqlite_version`, `journal_mode`, `integrity`, `foreign_keys`, `references`,
    /// `collations`, `modules`, `tables`, `file`, `file_system`, `space`, `clock`, `state`, `key`, `approvals` or `outbox`; of PostgreSQL
    /// `server_version`, `server`, `rights`, `durability` and `pooler`, too. There may
    /// be several findings of one code.
    pub code: &'static str,
    /// What was found: a sentence without a full stop.
    pub message: String,
    /// What to do about it: a sentence with its full stop. `None` where all is well.
    pub hint: Option<String>,
}

impl Finding {
    pub(crate) fn ok(code: &'static str, message: impl Into<String>) -> Self {
        Finding { level: FindingLevel::Ok, code, message: message.into(), hint: None }
    }

    pub(crate) fn warning(code: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Finding { level: FindingLevel::Warning, code, message: message.into(), hint: Some(hint.into()) }
    }

    pub(crate) fn problem(code: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Finding { level: FindingLevel::Problem, code, message: message.into(), hint: Some(hint.into()) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.level, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, ". {hint}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line() {
        let finding = Finding::problem("space", "the disk is full", "Free some room.");
        assert_eq!(finding.to_string(), "problem: the disk is full. Free some room.");
        let json = r#"{"level":"ok","code":"space","message":"enough","hint":null}"#;
        assert_eq!(serde_json::to_string(&Finding::ok("space", "enough")).unwrap(), json);
    }
}
