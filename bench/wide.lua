-- 10,000 URLs at random; the same sequence in each run. The requests are made beforehand, so that wrk stays quick.
local requests = {}

init = function()
  math.randomseed(1)
  for n = 0, 9999 do
    requests[n] = wrk.format("GET", "/u/" .. n)
  end
end

request = function()
  return requests[math.random(0, 9999)]
end
