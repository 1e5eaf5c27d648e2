-- The nodes, how far each has applied the log, and until when its lease runs.
local this, refusal = life()
if not this then return refusal end
local nodes = redis.pcall('HGETALL', NODES)
if nodes.err then nodes = {} end
return { this.epoch, digits(count(text(SINCE)) or 0), digits(now()), nodes }
