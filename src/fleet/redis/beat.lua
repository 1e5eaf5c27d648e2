-- A heartbeat: registers the node, takes or renews the scribe's lease, and tells where the log is.
--
-- ARGV[4]    the node
-- ARGV[5,6]  the epoch and the number up to which it has applied the log; '' before its first reply
-- ARGV[7]    its lease, in milliseconds
-- ARGV[8]    for how long a node that has gone is still listed, in milliseconds
local this, refusal = life()
if not this then return refusal end
local time = now()

-- A node that does not know this life has applied nothing of it, whatever it will begin with: until it says so it may
-- still go on by what it knew. From here on it is counted by everyone who appends.
local applied = 0
if ARGV[5] == this.epoch then applied = count(ARGV[6]) or applied end

local nodes = redis.pcall('HGETALL', NODES)
if nodes.err then
  redis.call('DEL', NODES)
  nodes = {}
end
for at = 1, #nodes, 2 do
  local till = count(string.match(nodes[at + 1], '^%d+:(%d+)$'))
  if not till or till + tonumber(ARGV[8]) < time then redis.call('HDEL', NODES, nodes[at]) end
end
redis.call('HSET', NODES, ARGV[4], digits(applied) .. ':' .. digits(time + tonumber(ARGV[7])))

local scribe = text(SCRIBE)
local mine = not scribe or scribe == ARGV[4]
if mine then redis.call('SET', SCRIBE, ARGV[4], 'PX', ARGV[7]) end
return { this.epoch, digits(this.number), this.nonce, mine and 1 or 0, digits(time) }
