"""A version is complete and verified before it is visible."""

import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import NamedTuple, get_args

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf
from hypothesis import given, settings

from service.artifact.engine import Engine
from service.artifact.gate import open_verified
from service.artifact.tensors import ATTENTION, ATTENTION_VEC, PREDICTION, SIGNATURES, Array
from service.artifact.version import Artifact
from service.artifact.work import work_of
from service.engines import opener
from service.errors import ArtifactError
from tests.onnx_graphs import numbers_in
from tests.samples import REGRESSION, card, dataset, trained
from tests.sequences import sequences_with_gaps
from training import TrainingError, export, lowering, minirocket
from training.evaluate import Forward, forward
from training.models import build
from training.options import Architecture, Options

X = np.random.default_rng(0).standard_normal((1000, 20, 2)).astype(np.float32)
#: Architecture, whether units share their attention, and whether there are gaps.
VARIANTS = [
    *product(get_args(Architecture), [False], [False, True]),
    *product(("after_lstm", "before_lstm"), [True], [False, True]),
]


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return build(dataset(X), Options())


class Exported(NamedTuple):
    """A model and the engines of its published version."""

    run: Forward
    engines: list[Engine]
    lowering: bytes
    masked: bool
    tolerance: float


@pytest.fixture(scope="module", params=VARIANTS, ids=str)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Export each architecture: with own or shared attention, and plain or scaled with gaps."""
    architecture, shared, masked = request.param
    x = X[:200, :6] * 3 + 5 if masked else X[:200, :6]
    if masked:
        x[::2, 4:] = np.nan
        x[1::3, 2, 0] = np.nan
    options = Options(architecture=architecture, shared_attention=shared, units=8)
    keras.utils.set_random_seed(0)
    data = dataset(x, scaled=masked, variable_length=masked, missing_values=masked)
    model = minirocket.fit(data, options, 0)[0] if architecture == "minirocket" else build(data, options)
    described = card(architecture=architecture, timesteps=6, variable_length=masked, missing_values=masked)
    artifact = Artifact(export.publish(model, described, x, tmp_path_factory.mktemp("exported")))
    return Exported(
        forward(model),
        [open_verified(artifact.read(), opener(choice, threads=1)).engine for choice in ("onnx", "tensorflow")],
        artifact.lowering_path.read_bytes(),
        masked,
        1e-5 if architecture == "minirocket" else 1e-6,  # its outputs are sums of 2,000 numbers
    )


@settings(max_examples=25)
@given(x=sequences_with_gaps(timesteps=6, features=2))
def test_both_engines_answer_as_keras_does(exported: Exported, x: Array) -> None:
    """Outputs differ by at most the tolerance; attention of absent timesteps is exactly 0."""
    if not exported.masked:
        x = np.nan_to_num(x)
    expected = exported.run(x, SIGNATURES["attention"])
    present = ~np.isnan(x).all(axis=-1)
    for engine in exported.engines:
        outputs = engine.run(x, SIGNATURES["attention"])
        for name, output in expected.items():
            np.testing.assert_allclose(outputs[name], output, rtol=0, atol=exported.tolerance)
        assert (outputs[ATTENTION][~present] == 0).all()
        assert (outputs[ATTENTION_VEC][~present] == 0).all()
        alone = np.concatenate([engine.run(one[np.newaxis], [PREDICTION])[PREDICTION] for one in x])
        np.testing.assert_allclose(alone, outputs[PREDICTION], rtol=0, atol=exported.tolerance)


def test_the_work_of_each_lowering_is_known(exported: Exported) -> None:
    """The service then needs no trial, which would take longer than all else."""
    assert work_of(exported.lowering, 5).numbers == numbers_in(onnx.load_from_string(exported.lowering), 5)


@pytest.mark.parametrize("name", ["after-lstm", "before-lstm", "three"])
def test_trained_models_agree_too(artifacts: Path, name: str) -> None:
    """On 1,000 random sequences: attention within 1e-6, predictions within 1e-5.

    Fitted weights amplify the rounding of float32: TensorFlow's own predictions differ from float64 by some 3e-6 if the
    LSTM is last, of which 1e-6 to 2e-6 come from the rounding of attention.
    """
    artifact = Artifact(artifacts / name / "1")
    contents = artifact.read()
    card = contents.card()
    x = np.random.default_rng(0).standard_normal((1000, card.timesteps, card.features)).astype(np.float32)
    onnx_engine = opener("onnx", threads=1)(contents, card).run(x, SIGNATURES["attention"])
    tensorflow_engine = opener("tensorflow", threads=1)(contents, card).run(x, SIGNATURES["attention"])
    for output, tolerance in ((PREDICTION, 1e-5), ("attention", 1e-6), (ATTENTION_VEC, 1e-6)):
        np.testing.assert_allclose(onnx_engine[output], tensorflow_engine[output], rtol=0, atol=tolerance)


def test_the_saved_model_has_both_signatures(artifacts: Path) -> None:
    """TensorFlow loads the named outputs, and `saved_model_cli` shows them."""
    version = artifacts / "after-lstm" / "1"
    golden = Artifact(version).read().golden()
    signatures = tf.saved_model.load(str(version)).signatures
    assert set(signatures) == set(SIGNATURES)
    for name, outputs in SIGNATURES.items():
        results = signatures[name](sequence=tf.constant(golden.sequence))
        assert set(results) == set(outputs)
        np.testing.assert_allclose(results[PREDICTION].numpy(), golden.prediction, rtol=0, atol=1e-6)
    cli = Path(sys.executable).with_name("saved_model_cli")
    shown = subprocess.run([cli, "show", "--dir", version, "--all"], capture_output=True, text=True, check=True).stdout
    for signature, outputs in SIGNATURES.items():
        assert f"signature_def['{signature}']" in shown
        for output in outputs:
            assert f"outputs['{output}']" in shown
    assert "inputs['sequence']" in shown
    assert "shape: (-1, 20, 2)" in shown


def test_the_lowering_is_one_lstm_node(artifacts: Path) -> None:
    """Keras's loop becomes the LSTM operator of ONNX, which is fast."""
    import onnx

    graph = onnx.load(artifacts / "after-lstm" / "1" / "assets.extra" / "model.onnx").graph
    operators = [node.op_type for node in graph.node]
    assert operators.count("LSTM") == 1
    assert not {"Loop", "Scan", "If"} & set(operators)


