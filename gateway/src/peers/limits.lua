-- Draws from the buckets of several requests, one after another, each from all of its buckets or from none.
--
-- A bucket is the time at which it is full again, in microseconds on this server's clock; one that is not there is full.
-- ARGV: the number of requests, then for each: whether its first key says that it was paid for before, its number of buckets,
-- and for each of those what it needs (below zero: nothing), takes, and holds, in microseconds.
-- KEYS: in the same order. Answers, for each request: 0 and how far each bucket is from full, or the place of the bucket that
-- refused and how long to wait.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local kept = redis.call('MGET', unpack(KEYS))
local full_at = {}
for i, key in ipairs(KEYS) do
  full_at[key] = tonumber(kept[i]) or 0
end

local changed, paid, answers = {}, {}, {}
local key_at, arg_at = 1, 2
for _ = 1, tonumber(ARGV[1]) do
  local has_receipt, buckets = ARGV[arg_at] == '1', tonumber(ARGV[arg_at + 1])
  arg_at = arg_at + 2
  local spare = false
  if has_receipt then
    local receipt = KEYS[key_at]
    spare = full_at[receipt] > 0
    full_at[receipt], paid[receipt] = 1, true
    key_at = key_at + 1
  end

  local refused, wait = 0, 0
  for i = 0, buckets - 1 do
    local need, depth = tonumber(ARGV[arg_at + 3 * i]), tonumber(ARGV[arg_at + 3 * i + 2])
    if need >= 0 then
      wait = math.max(full_at[KEYS[key_at + i]], now) + need - now - depth
      -- Below a microsecond it is the arithmetic that speaks.
      if wait >= 1 then
        refused = i + 1
        break
      end
    end
  end

  answers[#answers + 1] = refused
  if refused > 0 then
    answers[#answers + 1] = math.ceil(wait)
  else
    for i = 0, buckets - 1 do
      local key, take = KEYS[key_at + i], tonumber(ARGV[arg_at + 3 * i + 1])
      local from = math.max(full_at[key], now)
      if take > 0 and not spare then
        from = from + take
        full_at[key], changed[key] = from, true
      end
      answers[#answers + 1] = math.ceil(from - now)
    end
  end
  key_at, arg_at = key_at + buckets, arg_at + 3 * buckets
end

for key in pairs(changed) do
  redis.call('SET', key, string.format('%.0f', full_at[key]), 'PX', math.ceil((full_at[key] - now) / 1000) + 1)
end
for receipt in pairs(paid) do
  redis.call('SET', receipt, 1, 'EX', 3600)
end
return answers
