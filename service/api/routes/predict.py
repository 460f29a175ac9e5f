"""`POST /predict`: predictions, each with the attention of the same forward pass."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from typing import Annotated, Any, Final, Literal, Self

import numpy as np
import orjson
from fastapi import APIRouter, Request, Response
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StrictBool, WithJsonSchema, field_validator, model_validator

from service.api.answer_memory import ResponseInParts
from service.api.codecs.array_writer import require_finite
from service.api.codecs.explanations import ExplanationFields
from service.api.codecs.inputs import inputs_of
from service.api.codecs.padding import Lengths, PaddedSequences
from service.api.codecs.parts import units_of
from service.api.codecs.predictions import Prediction, encode_predictions, require_classes, texts_of
from service.api.codecs.sequences import SequenceFields, decode_sequences
from service.api.codecs.tables import decode_csv
from service.api.error_answers import INFERENCE_ERRORS, documented
from service.api.inference import Encoder, JsonResponse, infer
from service.api.openapi import query_parameters, takes
from service.api.request_body import CSV, JSON, KnownFields, RequestBody, media_type_of
from service.api.selection import Selection, model_in_query, read_query
from service.artifact.card import ModelCard
from service.artifact.tensors import ATTENTION, ATTENTION_VEC, PREDICTION, RANK_CORRELATION
from service.errors import InvalidInput, UnsupportedMediaType
from service.problems import shown
from service.serving.dataplane import NO_ATTENTION, Question
from service.serving.model import Model
from service.serving.request_queue import Outputs

Detail = Literal["mean", "full", "none"]
#: The output that each detail of attention takes.
OUTPUTS: Mapping[Detail, str | None] = {"mean": ATTENTION, "full": ATTENTION_VEC, "none": None}

#: More numbers than these are encoded in parts of as many. Each part is made from several copies of its text.
NUMBERS_OF_PART: Final = 32 * 2**10

ATTENTION_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"title": "attention", "type": "string", "enum": list(OUTPUTS)},
        {"title": "part", "type": "object", "additionalProperties": {"type": "integer", "minimum": 0}},
    ]
}
VALUE_SCHEMA = {"type": ["number", "string", "null"]}
SEQUENCE_SCHEMA: dict[str, Any] = {
    "type": "array",
    "items": {
        "anyOf": [
            {"type": "array", "items": VALUE_SCHEMA},
            {"type": "object", "additionalProperties": VALUE_SCHEMA},
            VALUE_SCHEMA,
        ]
    },
}
EXAMPLE_SEQUENCE: Any = [[0.1, -0.2]] * 20


class AnswerFields(ExplanationFields):
    """What to answer about each sequence: fields of a JSON body, and query parameters of a table."""

    attention: Annotated[Any, WithJsonSchema(ATTENTION_SCHEMA)] = Field(
        "mean",
        description="`mean`: one weight per timestep, summing to 1. `full`: `attention_vec`, one distribution over the "
        "timesteps per unit. `none`: predictions alone. An object: the mean of a part of the units that the card's "
        "`attention_from` describes, by the index of its `layer` and on each axis, such as "
        '`{"layer": 1, "head": 2}`; all along an axis that is left out. '
        "A model without attention answers none.",
        examples=["mean"],
    )
    probabilities: StrictBool = Field(
        default=False, description="Whether to answer the probability of each class by its name.", examples=[False]
    )
    inputs: StrictBool = Field(
        default=False,
        description="Whether to answer each sequence as the model's input, in raw units: the values of a table, too.",
        examples=[False],
    )

    @field_validator("attention", mode="plain")
    @classmethod
    def _is_a_detail_or_a_part(cls, value: Any) -> Any:
        if isinstance(value, dict):
            for axis, index in value.items():
                if type(index) is not int or index < 0:
                    raise ValueError(f"expected an index of at least 0 as {axis[:80]!r}, got {shown(index)}")
        elif not isinstance(value, str) or value not in OUTPUTS:
            got = shown(value) if isinstance(value, str | int | float | None) else "a list"
            raise ValueError(f"expected 'mean', 'full' or 'none', got {got}")
        return value


class PredictRequest(KnownFields, AnswerFields, SequenceFields):
    """One sequence or many. The decoder checks their elements against the model's card."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"sequence": EXAMPLE_SEQUENCE}]})

    sequence: Annotated[
        Any,
        WithJsonSchema(SEQUENCE_SCHEMA),
        Field(
            description="One sequence: a list of timesteps, each a list of features in the order of the card's "
            "`feature_labels`, or an object with each of them by its name, in raw units. It has the `timesteps` of the "
            "model's card, or fewer if that says `variable_length`. A category is the name of a value in the card's "
            "`categories`, or its index; any other name means an unknown value. `null` is a missing value, if the card "
            "says `missing_values`; a timestep without any value gets no attention. If the card has `tokens`, each "
            "value is an integer or a word of the `vocabulary`, and a timestep of one token may be the token itself.",
            examples=[EXAMPLE_SEQUENCE],
        ),
    ] = None
    sequences: Annotated[
        Any,
        WithJsonSchema({"type": "array", "items": SEQUENCE_SCHEMA}),
        Field(description="Many sequences, instead of `sequence`.", examples=[[EXAMPLE_SEQUENCE]]),
    ] = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        one, many = self.sequence is not None, self.sequences is not None
        if one == many:
            raise ValueError(f"expected either 'sequence' or 'sequences', got {'both' if one else 'neither'}")
        return self

    def decode(self, card: ModelCard, limit: int) -> PaddedSequences:
        if self.sequences is not None:
            return decode_sequences(self.sequences, card, limit, "sequences[{}]")
        one = self.sequence[np.newaxis] if isinstance(self.sequence, np.ndarray) else [self.sequence]
        return decode_sequences(one, card, limit, "sequence")


