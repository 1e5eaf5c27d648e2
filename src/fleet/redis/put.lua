-- Shares an entry, unless one that was born later is there, or its time is over, or a change has voided it.
--
-- The value begins with 24 bytes that are not the record's: the epoch and the number at which it was born, eight bytes
-- each, the highest first, and eight that are zero.
--
-- KEYS[1]    the entry
-- KEYS[2..]  where the ledger is on the same server: epoch, rid, floor, and the marks of the entry's tags. Else nothing:
--            in a cluster, and with a ledger of its own, the marks are elsewhere, and it is the reader who checks them.
-- ARGV[1]    the value
-- ARGV[2]    when it goes, in milliseconds by the clock of this server
-- ARGV[3]    the epoch in which it was born, hexadecimal, and
-- ARGV[4]    its number in it
local time = redis.call('TIME')
if tonumber(ARGV[2]) <= tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) then return 'EXPIRED' end

if #KEYS > 1 then
  local rid = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
  if redis.pcall('GET', KEYS[2]) ~= ARGV[3] or redis.pcall('GET', KEYS[3]) ~= rid then return 'VOID' end
  for at = 4, #KEYS do
    local held = redis.pcall('HMGET', KEYS[at], 'e', 'h')
    if held.err then return 'VOID' end
    if held[1] == ARGV[3] and (tonumber(held[2] or '0') or 0) > tonumber(ARGV[4]) then return 'VOID' end
  end
end

-- A key of another type is overwritten like one that is not there. Bytes are compared one by one: `<` goes by the locale.
local held = redis.pcall('GETRANGE', KEYS[1], 0, 15)
if type(held) == 'string' and #held == 16 and string.sub(held, 1, 8) == string.sub(ARGV[1], 1, 8) then
  for at = 9, 16 do
    local there, here = string.byte(held, at), string.byte(ARGV[1], at)
    if there > here then return 'OUTRANKED' end
    if there < here then break end
  end
end
redis.call('SET', KEYS[1], ARGV[1], 'PXAT', ARGV[2])
return 'KEPT'
