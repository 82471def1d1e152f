-- Times are Unix milliseconds in UTC. Never edit a migration that was released: add the next one.

-- +goose Up
CREATE TABLE users (
    id            TEXT    NOT NULL PRIMARY KEY,
    email         TEXT    NOT NULL UNIQUE,
    name          TEXT    NOT NULL,
    level         TEXT    NOT NULL,
    queues        TEXT    NOT NULL, -- JSON list of queue ids, or ["*"]
    password_hash TEXT    NOT NULL,
    disabled      INTEGER NOT NULL,
    created_ms    INTEGER NOT NULL,
    updated_ms    INTEGER NOT NULL,
    token_epoch   INTEGER NOT NULL  -- raised to end all sessions
) STRICT, WITHOUT ROWID;

CREATE TABLE refresh_tokens (
    hash       BLOB    NOT NULL PRIMARY KEY, -- SHA-256 of the token
    family     TEXT    NOT NULL,
    user_id    TEXT    NOT NULL,
    user_epoch INTEGER NOT NULL, -- the user's token_epoch when it was issued
    expires_ms INTEGER NOT NULL,
    used_ms    INTEGER NOT NULL  -- 0: not yet
) STRICT, WITHOUT ROWID;
CREATE INDEX refresh_tokens_family ON refresh_tokens (family);
CREATE INDEX refresh_tokens_user ON refresh_tokens (user_id);
CREATE INDEX refresh_tokens_expires ON refresh_tokens (expires_ms);

-- A deleted queue keeps its row: it remembers the highest version ever known.
CREATE TABLE queues (
    id         TEXT    NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL,
    prefix     TEXT    NOT NULL,
    status     TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    epoch      TEXT    NOT NULL,
    config     TEXT    NOT NULL, -- JSON
    waiting    INTEGER NOT NULL,
    active     INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    deleted    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX queues_prefix ON queues (deleted, prefix);

-- Prefixes promised to queues whose first event has not arrived here yet.
CREATE TABLE prefix_reservations (
    queue_id TEXT    NOT NULL PRIMARY KEY,
    prefix   TEXT    NOT NULL UNIQUE,
    made_ms  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE prefix_reservations;
DROP TABLE queues;
DROP TABLE refresh_tokens;
DROP TABLE users;