class TableQuery(AnswerFields, Selection):
    """The query parameters of a table. Those that are no text are written as in JSON."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: dict[str, str]) -> dict[str, Any]:
        return {name: _from_json(text) if name in AnswerFields.model_fields else text for name, text in value.items()}


def _from_json(text: str) -> Any:
    """Return true, false and objects from JSON, and any other text as it is."""
    if text in ("true", "false") or text.startswith("{"):
        with suppress(orjson.JSONDecodeError):
            return orjson.loads(text)
    return text


class PredictResponse(BaseModel):
    """Predictions in the order of the sequences."""

    model: str = Field(description="Model that answered.", examples=["after-lstm"])
    version: int = Field(description="Version that answered.", examples=[3])
    predictions: list[Prediction] = Field(description="One for each sequence.")


inference_router = APIRouter(tags=["predict"])


@inference_router.post(
    "/predict",
    summary="Predict, and show where the model looked",
    response_model=PredictResponse,
    response_model_exclude_none=True,
    responses=documented(*INFERENCE_ERRORS),
    openapi_extra={
        **takes(PredictRequest, lambda sequence: {"sequence": sequence}),
        "parameters": [*query_parameters(Selection), *query_parameters(AnswerFields, "With `text/csv` alone. ")],
    },
)
async def predict(request: Request) -> Response:
    """Answer each sequence with its prediction and, from the same forward pass, its attention.

    The body may also be a table as `text/csv`, whose columns have the names of the card's features. The other fields
    of a JSON body are query parameters then.
    """
    media_type = media_type_of(request)
    if media_type not in (JSON, CSV):
        raise UnsupportedMediaType(f"expected content type {JSON} or {CSV}, got {media_type}")
    if media_type == CSV:
        query = read_query(request, TableQuery)
        return await infer(request, query.of(request), partial(decode_table, query), by_name=True)
    _require_in_body(request)
    return await infer(request, model_in_query(request), decode, by_name=True)


def _require_in_body(request: Request) -> None:
    """Refuse query parameters that are fields of a JSON body.

    Raises:
        InvalidInput: there is one.
    """
    if request.scope["query_string"]:
        for name in request.query_params:
            if name in AnswerFields.model_fields:
                raise InvalidInput(f"expected {name!r} as a field of the JSON body, got it in the query string")


def decode(body: RequestBody, model: Model, most: int) -> tuple[Question, Encoder]:
    """Turn a body of at most `most` sequences into a question and the encoder of its answer."""
    return _asked(*body.decode(PredictRequest, model.card, most), None, model)


def decode_table(fields: TableQuery, body: RequestBody, model: Model, most: int) -> tuple[Question, Encoder]:
    """Turn CSV of at most `most` sequences into a question and the encoder of its answer."""
    return _asked(fields, *decode_csv(b"".join(body.chunks), model.card, most), model)


def _asked(
    fields: AnswerFields, sequences: PaddedSequences, keys: Sequence[Any] | None, model: Model
) -> tuple[Question, Encoder]:
    """Return the question about sequences, and the encoder of its answer."""
    if fields.probabilities:
        require_classes(model.card.target)
    detail = fields.attention if model.live_profile is not None else _detail_without_attention(fields)
    units = units_of(detail, model.card.attention_from) if isinstance(detail, dict) else None
    attention = OUTPUTS[detail] if units is None else ATTENTION
    outputs = (PREDICTION, attention if units is None else ATTENTION_VEC) if attention else (PREDICTION,)
    question = Question(
        sequences.array, outputs, fields.explanations(model), fields.replacement, with_inputs=fields.inputs
    )
    given: dict[str, Sequence[Any]] = {}
    if keys is not None:
        given["key"] = keys
    if model.texts is not None:
        given["tokens"] = texts_of(sequences.array, sequences.lengths, model.texts)
    if fields.inputs:
        given["inputs"] = inputs_of(sequences, model.card)
    encoder = partial(encode, model, attention, sequences.lengths, given, probabilities=fields.probabilities)
    return question, encoder if units is None else partial(encode_part, units, encoder)


def _detail_without_attention(fields: AnswerFields) -> Detail:
    """Return `none`, which a model without attention answers for `mean`, too.

    Raises:
        InvalidInput: the request asks for more.
    """
    if fields.attention not in ("mean", "none"):
        raise InvalidInput(f"attention: {NO_ATTENTION}")
    return "none"


def encode_part(units: NDArray[np.intp], encoder: Encoder, outputs: Outputs) -> Response:
    """Return the answer whose attention is the mean of some units of `attention_vec`."""
    others = {name: output for name, output in outputs.items() if name != ATTENTION_VEC}
    return encoder({**others, ATTENTION: outputs[ATTENTION_VEC][:, :, units].mean(axis=2)})


def encode(  # noqa: PLR0913 - `partial` gives all but the outputs
    model: Model,
    attention: str | None,
    lengths: Lengths,
    given: Mapping[str, Sequence[Any]],
    outputs: Outputs,
    *,
    probabilities: bool = False,
) -> Response:
    """Return the answer, a large one in parts.

    Args:
        model: the model that answered.
        attention: the output to answer as attention; None for none.
        lengths: how many timesteps each sequence was posted with.
        given: what is known of each sequence without the model, by the field of the answer, `n` values each.
        outputs: `(n, …)` each.
        probabilities: whether to answer the probability of each class.

    Raises:
        InvalidInput: the answer to a sequence is not finite, as its values are too large.
    """
    head = _head(model.card.name, model.version)
    count, numbers = len(outputs[PREDICTION]), sum([output.size for output in outputs.values()])
    if "inputs" in given:
        numbers += count * model.card.timesteps * model.card.features
    rows = partial(encode_predictions, attention=attention, target=model.card.target, probabilities=probabilities)
    if numbers <= NUMBERS_OF_PART:
        return JsonResponse(b"%b%b]}" % (head, b",".join(rows(outputs, lengths=lengths, given=given))))
    for name in outputs.keys() - {RANK_CORRELATION}:
        require_finite(outputs[name])  # here, as the parts below number their rows anew
    parts = [head]
    step = max(1, count * NUMBERS_OF_PART // numbers)
    for start in range(0, count, step):
        some = slice(start, start + step)
        part = rows(
            {name: output[some] for name, output in outputs.items()},
            lengths=lengths[some] if isinstance(lengths, np.ndarray) else lengths,
            given={name: values[some] for name, values in given.items()},
        )
        parts.append(b"%b%b" % (b"," if start else b"", b",".join(part)))
    return ResponseInParts([*parts, b"]}"], {}, JSON)


@lru_cache(256)
def _head(model: str, version: int) -> bytes:
    """Return the text of an answer before its first prediction."""
    return b'%b,"predictions":[' % orjson.dumps({"model": model, "version": version})[:-1]
