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

-- E-mail and name are sealed, by the program when it opens the directory: what
-- begins with the byte 1 is. A user is found by user_emails alone.
CREATE TABLE users_sealed (
    id            TEXT    NOT NULL PRIMARY KEY,
    email         BLOB    NOT NULL,
    name          BLOB    NOT NULL,
    level         TEXT    NOT NULL,
    queues        TEXT    NOT NULL, -- JSON list of queue ids, or ["*"]
    password_hash TEXT    NOT NULL,
    disabled      INTEGER NOT NULL,
    created_ms    INTEGER NOT NULL,
    updated_ms    INTEGER NOT NULL,
    token_epoch   INTEGER NOT NULL  -- raised to end all sessions
) STRICT, WITHOUT ROWID;
INSERT INTO users_sealed SELECT id, CAST(email AS BLOB), CAST(name AS BLOB), level, queues, password_hash, disabled,
    created_ms, updated_ms, token_epoch FROM users;
DROP TABLE users;
ALTER TABLE users_sealed RENAME TO users;
CREATE TABLE user_emails (
    email_index BLOB NOT NULL PRIMARY KEY, -- HMAC of the address, a row for each key of the ring
    user_id     TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX user_emails_user ON user_emails (user_id);

-- +goose Down
DROP TABLE user_emails;
-- What is sealed stays so: this is for a directory without users.
CREATE TABLE users_plain (
    id            TEXT    NOT NULL PRIMARY KEY,
    email         TEXT    NOT NULL UNIQUE,
    name          TEXT    NOT NULL,
    level         TEXT    NOT NULL,
    queues        TEXT    NOT NULL,
    password_hash TEXT    NOT NULL,
    disabled      INTEGER NOT NULL,
    created_ms    INTEGER NOT NULL,
    updated_ms    INTEGER NOT NULL,
    token_epoch   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO users_plain SELECT id, CAST(email AS TEXT), CAST(name AS TEXT), level, queues, password_hash, disabled,
    created_ms, updated_ms, token_epoch FROM users;
DROP TABLE users;
ALTER TABLE users_plain RENAME TO users;
DROP TABLE api_keys;
DROP TABLE audit_log;