def test_versions_count_up(model: keras.Model, tmp_path: Path) -> None:
    """The number follows the largest one, and only versions remain in the folder."""
    (tmp_path / "6").mkdir()
    assert export.publish(model, card(), X[:2], tmp_path) == tmp_path / "7"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["6", "7"]


def test_every_file_of_the_contract_is_there_and_readable(artifacts: Path) -> None:
    """A service of another user can read the files."""
    version = artifacts / "after-lstm" / "1"
    files = {path.relative_to(version).as_posix() for path in version.rglob("*") if path.is_file()}
    assert files == {
        "saved_model.pb",
        "fingerprint.pb",
        "variables/variables.index",
        "variables/variables.data-00000-of-00001",
        "assets.extra/SHA256SUMS",
        "assets.extra/card.json",
        "assets.extra/golden.npz",
        "assets.extra/model.onnx",
        "assets.extra/attention.svg",
        "assets.extra/attention.png",
        "assets.extra/confusion.svg",
        "assets.extra/confusion.png",
    }
    for path in [version, *version.rglob("*")]:
        assert path.stat().st_mode & (0o005 if path.is_dir() else 0o004), path


def test_a_chart_without_a_font_is_an_svg(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No PNG shows boxes instead of characters. The log says which file is missing and why."""
    monkeypatch.setattr("service.charts.fonts.FOLDERS", ())
    artifact = Artifact(tmp_path)
    artifact.card_path.parent.mkdir()
    export.write_card(artifact, card(timesteps=2, timestep_labels=("월요일", "화요일")))
    assert "화요일" in artifact.chart_path("svg").read_text()
    assert not artifact.chart_path("png").exists()
    assert "attention.png is not written: no installed font has all characters" in caplog.text


def break_lowering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lowering, "TOLERANCE", -1)


def break_golden(monkeypatch: pytest.MonkeyPatch) -> None:
    write: Callable[..., None] = np.savez
    monkeypatch.setattr(np, "savez", lambda path, **arrays: write(path, **{k: v + 1 for k, v in arrays.items()}))


def break_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (break_lowering, TrainingError),
        (break_golden, ArtifactError),
        (break_disk, OSError),
    ],
)
def test_a_version_that_fails_its_checks_is_not_published(
    model: keras.Model,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[pytest.MonkeyPatch], None],
    error: type[Exception],
) -> None:
    """No version appears, and no unfinished files remain."""
    damage(monkeypatch)
    with pytest.raises(error):
        export.publish(model, card(), X[:2], tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("scale", "offset"), [(1e6, 0), (1, 1e6), (1e-6, 0), (1e5, -3e7)])
def test_numbers_of_any_size_are_published(tmp_path: Path, scale: float, offset: float) -> None:
    """Tolerances follow the size of the numbers; a changed model is still detected."""
    x = np.random.default_rng(0).standard_normal((100, 6, 2)).astype(np.float32)
    y = x[:, 2, :1] * scale + offset
    model = build(dataset(x, y.astype(np.float32), REGRESSION, scaled=True), Options(units=4))
    described = card(timesteps=6, features=2, target=REGRESSION)
    version = Artifact(export.publish(model, described, x, tmp_path))
    written = version.read().card().lowering
    assert written is not None
    assert written.error <= 1e-5
    with np.load(version.golden_path) as arrays:
        golden = dict(arrays)
    recorded = golden["prediction"]
    golden["prediction"] = recorded + np.float32(0.05 * recorded.std() + 4e-6 * np.abs(recorded).max())
    np.savez(version.golden_path, **golden)
    version.write_sums()
    for engine in ("onnx", "tensorflow"):
        with pytest.raises(ArtifactError, match="does not replay its golden example"):
            open_verified(version.read(), opener(engine, threads=1))


@pytest.mark.parametrize("architecture", ["after_lstm", "minirocket"])
def test_numbers_with_outliers_are_published(architecture: str, tmp_path: Path) -> None:
    """Every fiftieth number is 1e8; the loss that outliers do not move leads to a version whose engines agree."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 6, 1))
    y = x.sum(axis=(1, 2)) + rng.normal(0, 0.1, 400)
    y[::50] = 1e8
    np.savez(tmp_path / "data.npz", x=x, y=y)
    options = {"architecture": architecture, "loss": "mean_absolute_error", "artifacts": tmp_path}
    made = Artifact(trained(data=str(tmp_path / "data.npz"), name="m", epochs=5, units=8, **options)).read().card()
    assert made.training is not None
    assert made.training.scaling is not None
    assert made.training.scaling.target_deviation[0] < 10
    assert made.lowering is not None
    assert made.lowering.error < 1e-5
