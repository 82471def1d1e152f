-- +goose Up
-- Which access tokens were ended before their time, for every node to follow. A
-- row is kept for longer than any of the tokens that it ends.
CREATE TABLE IF NOT EXISTS access_changes (
    revision BIGINT UNSIGNED NOT NULL PRIMARY KEY, -- of access_clock
    user_id  VARCHAR(64)     NOT NULL, -- its tokens of a lower epoch; empty: a family's
    epoch    BIGINT          NOT NULL,
    family   VARCHAR(64)     NOT NULL,
    made_ms  BIGINT          NOT NULL,
    KEY access_changes_made (made_ms)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- One row. Each change locks it until it is committed, so revisions become
-- visible in their order, without gaps to wait for.
CREATE TABLE IF NOT EXISTS access_clock (
    id       INT             NOT NULL PRIMARY KEY,
    revision BIGINT UNSIGNED NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
INSERT IGNORE INTO access_clock (id, revision) VALUES (1, 0);

-- +goose Down
DROP TABLE IF EXISTS access_clock;
DROP TABLE IF EXISTS access_changes;
