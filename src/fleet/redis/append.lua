-- Appends a record, and marks what it names.
--
-- KEYS[10..]  the marks of its tags
-- ARGV[4]     its nonce
-- ARGV[5]     what it says
-- ARGV[6]     the grade of its marks: h, c or s
-- ARGV[7]     '1': it marks everything
-- ARGV[8]     only if this node is the scribe; '' on no condition
-- ARGV[9,10]  the stream that has been read, and up to which id; '' for none
-- ARGV[11]    how many records are kept, at the least
-- ARGV[12]    how long marks are kept, in milliseconds
local this, refusal = life()
if not this then return refusal end
if ARGV[8] ~= '' and text(SCRIBE) ~= ARGV[8] then return { 'NOTSCRIBE' } end

local function add()
  return redis.pcall('XADD', LOG, 'MAXLEN', '~', ARGV[11], digits(this.number + 1) .. '-0',
    'e', this.epoch, 'n', ARGV[4], 'p', this.nonce, 'd', ARGV[5])
end

local added = add()
if added.err and string.find(added.err, 'equal or smaller', 1, true) then
  -- Records behind the newest one were there and have been taken out: their numbers were known to somebody.
  begin(this)
  added = add()
end
if added.err then return added end
this.number, this.nonce = this.number + 1, ARGV[4]
redis.call('SET', SEQ, digits(this.number))
if ARGV[7] == '1' then mark(FLOOR, this, ARGV[6]) end
for at = 10, #KEYS do
  mark(KEYS[at], this, ARGV[6])
  -- Another node may keep entries for longer: a mark that lives on is left to.
  if redis.call('PTTL', KEYS[at]) < tonumber(ARGV[12]) then redis.call('PEXPIRE', KEYS[at], ARGV[12]) end
end
if ARGV[9] ~= '' then
  if type(redis.pcall('HSET', READ, ARGV[9], ARGV[10])) == 'table' then
    redis.call('DEL', READ)
    redis.call('HSET', READ, ARGV[9], ARGV[10])
  end
end
return { 'OK', this.epoch, digits(this.number), this.nonce, this.replicas }
