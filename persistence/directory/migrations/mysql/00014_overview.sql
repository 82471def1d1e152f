-- +goose Up
-- What a supervisor sees of a queue at a glance, and the version that it is of.
-- Only who describes the whole queue writes these; 0: nobody has yet. MySQL cannot
-- add a column only where it is missing, and this may be done a second time.
SET @statement = IF(
    (SELECT COUNT(*) FROM information_schema.columns
     WHERE table_schema = DATABASE() AND table_name = 'queues' AND column_name = 'described') > 0,
    'DO 0',
    'ALTER TABLE queues
        ADD COLUMN called BIGINT NOT NULL DEFAULT 0,
        ADD COLUMN serving BIGINT NOT NULL DEFAULT 0,
        ADD COLUMN held BIGINT NOT NULL DEFAULT 0,
        ADD COLUMN attendants BIGINT NOT NULL DEFAULT 0,
        ADD COLUMN since_ms BIGINT NOT NULL DEFAULT 0,
        ADD COLUMN described BIGINT UNSIGNED NOT NULL DEFAULT 0');
PREPARE statement FROM @statement;
EXECUTE statement;
DEALLOCATE PREPARE statement;

-- Logins that failed or are under way, by keyed hashes of what was tried.
CREATE TABLE IF NOT EXISTS login_attempts (
    id      VARCHAR(64) NOT NULL PRIMARY KEY,
    email   BINARY(32)  NOT NULL,
    address BINARY(32)  NOT NULL,
    at_ms   BIGINT      NOT NULL,
    failed  BOOLEAN     NOT NULL,
    KEY login_attempts_email (email, at_ms),
    KEY login_attempts_address (address, at_ms),
    KEY login_attempts_at (at_ms)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The keys that sign and seal tokens, as nodes have had them.
CREATE TABLE IF NOT EXISTS token_keys (
    id       VARCHAR(32) NOT NULL PRIMARY KEY,
    proof    BINARY(16)  NOT NULL,
    first_ms BIGINT      NOT NULL,
    led_ms   BIGINT      NOT NULL -- when a node last signed with it, 0: never
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
SET @statement = IF(
    (SELECT COUNT(*) FROM information_schema.columns
     WHERE table_schema = DATABASE() AND table_name = 'ring_nodes' AND column_name = 'token_key_ids') > 0,
    'DO 0',
    'ALTER TABLE ring_nodes ADD COLUMN token_key_ids VARCHAR(2048) NOT NULL DEFAULT ''''');
PREPARE statement FROM @statement;
EXECUTE statement;
DEALLOCATE PREPARE statement;

-- An erasure may name a visit instead of a person's tags.
SET @statement = IF(
    (SELECT COUNT(*) FROM information_schema.columns
     WHERE table_schema = DATABASE() AND table_name = 'erasures' AND column_name = 'visit') > 0,
    'DO 0',
    'ALTER TABLE erasures ADD COLUMN visit VARBINARY(16) NOT NULL DEFAULT ''''');
PREPARE statement FROM @statement;
EXECUTE statement;
DEALLOCATE PREPARE statement;
SET @statement = IF(
    (SELECT COUNT(*) FROM information_schema.statistics
     WHERE table_schema = DATABASE() AND table_name = 'history' AND index_name = 'history_visit') > 0,
    'DO 0',
    'ALTER TABLE history ADD KEY history_visit (visit)');
PREPARE statement FROM @statement;
EXECUTE statement;
DEALLOCATE PREPARE statement;

-- +goose Down
ALTER TABLE history DROP KEY history_visit;
ALTER TABLE erasures DROP COLUMN visit;
ALTER TABLE ring_nodes DROP COLUMN token_key_ids;
DROP TABLE IF EXISTS token_keys;
DROP TABLE IF EXISTS login_attempts;
ALTER TABLE queues DROP COLUMN described, DROP COLUMN since_ms, DROP COLUMN attendants,
    DROP COLUMN held, DROP COLUMN serving, DROP COLUMN called;
