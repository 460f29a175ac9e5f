-- Posts the file that BODY names; JSON_LENGTH says how much of it is JSON where binary tensors follow.
wrk.method = "POST"
local length = os.getenv("JSON_LENGTH")
if length == "" then
   wrk.headers["Content-Type"] = "application/json"
else
   wrk.headers["Content-Type"] = "application/octet-stream"
   wrk.headers["Inference-Header-Content-Length"] = length
end
local file = io.open(os.getenv("BODY"), "rb")
wrk.body = file:read("*a")
file:close()
