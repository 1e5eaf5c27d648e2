-- The marks of some tags, those on everything, and where the log is: all at one moment.
--
-- KEYS[10..]  the marks of the tags
local this, refusal = life()
if not this then return refusal end
local found = {}
for at = 10, #KEYS do found[at - 9] = marks(KEYS[at], this) end
return { this.epoch, digits(this.number), this.nonce, marks(FLOOR, this), found }
