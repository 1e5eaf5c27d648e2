-- Up to where a stream has been read. One that has never been read counts as read up to its end of now, and that is
-- noted, so that nothing which is written from now on is passed over.
--
-- ARGV[4]  the stream
-- ARGV[5]  the id of its last record
local this, refusal = life()
if not this then return refusal end
if type(redis.pcall('HSETNX', READ, ARGV[4], ARGV[5])) == 'table' then
  redis.call('DEL', READ)
  redis.call('HSET', READ, ARGV[4], ARGV[5])
end
return redis.call('HGET', READ, ARGV[4])
