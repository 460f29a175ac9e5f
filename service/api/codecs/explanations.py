"""The fields of a request that ask for explanations, in `POST /predict` and in `:explain`."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel, Field, StrictBool, WithJsonSchema, field_validator

from service.artifact.occlusion import MEASURED, Replacement
from service.artifact.tensors import ATTENTION
from service.errors import InvalidInput
from service.problems import shown
from service.serving.dataplane import NO_ATTENTION
from service.serving.explanation import ORDERS
from service.serving.model import Model

#: The explanations of each value of `importance`.
IMPORTANCE_VALUES: Final[Mapping[bool | str, tuple[str, ...]]] = {
    False: (),
    True: MEASURED["timesteps"],
} | dict(MEASURED)
IMPORTANCE_SCHEMA: Final[dict[str, Any]] = {
    "anyOf": [
        {"title": "by timestep", "type": "boolean"},
        {"title": "parts", "type": "string", "enum": [one for one in IMPORTANCE_VALUES if isinstance(one, str)]},
    ]
}


class ExplanationFields(BaseModel):
    """The explanations to answer."""

    importance: Annotated[Any, WithJsonSchema(IMPORTANCE_SCHEMA)] = Field(
        default=False,
        description="Whether to answer how much each prediction depends on its parts: `timesteps`, as `true`; "
        "`features`, each at all timesteps; or `both`, with the cells of both, too. It takes one more run of the "
        "model for each part.",
        examples=[False],
    )
    replacement: Replacement = Field(
        default="baseline",
        description="What replaces a part to measure importance: `baseline`, the card's; or `marginal`, the values of "
        "up to 8 sequences of the golden example in turn, which takes as many times the runs.",
        examples=["baseline"],
    )
    faithfulness: StrictBool = Field(
        default=False,
        description="Whether to answer how well attention, and importance by timestep if it is asked for, find the "
        "timesteps that the prediction depends on. It takes 10 more runs of the model for each of both.",
        examples=[False],
    )

    @field_validator("importance", mode="plain")
    @classmethod
    def _is_one_of_the_values(cls, value: Any) -> Any:
        if not isinstance(value, bool | str) or value not in IMPORTANCE_VALUES:
            got = shown(value) if isinstance(value, str | int | float | dict | None) else "a list"
            raise ValueError(f"expected true, false, 'timesteps', 'features' or 'both', got {got}")
        return value

    def explanations(self, model: Model) -> tuple[str, ...]:
        """Return the names of the explanations to answer.

        Raises:
            InvalidInput: faithfulness is asked for, but the model has no attention, and no importance is asked for.
        """
        importances = IMPORTANCE_VALUES[self.importance]
        if not self.faithfulness:
            return importances
        available = {*importances, *([ATTENTION] if model.live_profile is not None else [])}
        orders = [name for name, order in ORDERS.items() if order in available]
        if not orders:
            raise InvalidInput(f"faithfulness: {NO_ATTENTION}: expected importance by timesteps in the request, too")
        return (*importances, *orders)
