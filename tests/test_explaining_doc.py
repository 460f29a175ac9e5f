"""The command in docs/explaining.md runs as written, and its numbers are those of the program."""

import json
import re
from pathlib import Path

from service.api.codecs.explanations import IMPORTANCE_VALUES
from service.artifact.occlusion import DRAWS, REPLACEMENTS
from service.artifact.removal import FRACTIONS
from service.serving.explanation import EXPLANATIONS, REMOVALS, runs_of
from tests.samples import card
from tests.server import ROOT, execute, serving

DOC = (ROOT / "docs/explaining.md").read_text()
(COMMAND,) = re.findall(r"^```sh\n(.*?)^```$", DOC, re.MULTILINE | re.DOTALL)


def test_the_command_answers_all_explanations(artifacts: Path, tmp_path: Path) -> None:
    """Every field of an answer that the first table names is there."""
    with serving("--artifacts", str(artifacts), "--model", "after-lstm") as (url, _):
        text = execute(["bash", "-euo", "pipefail", "-c", COMMAND.replace("http://127.0.0.1:8000", url)], tmp_path)
    fields = re.findall(r"^\|.*\| `(\w+)`[^|]*\|$", DOC.partition("```sh")[0], re.MULTILINE)
    named = {*fields, "cell_importance"}
    assert named == {"importance", "feature_importance", "cell_importance", "faithfulness"}
    for one in json.loads(text)["predictions"]:
        assert named <= one.keys()
        assert one["faithfulness"].keys() == {"attention", "importance"}


def test_every_choice_is_there() -> None:
    """These are the values of importance and of replacement, and the outputs of the Open Inference Protocol."""
    for value in (*[one for one in IMPORTANCE_VALUES if isinstance(one, str)], *REPLACEMENTS):
        assert f'"{value}"' in DOC
    for name in EXPLANATIONS:
        assert f"`{name}`" in DOC


def test_the_numbers_are_those_of_the_program() -> None:
    """The fractions, the sequences that values are drawn from, and the runs."""
    *others, last = [f"{fraction:.0%}".rstrip("%") for fraction in FRACTIONS]
    assert f"The top {', '.join(others)} and {last} % of the present" in " ".join(DOC.split())
    assert f"the values of {DRAWS} sequences" in DOC
    assert f"faithfulness takes {REMOVALS} for each order" in DOC
    both = IMPORTANCE_VALUES["both"]
    assert f"500 timesteps of 16 features take {runs_of(card(timesteps=500, features=16), both):,} runs" in DOC
    rows = dict(re.findall(r"^\| `(.*)` \| (\d+) \|", DOC.partition("## Cost")[2], re.MULTILINE))
    expected = {
        '"importance": "timesteps"': runs_of(card(), IMPORTANCE_VALUES["timesteps"]),
        '"importance": "features"': runs_of(card(), IMPORTANCE_VALUES["features"]),
        '"importance": "both"': runs_of(card(), both),
        '"importance": "features", "replacement": "marginal"': runs_of(card(), IMPORTANCE_VALUES["features"], DRAWS),
        '"faithfulness": true': runs_of(card(), ("attention_faithfulness",)),
    }
    assert rows == {field: str(runs) for field, runs in expected.items()}
