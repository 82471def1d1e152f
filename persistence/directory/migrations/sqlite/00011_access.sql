-- +goose Up
-- Which access tokens were ended before their time, for every node to follow. A
-- row is kept for longer than any of the tokens that it ends.
CREATE TABLE access_changes (
    revision INTEGER NOT NULL PRIMARY KEY, -- of access_clock
    user_id  TEXT    NOT NULL, -- its tokens of a lower epoch; empty: a family's
    epoch    INTEGER NOT NULL,
    family   TEXT    NOT NULL,
    made_ms  INTEGER NOT NULL
) STRICT;
CREATE INDEX access_changes_made ON access_changes (made_ms);

-- One row. Each change locks it until it is committed, so revisions become
-- visible in their order, without gaps to wait for.
CREATE TABLE access_clock (
    id       INTEGER NOT NULL PRIMARY KEY,
    revision INTEGER NOT NULL
) STRICT;
INSERT INTO access_clock (id, revision) VALUES (1, 0);

-- +goose Down
DROP TABLE access_clock;
DROP TABLE access_changes;
