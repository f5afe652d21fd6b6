-- States of senders that are here whole: the next pull of the same kind asks first whether anything has changed since. `local` is the state
-- of the rows here, as the process knew it that pulled them; `schema` the number of the schema here.
CREATE TABLE rowferry_same (
  sender text COLLATE "C" NOT NULL,
  plan text COLLATE "C" NOT NULL,
  incarnation text COLLATE "C" NOT NULL,
  here text COLLATE "C" NOT NULL,
  token text COLLATE "C" NOT NULL,
  schema bigint NOT NULL,
  local bytea,
  kept_at text COLLATE "C" NOT NULL,
  PRIMARY KEY (sender, plan)
);
