"""A typical handwritten server: FastAPI around the SavedModel in TensorFlow."""

import os

import tensorflow as tf
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

# The server has one core, so more threads would only wait.
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)

model = tf.saved_model.load(os.environ["SAVED_MODEL"])
attend = model.signatures["attention"]
app = FastAPI()


class Sequences(BaseModel):
    """The sequences to predict, n × 20 × 2."""

    sequences: list[list[list[float]]]


class Answer(BaseModel):
    """One prediction and 20 weights for each sequence."""

    prediction: list[float]
    attention: list[list[float]]


@app.post("/predict")
def predict(body: Sequences) -> Answer:
    """Return the prediction and the attention of every sequence."""
    outputs = attend(sequence=tf.constant(body.sequences, tf.float32))
    return Answer(
        prediction=outputs["prediction"].numpy()[:, 0].tolist(), attention=outputs["attention"].numpy().tolist()
    )


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), loop="uvloop", http="httptools", access_log=False)
