-- Post the file in BODY; each connection pauses for PAUSE milliseconds on average. Count the answers by status.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local file = io.open(os.getenv("BODY"), "rb")
wrk.body = file:read("*a")
file:close()

local pause = tonumber(os.getenv("PAUSE"))
local threads = {}
ok, refused, other = 0, 0, 0

function setup(thread)
   table.insert(threads, thread)
end

function delay()
   return math.random(0, 2 * pause)
end

function response(status)
   if status == 200 then
      ok = ok + 1
   elseif status == 429 then
      refused = refused + 1
   else
      other = other + 1
   end
end

function done()
   for _, thread in ipairs(threads) do
      print("answered: " .. thread:get("ok") .. " " .. thread:get("refused") .. " " .. thread:get("other"))
   end
end
