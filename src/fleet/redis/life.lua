-- The head of every script of the ledger: whose life is it?
--
-- A life belongs to one run of one master (its replication id). If the master is another, or if what is needed to go on
-- is missing or damaged, then numbers may have been given to other records, and a new life begins: a new epoch, nobody
-- registered, no scribe, and a log that begins with a record of it. Numbers go on from the highest that is known, so that
-- they also tell lives apart for the eye.
--
-- KEYS[1..9]  epoch rid seq log nodes floor scribe since read
-- ARGV[1..3]  the epoch, the nonce and the text of the first record, should a new life have to begin
--
-- Epochs and nonces are hexadecimal text: 64 bits do not fit a number of Lua. Scripts do not roll back, so the log is
-- written first and what depends on it afterwards: whoever finds `seq` behind the log knows that the marks of its newest
-- record may be missing, and that costs a life too.
local EPOCH, RID, SEQ, LOG, NODES, FLOOR, SCRIBE, SINCE, READ =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]

-- Beyond this, numbers of Lua have gaps.
local HIGHEST = 9007199254740991

local function digits(number)
  return string.format('%.0f', number)
end

-- Milliseconds by the clock of this server: the fleet's clock.
local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- The text of a key; nil if there is none, or something else.
local function text(key)
  local value = redis.pcall('GET', key)
  if type(value) == 'string' then return value end
  return nil
end

local function count(written)
  if not written or not string.match(written, '^%d+$') then return nil end
  local number = tonumber(written)
  if number < HIGHEST then return number end
  return nil
end

-- The newest record of the log; nil if there is none that makes sense.
local function newest()
  local found = redis.pcall('XREVRANGE', LOG, '+', '-', 'COUNT', 1)
  if found.err or not found[1] then return nil end
  local number = count(string.match(found[1][1], '^(%d+)%-0$'))
  local fields = {}
  for at = 1, #found[1][2], 2 do fields[found[1][2][at]] = found[1][2][at + 1] end
  if not number or not fields.e or not fields.n then return nil end
  return { number = number, epoch = fields.e, nonce = fields.n }
end

local function begin(life)
  local number = math.max(count(text(SEQ)) or 0, life.number or 0) + 1
  redis.call('DEL', LOG, NODES, FLOOR, SCRIBE)
  redis.call('XADD', LOG, digits(number) .. '-0', 'e', ARGV[1], 'n', ARGV[2], 'p', ARGV[1], 'd', ARGV[3])
  redis.call('SET', SEQ, digits(number))
  redis.call('SET', SINCE, digits(now()))
  redis.call('SET', EPOCH, ARGV[1])
  redis.call('SET', RID, life.rid)
  life.epoch, life.number, life.nonce = ARGV[1], number, ARGV[2]
end

-- The life that this master is in: its epoch, the number and the nonce of its newest record, and how many replicas are
-- connected. On a replica: nothing, and the error to answer with.
local function life()
  local info = redis.call('INFO', 'replication')
  if not string.find(info, 'role:master', 1, true) then
    return nil, redis.error_reply('READONLY the ledger is only on the master')
  end
  local this = {
    rid = string.match(info, 'master_replid:(%x+)') or 'unknown',
    replicas = tonumber(string.match(info, 'connected_slaves:(%d+)')) or 0,
  }
  local epoch, seq, tail = text(EPOCH), count(text(SEQ)), newest()
  this.number = tail and tail.number
  if epoch and seq and tail and tail.epoch == epoch and tail.number == seq and text(RID) == this.rid then
    this.epoch, this.nonce = epoch, tail.nonce
  else
    begin(this)
  end
  return this
end

-- The marks under a key, as they count in this life: hard, check, soft. A key that is not what it should be may hide
-- anything, and so it counts as if everything had been voided.
local function marks(key, this)
  local held = redis.pcall('HMGET', key, 'e', 'h', 'c', 's')
  if held.err then return { digits(this.number), '0', '0' } end
  if held[1] ~= this.epoch then return { '0', '0', '0' } end
  return { held[2] or '0', held[3] or '0', held[4] or '0' }
end

local function mark(key, this, grade)
  if redis.pcall('HGET', key, 'e') ~= this.epoch then redis.call('DEL', key) end
  redis.call('HSET', key, 'e', this.epoch, grade, digits(this.number))
end
