-- Times are Unix milliseconds in UTC. Never edit a migration that was released: add the next one.
-- MySQL commits after each of these statements. So each must do no harm where it has been
-- done before, by a process that was killed half way: IF NOT EXISTS, IGNORE.
-- All text is compared by its bytes (utf8mb4_bin), as SQLite does.

-- +goose Up
CREATE TABLE IF NOT EXISTS users (
    id            VARCHAR(64)  NOT NULL PRIMARY KEY,
    email         VARCHAR(254) NOT NULL UNIQUE,
    name          TEXT         NOT NULL,
    level         VARCHAR(32)  NOT NULL,
    queues        MEDIUMTEXT   NOT NULL, -- JSON list of queue ids, or ["*"]
    password_hash VARCHAR(512) NOT NULL,
    disabled      BOOLEAN      NOT NULL,
    created_ms    BIGINT       NOT NULL,
    updated_ms    BIGINT       NOT NULL,
    token_epoch   BIGINT       NOT NULL  -- raised to end all sessions
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS refresh_tokens (
    hash       BINARY(32)  NOT NULL PRIMARY KEY, -- SHA-256 of the token
    family     VARCHAR(64) NOT NULL,
    user_id    VARCHAR(64) NOT NULL,
    user_epoch BIGINT      NOT NULL, -- the user's token_epoch when it was issued
    expires_ms BIGINT      NOT NULL,
    used_ms    BIGINT      NOT NULL, -- 0: not yet
    KEY refresh_tokens_family (family),
    KEY refresh_tokens_user (user_id),
    KEY refresh_tokens_expires (expires_ms)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- A deleted queue keeps its row: it remembers the highest version ever known.
CREATE TABLE IF NOT EXISTS queues (
    id         VARCHAR(64)     NOT NULL PRIMARY KEY,
    name       TEXT            NOT NULL,
    prefix     VARCHAR(16)     NOT NULL,
    status     VARCHAR(32)     NOT NULL,
    version    BIGINT UNSIGNED NOT NULL,
    epoch      VARCHAR(64)     NOT NULL,
    config     MEDIUMTEXT      NOT NULL, -- JSON
    waiting    BIGINT          NOT NULL,
    active     BIGINT          NOT NULL,
    updated_ms BIGINT          NOT NULL,
    deleted    BOOLEAN         NOT NULL,
    KEY queues_prefix (deleted, prefix)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Prefixes promised to queues whose first event has not arrived here yet.
CREATE TABLE IF NOT EXISTS prefix_reservations (
    queue_id VARCHAR(64) NOT NULL PRIMARY KEY,
    prefix   VARCHAR(16) NOT NULL UNIQUE,
    made_ms  BIGINT      NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Nobody's reservation, which never lapses: who locks all reservations finds
-- this one first, and so waits for whoever is choosing a prefix just now.
INSERT IGNORE INTO prefix_reservations (queue_id, prefix, made_ms) VALUES ('', '', 9223372036854775807);

-- +goose Down
DROP TABLE IF EXISTS prefix_reservations;
DROP TABLE IF EXISTS queues;
DROP TABLE IF EXISTS refresh_tokens;
DROP TABLE IF EXISTS users;
