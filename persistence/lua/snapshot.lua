-- Stores a snapshot in place of the older one and trims the log behind it.
-- KEYS: 1 head, 2 log, 3 snapshot
-- ARGV: 1 owner, 2 version of the snapshot, 3 data, 4 first version to keep (trimTo + 1)
-- Answers 'OK', 'OLD' (a newer one is stored: nothing was done), 'FENCED' (another
--       owner) or 'GAP <version>' (the journal does not reach the snapshot; 0 without a head).
local head = redis.call('GET', KEYS[1])
if not head then
  return 'GAP 0'
end
if string.sub(head, 1, 16) ~= ARGV[1] then
  return 'FENCED'
end
local version = string.sub(head, 33)
if tonumber(ARGV[2]) > tonumber(version) then
  return 'GAP ' .. version
end
local stored = redis.call('HGET', KEYS[3], 'v')
if stored and tonumber(stored) > tonumber(ARGV[2]) then
  return 'OLD'
end
redis.call('HSET', KEYS[3], 'v', ARGV[2], 'd', ARGV[3])
local keep = ARGV[4]
if tonumber(keep) > tonumber(version) then
  keep = version -- the last entry always stays: it bears the operation
end
redis.call('XTRIM', KEYS[2], 'MINID', '=', keep .. '-0')
return 'OK'
