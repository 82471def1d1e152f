-- Appends one entry if its owner still owns the queue and the entry follows the last one.
-- KEYS: 1 head, 2 log
-- ARGV: 1 owner, 2 operation of the last entry, 3 version of the last entry,
--       4 operation of this entry, 5 last version of this entry, 6 data
-- Answers 'OK <version>', 'DUP <version>' (this very entry is the last one already),
--       'FENCED' (another owner) or 'GAP <version>' (lost or gained events; 0 without a head).
-- The log is written before the head, and nothing before the log: an error of
-- its XADD (OOM, READONLY, MISCONF, NOREPLICAS) means that nothing was written.
local head = redis.call('GET', KEYS[1])
if head == ARGV[1] .. ARGV[2] .. ARGV[3] then
  local id = ARGV[5] .. '-0'
  if ARGV[3] == '0' then
    redis.call('XADD', KEYS[2], id, 'a', ARGV[3], 'o', ARGV[4], 'd', ARGV[6])
  elseif not redis.call('XADD', KEYS[2], 'NOMKSTREAM', id, 'a', ARGV[3], 'o', ARGV[4], 'd', ARGV[6]) then
    return 'GAP ' .. ARGV[3]
  end
  redis.call('SET', KEYS[1], ARGV[1] .. ARGV[4] .. ARGV[5])
  return 'OK ' .. ARGV[5]
end
if not head then
  return 'GAP 0'
end
if string.sub(head, 1, 16) ~= ARGV[1] then
  return 'FENCED'
end
local version = string.sub(head, 33)
if version == ARGV[5] and string.sub(head, 17, 32) == ARGV[4] then
  return 'DUP ' .. version
end
return 'GAP ' .. version
