-- Asks for a lease.
--
-- KEYS[1]  the lease
-- ARGV[1]  the token of whoever asks
-- ARGV[2]  for how long, in milliseconds
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return { 'GRANTED', 0 } end
local left = redis.call('PTTL', KEYS[1])
if left < 0 then
  -- Nobody who follows these rules leaves a lease without an end.
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  left = tonumber(ARGV[2])
end
if redis.pcall('GET', KEYS[1]) == 'pointless' then return { 'POINTLESS', left } end
return { 'HELD', left }
