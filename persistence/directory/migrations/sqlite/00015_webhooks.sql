-- +goose Up
-- Receivers of events. What only the receiver and administrators may know, its
-- address and secrets, is sealed.
CREATE TABLE webhooks (
    id           TEXT    NOT NULL PRIMARY KEY,
    sealed       BLOB    NOT NULL,
    description  TEXT    NOT NULL,
    queues       TEXT    NOT NULL, -- JSON list of queue ids, or ["*"]
    events       TEXT    NOT NULL, -- JSON list of kinds of events, or ["*"]
    enabled      INTEGER NOT NULL,
    gone         INTEGER NOT NULL, -- disabled because the receiver said so
    created_ms   INTEGER NOT NULL,
    updated_ms   INTEGER NOT NULL,
    old_until_ms INTEGER NOT NULL, -- until when the secret of before signs too; 0: there is none
    dropped      INTEGER NOT NULL, -- dead deliveries that went for want of room
    success_ms   INTEGER NOT NULL, -- the last time that something was delivered
    failure_ms   INTEGER NOT NULL, -- the last time that something was not
    failure      TEXT    NOT NULL  -- and why
) STRICT, WITHOUT ROWID;

-- What is to be delivered, and what could not be.
CREATE TABLE webhook_deliveries (
    webhook    TEXT    NOT NULL,
    id         TEXT    NOT NULL, -- made of the event: the same event is the same delivery
    queue      TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    event      TEXT    NOT NULL,
    body       BLOB    NOT NULL,
    attempts   INTEGER NOT NULL,
    since_ms   INTEGER NOT NULL, -- when the attempts began
    next_ms    INTEGER NOT NULL, -- when the next one is due
    dead_ms    INTEGER NOT NULL, -- 0: it waits
    reason     TEXT    NOT NULL, -- why the last attempt failed
    PRIMARY KEY (webhook, id)
) STRICT;
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (webhook, dead_ms, next_ms, version);

-- +goose Down
DROP TABLE webhook_deliveries;
DROP TABLE webhooks;
