"""The fields of a request that ask for explanations, in `POST /predict` and in `:explain`."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel, Field, WithJsonSchema, field_validator

from service.artifact.tensors import CELL_IMPORTANCE, FEATURE_IMPORTANCE, IMPORTANCE
from service.problems import shown
from service.serving.explanation import Replacement

#: The explanations of each value of `importance`.
IMPORTANCE_VALUES: Final[Mapping[bool | str, tuple[str, ...]]] = {
    False: (),
    True: (IMPORTANCE,),
    "timesteps": (IMPORTANCE,),
    "features": (FEATURE_IMPORTANCE,),
    "both": (IMPORTANCE, FEATURE_IMPORTANCE, CELL_IMPORTANCE),
}
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

    @field_validator("importance", mode="plain")
    @classmethod
    def _is_one_of_the_values(cls, value: Any) -> Any:
        if not isinstance(value, bool | str) or value not in IMPORTANCE_VALUES:
            got = shown(value) if isinstance(value, str | int | float | None) else "a list or an object"
            raise ValueError(f"expected true, false, 'timesteps', 'features' or 'both', got {got}")
        return value

    @property
    def explanations(self) -> tuple[str, ...]:
        """The names of the explanations to answer."""
        return IMPORTANCE_VALUES[self.importance]
