-- rowferry's own state. Moments are RFC 3339 text in UTC, which sorts.

CREATE TABLE rowferry_settings (
  key TEXT PRIMARY KEY NOT NULL,
  value TEXT NOT NULL
);

-- One-off pairings. The code itself is not kept: only its HMAC under the site's key, as hex.
CREATE TABLE rowferry_sessions (
  uuid TEXT PRIMARY KEY NOT NULL,
  direction TEXT NOT NULL,
  code_hash TEXT NOT NULL UNIQUE,
  created_at TEXT NOT NULL,
  expires_at TEXT NOT NULL,
  used_at TEXT,
  used_by TEXT
);

-- Pulls that have begun and not ended, each with when it last wrote. One that has not for long is given up: what it kept
-- under its scope in the tables below is dropped then. The sender is who the rows come from, if the pull may be gone on with;
-- the owner is the run that does so.
CREATE TABLE rowferry_pulls (
  scope TEXT PRIMARY KEY NOT NULL,
  sender TEXT,
  owner TEXT NOT NULL,
  stages INTEGER NOT NULL,
  touched_at TEXT NOT NULL
);

-- What one pull keeps while it runs (scope): the keys that appended rows got.
CREATE TABLE rowferry_key_map (
  scope TEXT NOT NULL,
  parent TEXT NOT NULL,
  old BLOB NOT NULL,
  new BLOB NOT NULL,
  existing INTEGER NOT NULL,
  PRIMARY KEY (scope, parent, old)
) WITHOUT ROWID;

-- The tables that a pull's rows are staged in.
CREATE TABLE rowferry_stages (
  scope TEXT NOT NULL,
  number INTEGER NOT NULL,
  width INTEGER NOT NULL,
  created_at TEXT NOT NULL,
  PRIMARY KEY (scope, number)
);

-- How often each row of a table without a key is there, by the digest of its content.
CREATE TABLE rowferry_counts (
  scope TEXT NOT NULL,
  parent TEXT NOT NULL,
  digest BLOB NOT NULL,
  copies INTEGER NOT NULL,
  PRIMARY KEY (scope, parent, digest)
) WITHOUT ROWID;
