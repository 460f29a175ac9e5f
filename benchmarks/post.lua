-- Post the file in BODY. If binary tensors follow the JSON, JSON_LENGTH is the length of the JSON.
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
