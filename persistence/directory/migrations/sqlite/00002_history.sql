-- One row for each finished ticket. Times are Unix milliseconds in UTC, 0 where
-- there is none; ids are the 16 bytes of a UUID, customer and payload sealed.

-- +goose Up
CREATE TABLE history (
    id               BLOB    NOT NULL PRIMARY KEY,
    queue            TEXT    NOT NULL,
    number           TEXT    NOT NULL,
    state            TEXT    NOT NULL,
    priority         INTEGER NOT NULL,
    source           TEXT    NOT NULL,
    service          TEXT    NOT NULL,
    customer         BLOB    NOT NULL,
    payload          BLOB    NOT NULL,
    visit            BLOB    NOT NULL,
    enqueued_by      TEXT    NOT NULL,
    attendant        TEXT    NOT NULL,
    desk             TEXT    NOT NULL,
    calls            INTEGER NOT NULL,
    enqueued_ms      INTEGER NOT NULL,
    called_ms        INTEGER NOT NULL,
    started_ms       INTEGER NOT NULL,
    finished_ms      INTEGER NOT NULL,
    transferred_from BLOB    NOT NULL, -- empty: none
    transferred_to   BLOB    NOT NULL, -- empty: none
    transfer_queue   TEXT    NOT NULL, -- where transferred_to stands
    reason           TEXT    NOT NULL,
    outcome          TEXT    NOT NULL  -- what complete gave, else the state
) STRICT;
-- Each gives rows in the list's order, so that a page reads no more than it
-- shows. Only what an attendant did in one queue or with one outcome is searched
-- for among all that the attendant did, which is no more than a person can do.
CREATE INDEX history_all ON history (finished_ms, id);
CREATE INDEX history_queue ON history (queue, finished_ms, id);
CREATE INDEX history_outcome ON history (outcome, finished_ms, id);
CREATE INDEX history_queue_outcome ON history (queue, outcome, finished_ms, id);
CREATE INDEX history_attendant ON history (attendant, finished_ms, id, queue, outcome);

-- How far somebody who must have every event of a queue has come.
CREATE TABLE checkpoints (
    sink    TEXT    NOT NULL,
    queue   TEXT    NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (sink, queue)
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE checkpoints;
DROP TABLE history;
