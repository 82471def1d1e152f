-- One step of saving a snapshot. A large one is staged first, in a list of its
-- own that Redis drops by itself when nobody goes on: the step 'stage' begins
-- it, plain RPUSHX add its chunks, 'publish' puts it in the older one's place.
-- A small one comes with 'publish' itself. Both trim the log, but no more
-- entries than do not keep others waiting; 'trim' goes on with that.
-- KEYS: 1 head, 2 log, 3 snapshot, 4 staging
-- ARGV: 1 step, 2 owner, 3 version of the snapshot, 4 first version to keep (trimTo + 1),
--       5 header (begins with the version), 6 milliseconds that the staging lives,
--       7 number of chunks, 8 most entries to drop, 9 the only chunk (publish of a small one)
-- Answers 'OK', 'MORE' (OK, but entries are left to trim), 'OLD' (a newer one is
--       stored: nothing was done), 'LOST' (the staging is not whole, or the
--       snapshot that 'trim' belongs to is gone: nothing was done),
--       'FENCED' (another owner) or 'GAP <version>' (the journal does not reach the
--       snapshot; 0 without a head).
-- The first write is one that Redis refuses as a whole where it refuses any.
local step, owner, wanted = ARGV[1], ARGV[2], tonumber(ARGV[3])
local function refuse(answer)
  redis.call('UNLINK', KEYS[4])
  return answer
end
local head = redis.call('GET', KEYS[1])
if not head then
  return refuse('GAP 0')
end
if string.sub(head, 1, 16) ~= owner then
  return refuse('FENCED')
end
local version = string.sub(head, 33)
if wanted > tonumber(version) then
  return refuse('GAP ' .. version)
end
local stored = redis.call('LINDEX', KEYS[3], 0)
stored = stored and tonumber(string.match(stored, '^%d+')) or 0
if stored > wanted then
  return refuse('OLD')
end

if step == 'stage' then
  redis.call('RPUSH', KEYS[4], ARGV[5])
  redis.call('PEXPIRE', KEYS[4], ARGV[6])
  return 'OK'
end

if step == 'publish' then
  if ARGV[9] then
    redis.call('RPUSH', KEYS[4], ARGV[5], ARGV[9])
  elseif redis.call('LLEN', KEYS[4]) ~= tonumber(ARGV[7]) + 1 then
    return refuse('LOST')
  end
  redis.call('UNLINK', KEYS[3]) -- RENAME would free the older one here and now
  redis.call('RENAME', KEYS[4], KEYS[3])
  redis.call('PERSIST', KEYS[3])
elseif stored ~= wanted then
  return 'LOST' -- the snapshot that allowed to trim
end

local keep = ARGV[4]
if tonumber(keep) > tonumber(version) then
  keep = version -- the last entry always stays: it bears the operation
end
keep = keep .. '-0'
-- Whole nodes of the stream first, which can be bounded. Far below the bound it
-- was not what ended it: what is left then is within one node.
local most = tonumber(ARGV[8])
if redis.call('XTRIM', KEYS[2], 'MINID', '~', keep, 'LIMIT', most) > most / 2 then
  return 'MORE'
end
redis.call('XTRIM', KEYS[2], 'MINID', '=', keep)
return 'OK'
