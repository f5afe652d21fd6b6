-- What all scripts make of a new database. Written by a test of src/store/migrate.rs: see there.
CREATE TABLE rowferry_settings (
  key TEXT PRIMARY KEY NOT NULL,
  value TEXT NOT NULL
);
CREATE TABLE rowferry_sessions (
  uuid TEXT PRIMARY KEY NOT NULL,
  direction TEXT NOT NULL,
  code_hash TEXT NOT NULL UNIQUE,
  created_at TEXT NOT NULL,
  expires_at TEXT NOT NULL,
  used_at TEXT,
  used_by TEXT
, over_at TEXT);
CREATE TABLE rowferry_pulls (
  scope TEXT PRIMARY KEY NOT NULL,
  sender TEXT,
  owner TEXT NOT NULL,
  stages INTEGER NOT NULL,
  touched_at TEXT NOT NULL
, incarnation TEXT);
CREATE TABLE rowferry_counts (
  scope TEXT NOT NULL,
  parent TEXT NOT NULL,
  digest BLOB NOT NULL,
  copies INTEGER NOT NULL,
  PRIMARY KEY (scope, parent, digest)
) WITHOUT ROWID;
CREATE TABLE rowferry_connections (
  uuid TEXT PRIMARY KEY NOT NULL,
  name TEXT NOT NULL,
  direction TEXT NOT NULL,
  site_url TEXT NOT NULL,
  token_lookup TEXT NOT NULL,
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
  rate_window TEXT,
  rate_count INTEGER NOT NULL,
  metadata TEXT NOT NULL,
  UNIQUE (site_url, direction),
  UNIQUE (token_lookup, direction)
);
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
  touched_at TEXT NOT NULL,
  metadata TEXT NOT NULL,
  inserted_at TEXT NOT NULL
