//! Changing what a connection is called, where it leads and what it allows.

use std::fmt;

use uuid::Uuid;
use zeroize::Zeroizing;

use super::new::{check_url, hash};
use super::{Connections, found};
use crate::domain::connection::{
    Connection, ConnectionDirection, Metadata, Policy, check_metadata, check_receiver, normal_name,
};
use crate::domain::event::EventKind;
use crate::domain::url::SiteUrl;
use crate::error::Result;
use crate::state::{connections, outbox};

/// What of a connection may be changed. It begins as it is.
#[non_exhaustive]
pub struct ConnectionEdit {
    /// What people call it.
    pub name: String,
    /// The other site's URL.
    pub site_url: String,
    /// What it allows.
    pub policy: Policy,
    /// Notes. No place for secrets.
    pub metadata: Metadata,
    /// `None`: as it is. `Some(None)`: none.
    password: Option<Option<Zeroizing<String>>>,
}

impl ConnectionEdit {
    /// Pulls must give this password from now on.
    pub fn set_download_password(&mut self, password: impl Into<String>) {
        self.password = Some(Some(Zeroizing::new(password.into())));
    }

    /// Pulls need no password from now on.
    pub fn clear_download_password(&mut self) {
        self.password = Some(None);
    }
}

impl fmt::Debug for ConnectionEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectionEdit({:?}, {:?}, ..)", self.name, self.site_url)
    }
}

impl Connections<'_> {
    /// Changes a connection. Only what the edit changed is written, so that two edits of different fields at once both hold;
    /// of the same field the later one. Nothing is written when nothing is different. The event names the fields.
    ///
    /// An expired connection stays so until it is [reactivated](Connections::reactivate).
    ///
    /// # Errors
    /// Those of [`Connections::create`].
    pub fn update(&self, uuid: Uuid, edit: impl FnOnce(&mut ConnectionEdit)) -> Result<Connection> {
        let before = self.get(uuid)?;
        let (mut after, password) = self.edited(&before, edit)?;
        let now = self.site.now();
        let most = self.site.limits().server.metadata_bytes;
        let notes = std::mem::replace(&mut after.metadata, before.metadata.clone());
        self.site.change(|sql| {
            let current = found(sql, uuid)?;
            let mut changes = connections::differences(&before, &after)?;
            if let Some(password) = &password {
                changes.push(("download_password_hash", password.clone().into()));
            }
            let merged = merged(&current.metadata, &before.metadata, &notes);
            if merged != current.metadata {
                check_metadata(&merged, most)?;
                changes.push(("metadata", serde_json::Value::Object(merged).to_string().into()));
            }
            if changes.is_empty() {
                return Ok(current);
            }
            if after.site_url != before.site_url {
                check_url(sql, &after)?;
                outbox::moved(sql, uuid, &after.site_url)?;
            }
            if after.name != before.name {
                self.make_room(sql, now, &after)?;
            }
            let fields: Vec<_> = changes.iter().map(|(column, _)| field(column)).collect();
            connections::change(sql, uuid, now, changes)?;
            let about = Metadata::from_iter([("changed".to_owned(), fields.into())]);
            self.tell(sql, now, EventKind::ConnectionUpdated, uuid, about)?;
            found(sql, uuid)
        })
    }

    /// The connection as the edit wants it, checked, and what becomes of its password's hash.
    fn edited(
        &self,
        before: &Connection,
        edit: impl FnOnce(&mut ConnectionEdit),
    ) -> Result<(Connection, Option<Option<String>>)> {
        let mut wanted = ConnectionEdit {
            name: before.name.clone(),
            site_url: before.site_url.clone(),
            policy: before.policy.clone(),
            metadata: before.metadata.clone(),
            password: None,
        };
        edit(&mut wanted);
        let site_url = SiteUrl::of_site(&wanted.site_url)?;
        if site_url.to_string() != before.site_url {
            self.check_address(&site_url)?;
        }
        wanted.policy.check(self.site.limits().server.policy_entries)?;
        if before.direction == ConnectionDirection::Receiver {
            check_receiver(&before.policy, &wanted.policy, matches!(wanted.password, Some(Some(_))))?;
        }
        let password = match wanted.password {
            None => None,
            Some(None) => Some(None),
            Some(Some(password)) => Some(Some(hash(&password)?)),
        };
        let after = Connection {
            // One that rowferry 0.1.0 took may stay.
            name: if wanted.name == before.name { wanted.name } else { normal_name(&wanted.name)? },
            site_url: site_url.to_string(),
            policy: wanted.policy,
            metadata: wanted.metadata,
            ..before.clone()
        };
        Ok((after, password))
    }
}

/// The current notes with what was changed between `before` and `after`, key by key: what others noted meanwhile stays.
fn merged(current: &Metadata, before: &Metadata, after: &Metadata) -> Metadata {
    let mut merged = current.clone();
    merged.retain(|key, _| after.contains_key(key) || !before.contains_key(key));
    for (key, value) in after {
        if before.get(key) != Some(value) {
            merged.insert(key.clone(), value.clone());
        }
    }
    merged
}

/// What a column is called outside.
fn field(column: &str) -> &str {
    match column {
        "download_password_hash" => "download_password",
        "allowed_hours_start" | "allowed_hours_end" => "allowed_hours",
        column => column,
    }
}
