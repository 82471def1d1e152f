-- +goose Up
-- By what the tickets of one customer are found (16 bytes of a keyed hash; empty:
-- none), and the ticket's way as JSON.
ALTER TABLE history ADD COLUMN phone_tag BLOB NOT NULL DEFAULT x'';
ALTER TABLE history ADD COLUMN email_tag BLOB NOT NULL DEFAULT x'';
ALTER TABLE history ADD COLUMN ref_tag BLOB NOT NULL DEFAULT x'';
ALTER TABLE history ADD COLUMN trail TEXT NOT NULL DEFAULT '';
CREATE INDEX history_phone ON history (phone_tag) WHERE phone_tag <> x'';
CREATE INDEX history_email ON history (email_tag) WHERE email_tag <> x'';
CREATE INDEX history_ref ON history (ref_tag) WHERE ref_tag <> x'';

-- Erasures of a person that were asked for. Tags are there until it is done.
CREATE TABLE erasures (
    id        TEXT    NOT NULL PRIMARY KEY,
    tags      BLOB    NOT NULL, -- 16 bytes each
    made_ms   INTEGER NOT NULL,
    made_by   TEXT    NOT NULL, -- user id
    done_ms   INTEGER NOT NULL, -- 0: not yet
    history   INTEGER NOT NULL, -- rows of the history that were emptied
    tickets   INTEGER NOT NULL  -- tickets in queues that were emptied
) STRICT, WITHOUT ROWID;
CREATE INDEX erasures_pending ON erasures (done_ms, made_ms);

-- Up to where personal data of a queue's finished tickets has been emptied.
CREATE TABLE retention (
    queue      TEXT    NOT NULL PRIMARY KEY,
    emptied_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Who does what only one node does at a time.
CREATE TABLE leases (
    name     TEXT    NOT NULL PRIMARY KEY,
    holder   TEXT    NOT NULL,
    until_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE leases;
DROP TABLE retention;
DROP TABLE erasures;
DROP INDEX history_ref;
DROP INDEX history_email;
DROP INDEX history_phone;
ALTER TABLE history DROP COLUMN trail;
ALTER TABLE history DROP COLUMN ref_tag;
ALTER TABLE history DROP COLUMN email_tag;
ALTER TABLE history DROP COLUMN phone_tag;
