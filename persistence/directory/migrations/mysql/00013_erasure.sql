-- +goose Up
-- By what the tickets of one customer are found (16 bytes of a keyed hash; empty:
-- none), and the ticket's way as JSON. MySQL cannot add a column only where it is
-- missing, and this may be done a second time.
SET @statement = IF(
    (SELECT COUNT(*) FROM information_schema.columns
     WHERE table_schema = DATABASE() AND table_name = 'history' AND column_name = 'trail') > 0,
    'DO 0',
    'ALTER TABLE history
        ADD COLUMN phone_tag VARBINARY(16) NOT NULL DEFAULT '''',
        ADD COLUMN email_tag VARBINARY(16) NOT NULL DEFAULT '''',
        ADD COLUMN ref_tag VARBINARY(16) NOT NULL DEFAULT '''',
        ADD COLUMN trail VARBINARY(16000) NOT NULL DEFAULT '''',
        ADD KEY history_phone (phone_tag),
        ADD KEY history_email (email_tag),
        ADD KEY history_ref (ref_tag)');
PREPARE statement FROM @statement;
EXECUTE statement;
DEALLOCATE PREPARE statement;

-- Erasures of a person that were asked for. Tags are there until it is done.
CREATE TABLE IF NOT EXISTS erasures (
    id        VARCHAR(64)      NOT NULL PRIMARY KEY,
    tags      VARBINARY(4096)  NOT NULL, -- 16 bytes each
    made_ms   BIGINT           NOT NULL,
    made_by   VARCHAR(64)      NOT NULL, -- user id
    done_ms   BIGINT           NOT NULL, -- 0: not yet
    history   BIGINT           NOT NULL, -- rows of the history that were emptied
    tickets   BIGINT           NOT NULL, -- tickets in queues that were emptied
    KEY erasures_pending (done_ms, made_ms)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Up to where personal data of a queue's finished tickets has been emptied.
CREATE TABLE IF NOT EXISTS retention (
    queue      VARCHAR(64) NOT NULL PRIMARY KEY,
    emptied_ms BIGINT      NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Who does what only one node does at a time.
CREATE TABLE IF NOT EXISTS leases (
    name     VARCHAR(64) NOT NULL PRIMARY KEY,
    holder   VARCHAR(64) NOT NULL,
    until_ms BIGINT      NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS leases;
DROP TABLE IF EXISTS retention;
DROP TABLE IF EXISTS erasures;
ALTER TABLE history DROP KEY history_ref, DROP KEY history_email, DROP KEY history_phone,
    DROP COLUMN trail, DROP COLUMN ref_tag, DROP COLUMN email_tag, DROP COLUMN phone_tag;
