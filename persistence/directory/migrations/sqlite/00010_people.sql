-- +goose Up
-- Who did what, which administrators are asked for: ids and names of fields only,
-- nothing personal but the network address. Rows are never changed.
CREATE TABLE audit_log (
    id      BLOB    NOT NULL PRIMARY KEY,
    at_ms   INTEGER NOT NULL,
    user_id TEXT    NOT NULL, -- empty: somebody at the command line
    key_id  TEXT    NOT NULL, -- of the API key that was used; empty: none
    action  TEXT    NOT NULL,
    target  TEXT    NOT NULL, -- the id of what it was done to
    address TEXT    NOT NULL,
    details BLOB    NOT NULL  -- JSON, or empty
) STRICT, WITHOUT ROWID;
CREATE INDEX audit_log_at ON audit_log (at_ms, id);
CREATE INDEX audit_log_user ON audit_log (user_id, at_ms, id);
CREATE INDEX audit_log_action ON audit_log (action, at_ms, id);
CREATE INDEX audit_log_target ON audit_log (target, at_ms, id);

-- Long-lived credentials of programs and displays, each a user's.
CREATE TABLE api_keys (
    id         TEXT    NOT NULL PRIMARY KEY,
    hash       BLOB    NOT NULL UNIQUE, -- SHA-256 of the key
    user_id    TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL -- 0: never
) STRICT, WITHOUT ROWID;
CREATE INDEX api_keys_user ON api_keys (user_id, id);

-- +goose Down
DROP TABLE api_keys;
DROP TABLE audit_log;
