-- Makes an owner the queue's only writer.
-- KEYS: 1 head, 2 log, 3 snapshot
-- ARGV: 1 owner
-- Answers {version, operation of the last entry (16 bytes), version of the snapshot}.
-- The three keys always agree, but where somebody deleted some of them the
-- highest version that any of them knows counts, so that no version is given
-- twice; the missing events then show as trimmed ones to who reads the log.
local head = redis.call('GET', KEYS[1])
local version, op = '0', string.rep('\0', 16)
if head then
  version, op = string.sub(head, 33), string.sub(head, 17, 32)
end
local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
if last then
  local logged = string.match(last[1], '^%d+')
  if tonumber(logged) > tonumber(version) then
    version, op = logged, last[2][4]
  end
end
local snapshot = string.match(redis.call('LINDEX', KEYS[3], 0) or '0', '^%d+') or '0'
if tonumber(snapshot) > tonumber(version) then
  version, op = snapshot, string.rep('\0', 16)
end
if version ~= '0' and redis.call('EXISTS', KEYS[2]) == 0 then
  -- An empty log that stands at the version: append only adds to a log that is there.
  redis.call('XADD', KEYS[2], version .. '-0', 'lost', '1')
  redis.call('XDEL', KEYS[2], version .. '-0')
end
redis.call('SET', KEYS[1], ARGV[1] .. op .. version)
return {version, op, snapshot}
