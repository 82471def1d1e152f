#!lua flags=allow-oom
-- One step of the membership: what KEYS[1] holds is judged by this server's clock alone. It is done even where
-- memory is short: members that drop out would make nothing better.
--
-- KEYS[1]  hash: "#" is the view's number; every other field is a member's address with
--          "<life> <leaving 0 or 1> <lease's end, ms> <last renewal, ms> <roles>"
-- ARGV     1 what: join, renew, leave, evict or view
--          2 address  3 life
--          join, renew: 4 leaving  5 lease in ms  6 roles
--          evict: 4 the member must not have renewed its lease for so many ms
--
-- Answers {1 where it was done and 0 where that life is not a member (any more), number, address, life,
-- leaving, roles, address, …}.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local what, addr, life = ARGV[1], ARGV[2], ARGV[3]
local changed, done = false, 1

local members = {}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  if all[i] ~= '#' then
    local l, leaving, ends, renewed, roles = string.match(all[i + 1], '^(%S+) (%d) (%d+) (%d+) (%S*)$')
    -- No lease is that long: the clock was set back, and who was silent then would stay for as long.
    local far = ends and tonumber(ends) > now + 10000
    if l == nil or far or tonumber(ends) <= now then
      redis.call('HDEL', KEYS[1], all[i])
      changed = true
    else
      members[all[i]] = {l, leaving, tonumber(renewed), roles}
    end
  end
end

local mine = members[addr]
if what == 'view' then
  done = 1
elseif what ~= 'join' and (mine == nil or mine[1] ~= life) then
  done = 0
elseif what == 'join' or what == 'renew' then
  if mine == nil or mine[1] ~= life or mine[2] ~= ARGV[4] or mine[4] ~= ARGV[6] then changed = true end
  members[addr] = {life, ARGV[4], now, ARGV[6]}
  redis.call('HSET', KEYS[1], addr,
    string.format('%s %s %.0f %.0f %s', life, ARGV[4], now + tonumber(ARGV[5]), now, ARGV[6]))
elseif what == 'leave' or now - mine[3] >= tonumber(ARGV[4]) then
  redis.call('HDEL', KEYS[1], addr)
  members[addr] = nil
  changed = true
else
  done = 0
end

-- No number is below the time, so that it grows even where the store was emptied or has lost its last changes, and no
-- two views that anybody knows bear the same.
local number = redis.call('HGET', KEYS[1], '#')
if not number or changed then
  number = string.format('%.0f', math.max(now, tonumber(number or 0) + 1))
  redis.call('HSET', KEYS[1], '#', number)
end

local answer = {done, tostring(number)}
for a, m in pairs(members) do
  answer[#answer + 1] = a
  answer[#answer + 1] = m[1]
  answer[#answer + 1] = m[2]
  answer[#answer + 1] = m[4]
end
return answer
