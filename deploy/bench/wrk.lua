-- Questions for wrk: wrk -t1 -c64 -d10 --latency -s deploy/bench/wrk.lua http://127.0.0.1:8080/v1/chat
-- KEY is an API key; CHANNEL, if set, is the channel that the messages come from.
local questions = {
  "How long does delivery take?", "Where is my parcel?", "Can I pay in instalments?", "How do I return an item?",
  "Do you ship abroad?", "What is the warranty?", "退款多久到账？", "怎么修改收货地址？",
}
local key, channel = os.getenv("KEY"), os.getenv("CHANNEL")
local headers = { ["Authorization"] = "Bearer " .. (key or ""), ["Content-Type"] = "application/json" }
local rest = channel and ('","channel":"' .. channel .. '"}') or '"}'
local sent, refused = 0, 0

function init()
  if not key then error("set KEY to an API key, as `talkfleet up` prints one") end
end

function request()
  sent = sent + 1
  local body = '{"text":"' .. questions[sent % #questions + 1] .. rest
  return wrk.format("POST", nil, headers, body)
end

-- The first few refusals are shown: a rate of refusals is no throughput.
function response(status, _, body)
  if status ~= 200 and refused < 3 then
    refused = refused + 1
    print(status, body)
  end
end
