"""The app can be extended as FastAPI and uvicorn document it."""

SEQUENCE = [[0.1, -0.2]] * 20
ROUTES = [
    ("GET", "/"),
    ("GET", "/attention"),
    ("GET", "/docs"),
    ("GET", "/health/live"),
    ("GET", "/health/ready"),
    ("GET", "/metrics"),
    ("GET", "/model"),
    ("GET", "/model/example"),
    ("GET", "/models"),
    ("GET", "/openapi.json"),
    ("GET", "/page/page.js"),
    ("GET", "/ping"),
    ("GET", "/redoc"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/after-lstm"),
    ("GET", "/v2"),
    ("GET", "/v2/models/after-lstm"),
    ("POST", "/invocations"),
    ("POST", "/predict"),
    ("POST", "/v1/models/after-lstm/versions/1:explain"),
    ("POST", "/v1/models/after-lstm:classify"),
    ("POST", "/v1/models/after-lstm:predict"),
    ("POST", "/v2/models/after-lstm/infer"),
    ("POST", "/v2/repository/index"),
]
