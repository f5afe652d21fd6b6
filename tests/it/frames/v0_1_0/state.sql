-- What rowferry 0.1.0 left in a database: a finished append of users, and a pull of posts that was interrupted after three of six rows.
CREATE TABLE "users"("id" INTEGER PRIMARY KEY NOT NULL, "name" TEXT);
INSERT INTO "users" VALUES(1,'a');
INSERT INTO "users" VALUES(2,'b');
CREATE TABLE "posts"("id" INTEGER PRIMARY KEY NOT NULL, "user_id" INTEGER, "body" TEXT, FOREIGN KEY ("user_id") REFERENCES "users"("id") ON DELETE NO ACTION ON UPDATE NO ACTION);
INSERT INTO "posts" VALUES(1,2,'p1');
INSERT INTO "posts" VALUES(2,1,'p2');
INSERT INTO "posts" VALUES(3,2,'p3');
CREATE TABLE rowferry_appends (
  sender TEXT NOT NULL,
  table_name TEXT NOT NULL,
  name TEXT NOT NULL,
  records INTEGER NOT NULL,
  whole INTEGER NOT NULL,
  finished_at TEXT NOT NULL, lacks_parents INTEGER NOT NULL DEFAULT 0, keys_kept INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (sender, table_name)
);
INSERT INTO "rowferry_appends" VALUES('site:SENDER','users','users',2,1,'2026-11-30T04:48:37Z',0,1);
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
CREATE TABLE rowferry_counts (
  scope TEXT NOT NULL,
  parent TEXT NOT NULL,
  digest BLOB NOT NULL,
  copies INTEGER NOT NULL,
  PRIMARY KEY (scope, parent, digest)
) WITHOUT ROWID;
CREATE TABLE rowferry_events (
  id INTEGER PRIMARY KEY NOT NULL,
  at TEXT NOT NULL,
  kind TEXT NOT NULL,
  actor TEXT NOT NULL,
  connection TEXT,
  transfer TEXT,
  details TEXT NOT NULL
);
INSERT INTO "rowferry_events" VALUES(1,'2026-11-30T04:48:37Z','transfer.created','command line',NULL,'01a22ac8-9411-7794-bf80-bf5c4718e531','{"direction":"receive","table":"users"}');
INSERT INTO "rowferry_events" VALUES(2,'2026-11-30T04:48:37Z','transfer.started','command line',NULL,'01a22ac8-9411-7794-bf80-bf5c4718e531','{"direction":"receive","table":"users"}');
INSERT INTO "rowferry_events" VALUES(3,'2026-11-30T04:48:37Z','transfer.completed','command line',NULL,'01a22ac8-9411-7794-bf80-bf5c4718e531','{"bytes":54,"direction":"receive","records":2,"table":"users"}');
INSERT INTO "rowferry_events" VALUES(4,'2026-11-30T04:48:37Z','transfer.created','command line',NULL,'01a22ac8-9420-725b-9aa7-df4d86620d40','{"direction":"receive","table":"posts"}');
INSERT INTO "rowferry_events" VALUES(5,'2026-11-30T04:48:37Z','transfer.started','command line',NULL,'01a22ac8-9420-725b-9aa7-df4d86620d40','{"direction":"receive","table":"posts"}');
INSERT INTO "rowferry_events" VALUES(6,'2026-11-30T04:48:37Z','transfer.failed','command line',NULL,'01a22ac8-9420-725b-9aa7-df4d86620d40','{"bytes":113,"direction":"receive","reason":"the other site answered the request for the rows of \"posts\": Record limit reached","records":3,"table":"posts"}');
CREATE TABLE rowferry_kept_tickets (
  place TEXT PRIMARY KEY NOT NULL,
  site_url TEXT NOT NULL,
  sender TEXT NOT NULL,
  ticket_sealed TEXT NOT NULL,
  expires_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE rowferry_key_maps (
  id INTEGER PRIMARY KEY NOT NULL,
  scope TEXT NOT NULL,
  parent TEXT NOT NULL,
  pull TEXT NOT NULL,
  runs INTEGER NOT NULL,
  last_given INTEGER NOT NULL DEFAULT 0,
  UNIQUE (scope, parent)
);
INSERT INTO "rowferry_key_maps" VALUES(1,'site:SENDER','users','01a22ac8940e77ffafc199e85e9ca5ab',1,2);
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
INSERT INTO "rowferry_keys" VALUES(1,X'690000000000000001',NULL,X'690000000000000001',0,1,1);
INSERT INTO "rowferry_keys" VALUES(1,X'690000000000000002',NULL,X'690000000000000002',0,1,1);
CREATE TABLE rowferry_links (
  scope TEXT NOT NULL,
  value BLOB NOT NULL,
  stage INTEGER NOT NULL,
  record INTEGER NOT NULL,
  reference INTEGER NOT NULL,
  PRIMARY KEY (scope, value, stage, record, reference)
) WITHOUT ROWID;
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
INSERT INTO "rowferry_marks" VALUES('01a22ac8941e77788252c730629efad7','posts','overwrite','posts','37662985d3df654216a7a381b2fffc2a4dda1fc749258c07adcbfce46bc5efc7','fetching',3,6,NULL,'{"place":"AQEAEQM=","continues":true,"bytes":113,"states":[8864093734495391],"stage":1,"counted":false,"counts":[3,0,0,0,0],"failures":[],"lacks_parents":false,"again":true,"created":true,"notes":[]}');
CREATE TABLE rowferry_migrations (version INTEGER PRIMARY KEY NOT NULL, applied_at TEXT NOT NULL);
INSERT INTO "rowferry_migrations" VALUES(1,'2026-11-30T04:48:37Z');
INSERT INTO "rowferry_migrations" VALUES(2,'2026-11-30T04:48:37Z');
INSERT INTO "rowferry_migrations" VALUES(3,'2026-11-30T04:48:37Z');
INSERT INTO "rowferry_migrations" VALUES(4,'2026-11-30T04:48:37Z');
INSERT INTO "rowferry_migrations" VALUES(5,'2026-11-30T04:48:37Z');
INSERT INTO "rowferry_migrations" VALUES(6,'2026-11-30T04:48:37Z');
INSERT INTO "rowferry_migrations" VALUES(7,'2026-11-30T04:48:37Z');
CREATE TABLE rowferry_orphans (
  scope TEXT NOT NULL,
  stage INTEGER NOT NULL,
  record INTEGER NOT NULL,
  reference INTEGER NOT NULL,
  children INTEGER NOT NULL,
  PRIMARY KEY (scope, stage, record)
) WITHOUT ROWID;
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
CREATE TABLE rowferry_outbox_leases (
  connection TEXT PRIMARY KEY NOT NULL,
  holder TEXT NOT NULL,
  leased_until TEXT NOT NULL
);
CREATE TABLE rowferry_pending (
  scope TEXT NOT NULL,
  stage INTEGER NOT NULL,
  record INTEGER NOT NULL,
  reference INTEGER NOT NULL,
  parent BLOB NOT NULL,
  PRIMARY KEY (scope, stage, record, reference)
) WITHOUT ROWID;
CREATE TABLE rowferry_pulls (
  scope TEXT PRIMARY KEY NOT NULL,
  sender TEXT,
  owner TEXT NOT NULL,
  stages INTEGER NOT NULL,
  touched_at TEXT NOT NULL
);
INSERT INTO "rowferry_pulls" VALUES('01a22ac8941e77788252c730629efad7','site:SENDER','',1,'2026-11-30T04:48:37Z');
CREATE TABLE rowferry_sessions (
  uuid TEXT PRIMARY KEY NOT NULL,
  direction TEXT NOT NULL,
  code_hash TEXT NOT NULL UNIQUE,
  created_at TEXT NOT NULL,
  expires_at TEXT NOT NULL,
  used_at TEXT,
  used_by TEXT
);
CREATE TABLE rowferry_settings (
  key TEXT PRIMARY KEY NOT NULL,
  value TEXT NOT NULL
);
CREATE TABLE rowferry_staged (
  scope TEXT NOT NULL,
  stage INTEGER NOT NULL,
  first INTEGER NOT NULL,
  records INTEGER NOT NULL,
  cells BLOB NOT NULL,
  PRIMARY KEY (scope, stage, first)
) WITHOUT ROWID;
CREATE TABLE rowferry_taken_keys (
  scope TEXT NOT NULL,
  table_name TEXT NOT NULL,
  key BLOB NOT NULL,
  PRIMARY KEY (scope, table_name, key)
) WITHOUT ROWID;
CREATE TABLE rowferry_tickets (
  lookup TEXT PRIMARY KEY NOT NULL,
  session TEXT NOT NULL,
  expires_at TEXT NOT NULL
) WITHOUT ROWID;
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
);
INSERT INTO "rowferry_transfers" VALUES('01a22ac8-9411-7794-bf80-bf5c4718e531','receive',NULL,NULL,'http://127.0.0.1:7391','users',2,2,2,0,0,0,54,'append','completed',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'command line',NULL,'2026-11-30T04:48:37Z','2026-11-30T04:48:37Z','2026-11-30T04:48:37Z','{}','2026-11-30T04:48:37Z');
INSERT INTO "rowferry_transfers" VALUES('01a22ac8-9420-725b-9aa7-df4d86620d40','receive',NULL,NULL,'http://127.0.0.1:7391','posts',6,3,3,0,0,0,113,'overwrite','failed',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'command line','the other site answered the request for the rows of "posts": Record limit reached','2026-11-30T04:48:37Z','2026-11-30T04:48:37Z','2026-11-30T04:48:37Z','{}','2026-11-30T04:48:37Z');
CREATE TABLE rowferry_values (
  scope TEXT NOT NULL,
  stage INTEGER NOT NULL,
  record INTEGER NOT NULL,
  set_number INTEGER NOT NULL,
  value BLOB NOT NULL,
  PRIMARY KEY (scope, stage, record, set_number)
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
CREATE INDEX rowferry_transfers_by_connection ON rowferry_transfers (connection, table_name, status, inserted_at, uuid);
CREATE INDEX rowferry_transfers_by_table ON rowferry_transfers (connection, table_name, inserted_at, uuid);
CREATE INDEX rowferry_transfers_by_end ON rowferry_transfers (completed_at);
CREATE INDEX rowferry_transfers_by_time ON rowferry_transfers (inserted_at);
CREATE INDEX rowferry_transfers_by_status ON rowferry_transfers (status);
CREATE INDEX rowferry_events_by_connection ON rowferry_events (connection);
CREATE INDEX rowferry_events_by_transfer ON rowferry_events (transfer);
CREATE INDEX rowferry_events_by_time ON rowferry_events (at);
CREATE INDEX rowferry_outbox_by_connection ON rowferry_outbox (connection);
CREATE INDEX rowferry_kept_tickets_by_url ON rowferry_kept_tickets (site_url);
CREATE INDEX rowferry_values_by_value ON rowferry_values (scope, value);
CREATE INDEX rowferry_orphans_by_children ON rowferry_orphans (scope, children);
CREATE INDEX rowferry_keys_moved ON rowferry_keys (map, new) WHERE appended = 0;
CREATE INDEX rowferry_waiting_by_key ON rowferry_waiting (scope, stage, key, record, busy, late);
CREATE INDEX rowferry_waiting_by_late ON rowferry_waiting (scope, late);
CREATE INDEX rowferry_waiting_by_turn ON rowferry_waiting (scope, stage, busy, late, record);
