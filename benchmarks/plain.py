"""A plain FastAPI route as the baseline: it parses the request body with orjson and answers a constant."""

import os
from typing import Any

import orjson
import uvicorn
from fastapi import FastAPI, Request

ANSWER = {"model": "plain", "version": 1, "predictions": [{"prediction": 0.5, "attention": [0.05] * 20}]}

app = FastAPI()


@app.post("/predict")
async def predict(request: Request) -> dict[str, Any]:
    """Parse the body, and return the answer for one sequence of 20 timesteps."""
    orjson.loads(await request.body())
    return ANSWER


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning", access_log=False)
