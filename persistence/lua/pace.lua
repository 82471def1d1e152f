-- Takes one more act within a window, unless there are too many.
-- KEYS[1]  a list of the times of the last acts in ms, the oldest first
-- ARGV     how many are let through in a window, the window in ms
-- Answers 0, or in how many ms the next one will be let through.
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local limit, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local oldest = redis.call('LINDEX', KEYS[1], 0)
while oldest and tonumber(oldest) + window <= now do
  redis.call('LPOP', KEYS[1])
  oldest = redis.call('LINDEX', KEYS[1], 0)
end
if redis.call('LLEN', KEYS[1]) >= limit then
  return math.max(1, tonumber(oldest) + window - now)
end
redis.call('RPUSH', KEYS[1], now)
redis.call('PEXPIRE', KEYS[1], window)
return 0
