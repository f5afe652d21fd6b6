//! Forgets the rows of a scope.

use super::{Scope, counts, key_map, references, stages, taken_keys, waiting};
use crate::error::Result;
use crate::store::Sql;

/// Forgets what a pull kept for itself, but for how far it is.
pub(crate) fn forget_scope(sql: &mut dyn Sql, scope: &Scope) -> Result<()> {
    stages::forget(sql, scope)?;
    waiting::forget(sql, scope)?;
    references::forget(sql, scope)?;
    key_map::forget(sql, scope)?;
    taken_keys::forget(sql, scope)?;
    counts::forget(sql, scope)
}
