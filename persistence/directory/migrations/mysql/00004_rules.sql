-- +goose Up
-- The rules of a queue about requests from RabbitMQ. A queue without any that
-- once had some keeps its row, so that whoever follows the revisions learns of it.
CREATE TABLE IF NOT EXISTS queue_rules (
    queue_id      VARCHAR(64)     NOT NULL PRIMARY KEY,
    revision      BIGINT UNSIGNED NOT NULL, -- of rules_clock when they were set
    queue_version BIGINT UNSIGNED NOT NULL, -- of the queue when they were set
    rules         MEDIUMTEXT      NOT NULL, -- JSON list
    updated_ms    BIGINT          NOT NULL,
    updated_by    VARCHAR(64)     NOT NULL, -- user id
    KEY queue_rules_revision (revision)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- One row, which counts the changes of all rules. Each change locks it until it
-- is committed, so revisions become visible in their order, without gaps to wait for.
CREATE TABLE IF NOT EXISTS rules_clock (
    id       INT             NOT NULL PRIMARY KEY,
    revision BIGINT UNSIGNED NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
INSERT IGNORE INTO rules_clock (id, revision) VALUES (1, 0);

-- +goose Down
DROP TABLE IF EXISTS rules_clock;
DROP TABLE IF EXISTS queue_rules;
