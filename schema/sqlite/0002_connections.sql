-- Permanent pairings of two sites. Lists and notes are JSON text; moments are RFC 3339 text in UTC.
CREATE TABLE rowferry_connections (
  uuid TEXT PRIMARY KEY NOT NULL,
  name TEXT NOT NULL,
  direction TEXT NOT NULL,
  site_url TEXT NOT NULL,
  -- SHA-256 of the wire credential, as hex: finds the connection of a token and is of no use to whoever reads it.
  token_lookup TEXT NOT NULL,
  -- What this site must be able to send, sealed under the site's key: a receiver's token, a sender's wire credential.
  token_sealed TEXT NOT NULL,
  status TEXT NOT NULL,
  approval_mode TEXT NOT NULL,
  allowed_tables TEXT NOT NULL,
  excluded_tables TEXT NOT NULL,
  auto_approve_tables TEXT NOT NULL,
  expires_at TEXT,
  max_downloads INTEGER,
  max_records_total INTEGER,
  max_records_per_request INTEGER NOT NULL,
  rate_limit_requests_per_minute INTEGER NOT NULL,
  ip_whitelist TEXT NOT NULL,
  allowed_hours_start INTEGER,
  allowed_hours_end INTEGER,
  download_password_hash TEXT,
  default_conflict_strategy TEXT NOT NULL,
  auto_sync_enabled INTEGER NOT NULL,
  auto_sync_tables TEXT NOT NULL,
  auto_sync_interval_minutes INTEGER NOT NULL,
  downloads_used INTEGER NOT NULL,
  records_downloaded INTEGER NOT NULL,
  approved_at TEXT,
  approved_by TEXT,
  suspended_at TEXT,
  suspended_by TEXT,
  suspended_reason TEXT,
  -- 1 when it was the other site that suspended or revoked it: it may reactivate what it suspended, and delete either.
  suspended_by_peer INTEGER NOT NULL,
  revoked_at TEXT,
  revoked_by TEXT,
  revoked_reason TEXT,
  created_by TEXT NOT NULL,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  last_connected_at TEXT,
  last_transfer_at TEXT,
  total_transfers INTEGER NOT NULL,
  total_records_transferred INTEGER NOT NULL,
  total_bytes_transferred INTEGER NOT NULL,
  -- The minute that calls are counted in, and how many there were in it.
  rate_window TEXT,
  rate_count INTEGER NOT NULL,
  metadata TEXT NOT NULL,
  UNIQUE (site_url, direction),
  UNIQUE (token_lookup, direction)
);

-- One table moved once, with its approval. The code of a session is not kept, only the session's id.
CREATE TABLE rowferry_transfers (
  uuid TEXT PRIMARY KEY NOT NULL,
  direction TEXT NOT NULL,
  connection TEXT,
  session TEXT,
  remote_site_url TEXT,
  table_name TEXT NOT NULL,
  records_requested INTEGER,
  records_transferred INTEGER NOT NULL,
  records_created INTEGER NOT NULL,
  records_updated INTEGER NOT NULL,
  records_skipped INTEGER NOT NULL,
  records_failed INTEGER NOT NULL,
  bytes_transferred INTEGER NOT NULL,
  conflict_strategy TEXT,
  status TEXT NOT NULL,
  requires_approval INTEGER NOT NULL,
  approved_at TEXT,
  approved_by TEXT,
  denied_at TEXT,
  denied_by TEXT,
  denial_reason TEXT,
  approval_expires_at TEXT,
  requester_ip TEXT,
  requester_user_agent TEXT,
  initiated_by TEXT,
  error_message TEXT,
  started_at TEXT,
  completed_at TEXT,
  -- When something was last heard of it while it runs: one that is silent for long has died.
  touched_at TEXT NOT NULL,
  metadata TEXT NOT NULL,
  inserted_at TEXT NOT NULL
);
-- The newest one of a table is found without sorting, at a status or at any.
CREATE INDEX rowferry_transfers_by_connection ON rowferry_transfers (connection, table_name, status, inserted_at, uuid);
CREATE INDEX rowferry_transfers_by_table ON rowferry_transfers (connection, table_name, inserted_at, uuid);
CREATE INDEX rowferry_transfers_by_end ON rowferry_transfers (completed_at);
CREATE INDEX rowferry_transfers_by_time ON rowferry_transfers (inserted_at);
CREATE INDEX rowferry_transfers_by_status ON rowferry_transfers (status);

-- What happened, kept in the transaction that it tells of. Numbers are never given twice, because the newest event is never
-- dropped. (AUTOINCREMENT would do it, too, and put a table `sqlite_sequence` into the host's database.)
CREATE TABLE rowferry_events (
  id INTEGER PRIMARY KEY NOT NULL,
  at TEXT NOT NULL,
  kind TEXT NOT NULL,
  actor TEXT NOT NULL,
  connection TEXT,
  transfer TEXT,
  details TEXT NOT NULL
);
CREATE INDEX rowferry_events_by_connection ON rowferry_events (connection);
CREATE INDEX rowferry_events_by_transfer ON rowferry_events (transfer);
CREATE INDEX rowferry_events_by_time ON rowferry_events (at);

-- What the other sites are still to be told. The connection may be deleted meanwhile, so that all that is needed is here,
-- the secrets sealed under the site's key.
CREATE TABLE rowferry_outbox (
  -- Larger than that of every event and message before it. Each message is made together with an event, so that no number is
  -- given twice, though messages are deleted when they are sent.
  id INTEGER PRIMARY KEY NOT NULL,
  connection TEXT NOT NULL,
  direction TEXT NOT NULL,
  site_url TEXT NOT NULL,
  -- status, delete or rotate
  kind TEXT NOT NULL,
  -- For status: the new one.
  status TEXT,
  -- As token_sealed of the connection was: a receiver's token, a sender's wire credential.
  credential_sealed TEXT NOT NULL,
  -- For rotate: the new token.
  token_sealed TEXT,
  attempts INTEGER NOT NULL,
  next_at TEXT NOT NULL,
  last_error TEXT,
  created_at TEXT NOT NULL
);
CREATE INDEX rowferry_outbox_by_connection ON rowferry_outbox (connection);

-- Which process sends the messages of a connection just now, and until when at most.
CREATE TABLE rowferry_outbox_leases (
  connection TEXT PRIMARY KEY NOT NULL,
  holder TEXT NOT NULL,
  leased_until TEXT NOT NULL
);
