-- Gives a lease back, if it is still the caller's.
--
-- KEYS[1]  the lease
-- ARGV[1]  the caller's token
-- ARGV[2]  for how long the next ones who ask are told that it is of no use, in milliseconds; '0': not at all
if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], 'pointless', 'PX', ARGV[2])
end
return 1
