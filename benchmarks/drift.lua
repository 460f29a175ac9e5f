-- Post the lines of the file in BODIES, one after another. After as many answers as lines, print "all answered" and stop.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local bodies = {}
for line in io.lines(os.getenv("BODIES")) do
   bodies[#bodies + 1] = line
end

local threads = {}
sent, ok, other = 0, 0, 0

function setup(thread)
   table.insert(threads, thread)
end

function request()
   sent = sent + 1
   return wrk.format(nil, nil, nil, bodies[(sent - 1) % #bodies + 1])
end

function response(status)
   if status == 200 then
      ok = ok + 1
   else
      other = other + 1
   end
   if ok + other >= #bodies then
      print("all answered")
      io.flush()
      wrk.thread:stop()
   end
end

function done()
   for _, thread in ipairs(threads) do
      print("sent: " .. thread:get("sent") .. ", answered otherwise: " .. thread:get("other"))
   end
end
