-- Draws from the buckets of several requests, one after another, each from all of its buckets or from none.
--
-- A bucket is the time at which it is full again, in microseconds on this server's clock; one that is not there is full.
-- ARGV: the number of shapes; each shape as what is needed (below zero: nothing), taken (below zero: given back), and held, in
-- microseconds; then for each request a string of bytes: whether its first key says that it was paid for before, and a shape for
-- each of its buckets, two bytes each. Few and short arguments, since they cost more than the arithmetic.
-- KEYS: in the same order. Answers, for each request: 0 and how far each bucket is from full, or the place of the bucket that
-- refused and how long to wait.
local call, ceil, max, byte = redis.call, math.ceil, math.max, string.byte
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local kept = call('MGET', unpack(KEYS))
local full_at = {}
for i = 1, #KEYS do
  full_at[KEYS[i]] = tonumber(kept[i]) or 0
end

local needs, takes, depths = {}, {}, {}
local shapes = tonumber(ARGV[1])
for i = 1, shapes do
  needs[i], takes[i], depths[i] = tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1])
end

local changed, receipts, answers = {}, {}, {}
local key_at, said = 0, 0
for at = 3 * shapes + 2, #ARGV do
  local bytes = { byte(ARGV[at], 1, -1) }
  local buckets, is_paid = (#bytes - 1) / 2, false
  if bytes[1] == 1 then
    key_at = key_at + 1
    local receipt = KEYS[key_at]
    is_paid = full_at[receipt] > 0
    full_at[receipt], receipts[receipt] = 1, true
  end

  local refused, wait = 0, 0
  for i = 1, buckets do
    local shape = bytes[2 * i] * 256 + bytes[2 * i + 1]
    if needs[shape] >= 0 then
      wait = max(full_at[KEYS[key_at + i]] - now, 0) + needs[shape] - depths[shape]
      -- Below a microsecond it is the arithmetic that speaks.
      if wait >= 1 then
        refused = i
        break
      end
    end
  end

  said = said + 1
  answers[said] = refused
  if refused > 0 then
    said = said + 1
    answers[said] = ceil(wait)
  else
    for i = 1, buckets do
      local key, take = KEYS[key_at + i], takes[bytes[2 * i] * 256 + bytes[2 * i + 1]]
      local from_full = max(full_at[key] - now, 0)
      if take ~= 0 and not is_paid then
        -- What comes back cannot make more than a full bucket.
        from_full = max(from_full + take, 0)
        full_at[key], changed[key] = now + from_full, from_full
      end
      said = said + 1
      answers[said] = ceil(from_full)
    end
  end
  key_at = key_at + buckets
end

for key, from_full in pairs(changed) do
  call('SET', key, string.format('%.0f', now + from_full), 'PX', ceil(from_full / 1000) + 1)
end
for receipt in pairs(receipts) do
  call('SET', receipt, 1, 'EX', 3600)
end
return answers