, pull TEXT, schema_digest TEXT, approved_records INTEGER, pull_turn INTEGER NOT NULL DEFAULT 0, pull_base INTEGER NOT NULL DEFAULT 0, pull_from TEXT, pull_reached INTEGER NOT NULL DEFAULT 0, pull_acked INTEGER NOT NULL DEFAULT 0, pull_again INTEGER NOT NULL DEFAULT 0, pull_state INTEGER NOT NULL DEFAULT 0, pull_state_from INTEGER NOT NULL DEFAULT 0, pull_state_to INTEGER NOT NULL DEFAULT 0, verified TEXT NOT NULL DEFAULT 'none');
CREATE INDEX rowferry_transfers_by_connection ON rowferry_transfers (connection, table_name, status, inserted_at, uuid);
CREATE INDEX rowferry_transfers_by_table ON rowferry_transfers (connection, table_name, inserted_at, uuid);
CREATE INDEX rowferry_transfers_by_end ON rowferry_transfers (completed_at);
CREATE INDEX rowferry_transfers_by_time ON rowferry_transfers (inserted_at);
CREATE INDEX rowferry_transfers_by_status ON rowferry_transfers (status);
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
CREATE TABLE rowferry_outbox (
  id INTEGER PRIMARY KEY NOT NULL,
  connection TEXT NOT NULL,
  direction TEXT NOT NULL,
  site_url TEXT NOT NULL,
  kind TEXT NOT NULL,
  status TEXT,
  credential_sealed TEXT NOT NULL,
  token_sealed TEXT,
  attempts INTEGER NOT NULL,
  next_at TEXT NOT NULL,
  last_error TEXT,
  created_at TEXT NOT NULL
);
CREATE INDEX rowferry_outbox_by_connection ON rowferry_outbox (connection);
CREATE TABLE rowferry_outbox_leases (
  connection TEXT PRIMARY KEY NOT NULL,
  holder TEXT NOT NULL,
  leased_until TEXT NOT NULL
);
CREATE TABLE rowferry_marks (
  scope TEXT NOT NULL,
  table_name TEXT NOT NULL,
  strategy TEXT NOT NULL,
  name TEXT NOT NULL,
  plan TEXT NOT NULL,
  step TEXT NOT NULL,
  records INTEGER NOT NULL,
  announced INTEGER NOT NULL,
  done_at TEXT,
  progress TEXT NOT NULL,
  PRIMARY KEY (scope, table_name, strategy)
);
CREATE TABLE rowferry_appends (
  sender TEXT NOT NULL,
  table_name TEXT NOT NULL,
  name TEXT NOT NULL,
  records INTEGER NOT NULL,
  whole INTEGER NOT NULL,
  finished_at TEXT NOT NULL, lacks_parents INTEGER NOT NULL DEFAULT 0, keys_kept INTEGER NOT NULL DEFAULT 0, incarnation TEXT,
  PRIMARY KEY (sender, table_name)
);
CREATE TABLE rowferry_tickets (
  lookup TEXT PRIMARY KEY NOT NULL,
  session TEXT NOT NULL,
  expires_at TEXT NOT NULL
, receiver TEXT, tables TEXT) WITHOUT ROWID;
CREATE TABLE rowferry_kept_tickets (
  place TEXT PRIMARY KEY NOT NULL,
  site_url TEXT NOT NULL,
  sender TEXT NOT NULL,
  ticket_sealed TEXT NOT NULL,
  expires_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX rowferry_kept_tickets_by_url ON rowferry_kept_tickets (site_url);
CREATE TABLE rowferry_staged (
  scope TEXT NOT NULL,
  stage INTEGER NOT NULL,
  first INTEGER NOT NULL,
  records INTEGER NOT NULL,
  cells BLOB NOT NULL,
  PRIMARY KEY (scope, stage, first)
) WITHOUT ROWID;
CREATE TABLE rowferry_pending (
  scope TEXT NOT NULL,
  stage INTEGER NOT NULL,
  record INTEGER NOT NULL,
  reference INTEGER NOT NULL,
  parent BLOB NOT NULL,
  PRIMARY KEY (scope, stage, record, reference)
) WITHOUT ROWID;
CREATE TABLE rowferry_values (
  scope TEXT NOT NULL,
  stage INTEGER NOT NULL,
  record INTEGER NOT NULL,
  set_number INTEGER NOT NULL,
  value BLOB NOT NULL,
  PRIMARY KEY (scope, stage, record, set_number)
) WITHOUT ROWID;
CREATE INDEX rowferry_values_by_value ON rowferry_values (scope, value);
CREATE TABLE rowferry_links (
  scope TEXT NOT NULL,
  value BLOB NOT NULL,
  stage INTEGER NOT NULL,
  record INTEGER NOT NULL,
  reference INTEGER NOT NULL,
  PRIMARY KEY (scope, value, stage, record, reference)
) WITHOUT ROWID;
CREATE TABLE rowferry_orphans (
  scope TEXT NOT NULL,
  stage INTEGER NOT NULL,
  record INTEGER NOT NULL,
  reference INTEGER NOT NULL,
  children INTEGER NOT NULL,
  PRIMARY KEY (scope, stage, record)
) WITHOUT ROWID;
CREATE INDEX rowferry_orphans_by_children ON rowferry_orphans (scope, children);
CREATE TABLE rowferry_key_maps (
  id INTEGER PRIMARY KEY NOT NULL,
  scope TEXT NOT NULL,
  parent TEXT NOT NULL,
  pull TEXT NOT NULL,
  runs INTEGER NOT NULL,
  last_given INTEGER NOT NULL DEFAULT 0,
  UNIQUE (scope, parent)
);
CREATE TABLE rowferry_keys (
  map INTEGER NOT NULL,
  old BLOB NOT NULL,
  stored BLOB,
  new BLOB NOT NULL,
  existing INTEGER NOT NULL,
  appended INTEGER NOT NULL,
  run INTEGER NOT NULL,
  PRIMARY KEY (map, old)
) WITHOUT ROWID;
CREATE INDEX rowferry_keys_moved ON rowferry_keys (map, new) WHERE appended = 0;
CREATE TABLE rowferry_taken_keys (
  scope TEXT NOT NULL,
  table_name TEXT NOT NULL,
  key BLOB NOT NULL,
  PRIMARY KEY (scope, table_name, key)
) WITHOUT ROWID;
CREATE TABLE rowferry_waiting (
  scope TEXT NOT NULL,
  stage INTEGER NOT NULL,
  record INTEGER NOT NULL,
  key BLOB NOT NULL,
  staged INTEGER NOT NULL,
  busy INTEGER NOT NULL,
  late TEXT,
  cells BLOB NOT NULL,
  PRIMARY KEY (scope, stage, record)
) WITHOUT ROWID;
CREATE INDEX rowferry_waiting_by_key ON rowferry_waiting (scope, stage, key, record, busy, late);
CREATE INDEX rowferry_waiting_by_late ON rowferry_waiting (scope, late);
CREATE INDEX rowferry_waiting_by_turn ON rowferry_waiting (scope, stage, busy, late, record);
CREATE INDEX rowferry_transfers_by_pull ON rowferry_transfers (pull, table_name, started_at);
CREATE TABLE rowferry_guesses (
  kind TEXT NOT NULL,
  whose TEXT NOT NULL,
  began_at TEXT NOT NULL,
  wrong INTEGER NOT NULL,
  PRIMARY KEY (kind, whose)
) WITHOUT ROWID;
CREATE INDEX rowferry_tickets_by_session ON rowferry_tickets (session);
CREATE INDEX rowferry_transfers_by_session ON rowferry_transfers (session, table_name) WHERE session IS NOT NULL;
CREATE TABLE rowferry_made (
  sender TEXT NOT NULL,
  table_name TEXT NOT NULL,
  columns BLOB NOT NULL,
  PRIMARY KEY (sender, table_name)
) WITHOUT ROWID;
CREATE TABLE rowferry_undo (
  seq INTEGER PRIMARY KEY,
  transfer TEXT NOT NULL,
  pull TEXT NOT NULL,
  table_name TEXT NOT NULL,
  entries INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  written_at TEXT NOT NULL,
  page BLOB NOT NULL
);
CREATE INDEX rowferry_undo_by_transfer ON rowferry_undo (transfer, seq, bytes, entries, written_at);
CREATE INDEX rowferry_undo_by_table ON rowferry_undo (table_name, seq, transfer);
