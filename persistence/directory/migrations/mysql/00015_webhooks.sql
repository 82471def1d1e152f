-- +goose Up
-- Receivers of events. What only the receiver and administrators may know, its
-- address and secrets, is sealed.
CREATE TABLE IF NOT EXISTS webhooks (
    id           VARCHAR(64)     NOT NULL PRIMARY KEY,
    sealed       BLOB            NOT NULL,
    description  TEXT            NOT NULL,
    queues       MEDIUMTEXT      NOT NULL, -- JSON list of queue ids, or ["*"]
    events       TEXT            NOT NULL, -- JSON list of kinds of events, or ["*"]
    enabled      BOOLEAN         NOT NULL,
    gone         BOOLEAN         NOT NULL, -- disabled because the receiver said so
    created_ms   BIGINT          NOT NULL,
    updated_ms   BIGINT          NOT NULL,
    old_until_ms BIGINT          NOT NULL, -- until when the secret of before signs too; 0: there is none
    dropped      BIGINT          NOT NULL, -- dead deliveries that went for want of room
    success_ms   BIGINT          NOT NULL, -- the last time that something was delivered
    failure_ms   BIGINT          NOT NULL, -- the last time that something was not
    failure      VARCHAR(64)     NOT NULL  -- and why
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What is to be delivered, and what could not be.
CREATE TABLE IF NOT EXISTS webhook_deliveries (
    webhook    VARCHAR(64)     NOT NULL,
    id         VARCHAR(64)     NOT NULL, -- made of the event: the same event is the same delivery
    queue      VARCHAR(64)     NOT NULL,
    version    BIGINT UNSIGNED NOT NULL,
    event      VARCHAR(64)     NOT NULL,
    body       MEDIUMBLOB      NOT NULL,
    attempts   BIGINT          NOT NULL,
    since_ms   BIGINT          NOT NULL, -- when the attempts began
    next_ms    BIGINT          NOT NULL, -- when the next one is due
    dead_ms    BIGINT          NOT NULL, -- 0: it waits
    reason     VARCHAR(64)     NOT NULL, -- why the last attempt failed
    PRIMARY KEY (webhook, id),
    KEY webhook_deliveries_due (webhook, dead_ms, next_ms, version)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS webhook_deliveries;
DROP TABLE IF EXISTS webhooks;
