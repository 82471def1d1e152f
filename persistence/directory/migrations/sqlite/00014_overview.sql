-- +goose Up
-- What a supervisor sees of a queue at a glance, and the version that it is of.
-- Only who describes the whole queue writes these; 0: nobody has yet.
ALTER TABLE queues ADD COLUMN called INTEGER NOT NULL DEFAULT 0;
ALTER TABLE queues ADD COLUMN serving INTEGER NOT NULL DEFAULT 0;
ALTER TABLE queues ADD COLUMN held INTEGER NOT NULL DEFAULT 0;
ALTER TABLE queues ADD COLUMN attendants INTEGER NOT NULL DEFAULT 0;
ALTER TABLE queues ADD COLUMN since_ms INTEGER NOT NULL DEFAULT 0; -- of the longest wait
ALTER TABLE queues ADD COLUMN described INTEGER NOT NULL DEFAULT 0;

-- Logins that failed or are under way, by keyed hashes of what was tried.
CREATE TABLE login_attempts (
    id      TEXT    NOT NULL PRIMARY KEY,
    email   BLOB    NOT NULL,
    address BLOB    NOT NULL,
    at_ms   INTEGER NOT NULL,
    failed  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX login_attempts_email ON login_attempts (email, at_ms);
CREATE INDEX login_attempts_address ON login_attempts (address, at_ms);
CREATE INDEX login_attempts_at ON login_attempts (at_ms);

-- The keys that sign and seal tokens, as nodes have had them.
CREATE TABLE token_keys (
    id       TEXT    NOT NULL PRIMARY KEY,
    proof    BLOB    NOT NULL,
    first_ms INTEGER NOT NULL,
    led_ms   INTEGER NOT NULL -- when a node last signed with it, 0: never
) STRICT, WITHOUT ROWID;
ALTER TABLE ring_nodes ADD COLUMN token_key_ids TEXT NOT NULL DEFAULT '';

-- An erasure may name a visit instead of a person's tags.
ALTER TABLE erasures ADD COLUMN visit BLOB NOT NULL DEFAULT x'';
CREATE INDEX history_visit ON history (visit);

-- +goose Down
DROP INDEX history_visit;
ALTER TABLE erasures DROP COLUMN visit;
ALTER TABLE ring_nodes DROP COLUMN token_key_ids;
DROP TABLE token_keys;
DROP TABLE login_attempts;
ALTER TABLE queues DROP COLUMN described;
ALTER TABLE queues DROP COLUMN since_ms;
ALTER TABLE queues DROP COLUMN attendants;
ALTER TABLE queues DROP COLUMN held;
ALTER TABLE queues DROP COLUMN serving;
ALTER TABLE queues DROP COLUMN called;
