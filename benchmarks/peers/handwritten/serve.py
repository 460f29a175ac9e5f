"""What people write by hand: FastAPI around the SavedModel in TensorFlow."""

import os

import tensorflow as tf
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

# One server core: more threads would only wait for it.
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)

model = tf.saved_model.load(os.environ["SAVED_MODEL"])
attend = model.signatures["attention"]
app = FastAPI()


class Question(BaseModel):
    """The sequences to predict, n × 20 × 2."""

    sequences: list[list[list[float]]]


class Answer(BaseModel):
    """One prediction and 20 weights a sequence."""

    prediction: list[float]
    attention: list[list[float]]


@app.post("/predict")
def predict(question: Question) -> Answer:
    """Predict every sequence, and say what it attended to."""
    outputs = attend(sequence=tf.constant(question.sequences, tf.float32))
    return Answer(
        prediction=outputs["prediction"].numpy()[:, 0].tolist(), attention=outputs["attention"].numpy().tolist()
    )


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), loop="uvloop", http="httptools", access_log=False)
