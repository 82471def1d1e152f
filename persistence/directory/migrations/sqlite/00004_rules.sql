-- +goose Up
-- The rules of a queue about requests from RabbitMQ. A queue without any that
-- once had some keeps its row, so that whoever follows the revisions learns of it.
CREATE TABLE queue_rules (
    queue_id      TEXT    NOT NULL PRIMARY KEY,
    revision      INTEGER NOT NULL, -- of rules_clock when they were set
    queue_version INTEGER NOT NULL, -- of the queue when they were set
    rules         TEXT    NOT NULL, -- JSON list
    updated_ms    INTEGER NOT NULL,
    updated_by    TEXT    NOT NULL  -- user id
) STRICT, WITHOUT ROWID;
CREATE INDEX queue_rules_revision ON queue_rules (revision);

-- One row, which counts the changes of all rules. Each change locks it until it
-- is committed, so revisions become visible in their order, without gaps to wait for.
CREATE TABLE rules_clock (
    id       INTEGER NOT NULL PRIMARY KEY,
    revision INTEGER NOT NULL
) STRICT;
INSERT INTO rules_clock (id, revision) VALUES (1, 0);

-- +goose Down
DROP TABLE rules_clock;
DROP TABLE queue_rules;
