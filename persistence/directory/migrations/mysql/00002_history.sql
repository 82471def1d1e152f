-- One row for each finished ticket. Times are Unix milliseconds in UTC, 0 where
-- there is none; ids are the 16 bytes of a UUID, customer and payload sealed.
-- Texts are UTF-8 in binary columns: they are compared exactly, and the lengths
-- are those of four bytes for each character that the contract allows.

-- +goose Up
-- Each index gives rows in the list's order, so that a page reads no more than it
-- shows. Only what an attendant did in one queue or with one outcome is searched
-- for among all that the attendant did, which is no more than a person can do.
CREATE TABLE IF NOT EXISTS history (
    id               BINARY(16)       NOT NULL,
    queue            VARBINARY(63)    NOT NULL,
    number           VARBINARY(24)    NOT NULL,
    state            VARBINARY(16)    NOT NULL,
    priority         TINYINT UNSIGNED NOT NULL,
    source           VARBINARY(16)    NOT NULL,
    service          VARBINARY(400)   NOT NULL,
    customer         BLOB             NOT NULL,
    payload          BLOB             NOT NULL,
    visit            BINARY(16)       NOT NULL,
    enqueued_by      VARBINARY(256)   NOT NULL,
    attendant        VARBINARY(256)   NOT NULL,
    desk             VARBINARY(200)   NOT NULL,
    calls            INT UNSIGNED     NOT NULL,
    enqueued_ms      BIGINT           NOT NULL,
    called_ms        BIGINT           NOT NULL,
    started_ms       BIGINT           NOT NULL,
    finished_ms      BIGINT           NOT NULL,
    transferred_from VARBINARY(16)    NOT NULL COMMENT 'empty: none',
    transferred_to   VARBINARY(16)    NOT NULL COMMENT 'empty: none',
    transfer_queue   VARBINARY(63)    NOT NULL COMMENT 'where transferred_to stands',
    reason           VARBINARY(2000)  NOT NULL,
    outcome          VARBINARY(400)   NOT NULL COMMENT 'what complete gave, else the state',
    PRIMARY KEY (id),
    KEY history_all (finished_ms, id),
    KEY history_queue (queue, finished_ms, id),
    KEY history_outcome (outcome, finished_ms, id),
    KEY history_queue_outcome (queue, outcome, finished_ms, id),
    KEY history_attendant (attendant, finished_ms, id, queue, outcome)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC;

-- How far somebody who must have every event of a queue has come.
CREATE TABLE IF NOT EXISTS checkpoints (
    sink    VARBINARY(32)   NOT NULL,
    queue   VARBINARY(63)   NOT NULL,
    version BIGINT UNSIGNED NOT NULL,
    PRIMARY KEY (sink, queue)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC;

-- +goose Down
DROP TABLE IF EXISTS checkpoints;
DROP TABLE IF EXISTS history;
