-- Post the file in BODY. For each version record the number of answers, the times of the first and last, and the least
-- and greatest prediction.
local ffi = require("ffi")
ffi.cdef([[
   typedef struct { long seconds, microseconds; } moment;
   int gettimeofday(moment *now, void *zone);
]])
local moment = ffi.new("moment")

wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local file = io.open(os.getenv("BODY"), "rb")
wrk.body = file:read("*a")
file:close()

local threads = {}
-- By version. `done` can read only tables of numbers from a thread.
counts, firsts, lasts, least, greatest = {}, {}, {}, {}, {}
others = 0

function setup(thread)
   table.insert(threads, thread)
end

function response(status, headers, body)
   local version, prediction = body:match('"version":(%d+),"predictions":%[{"prediction":([%d.e-]+)')
   if status ~= 200 or not version then
      others = others + 1
      return
   end
   ffi.C.gettimeofday(moment, nil)
   local now = tonumber(moment.seconds) + tonumber(moment.microseconds) / 1e6
   prediction = tonumber(prediction)
   counts[version] = (counts[version] or 0) + 1
   firsts[version] = firsts[version] or now
   lasts[version] = now
   least[version] = math.min(least[version] or prediction, prediction)
   greatest[version] = math.max(greatest[version] or prediction, prediction)
end

function done()
   for _, thread in ipairs(threads) do
      print("answered otherwise: " .. thread:get("others"))
      local all = {}
      for _, name in ipairs({ "counts", "firsts", "lasts", "least", "greatest" }) do
         all[name] = thread:get(name)
      end
      for version, count in pairs(all.counts) do
         print(string.format("version %s: %d %.6f %.6f %.9g %.9g", version, count,
            all.firsts[version], all.lasts[version], all.least[version], all.greatest[version]))
      end
   end
end
