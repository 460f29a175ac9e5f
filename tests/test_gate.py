"""The gate refuses versions that are damaged, that do more than compute, or that compute something else."""

import ctypes
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tensorflow as tf
from tensorflow.core.framework.attr_value_pb2 import AttrValue
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from service.artifact.card import ModelCard
from service.artifact.engine import Engine
from service.artifact.gate import OpenEngine, open_verified
from service.artifact.tensors import ATTENTION, ATTENTION_VEC, PREDICTION, SEQUENCE
from service.artifact.version import Artifact, Contents, saved_model_digest
from service.engines import EngineChoice, opener
from service.engines.tensorflow import TensorFlowEngine
from service.errors import ArtifactError

ENGINES: tuple[EngineChoice, ...] = ("onnx", "tensorflow")


@pytest.fixture
def artifact(artifacts: Path, tmp_path: Path) -> Artifact:
    """Copy a version, for a test to damage."""
    return Artifact(Path(shutil.copytree(artifacts / "after-lstm" / "1", tmp_path / "1")))


def edit_card(artifact: Artifact, **fields: Any) -> None:
    card = json.loads(artifact.card_path.read_text())
    artifact.card_path.write_text(json.dumps({**card, **fields}))


def sign(artifact: Artifact) -> None:
    """Update the digest and the checksums, so that only the changed content is wrong."""
    card = json.loads(artifact.card_path.read_text())
    edit_card(artifact, lowering={**card["lowering"], "source_digest": saved_model_digest(artifact.digests())})
    artifact.write_sums()


def save_saved_model(artifact: Artifact, attend: Callable[[Any], dict[str, Any]]) -> None:
    """Replace the SavedModel of a version."""
    shutil.rmtree(artifact.directory / "variables")
    module = tf.Module()
    specification = tf.TensorSpec((None, 20, 2), tf.float32, name=SEQUENCE)
    signatures = {
        "serving_default": tf.function(lambda sequence: {PREDICTION: attend(sequence)[PREDICTION]}, [specification]),
        "attention": tf.function(attend, [specification]),
    }
    tf.saved_model.save(module, str(artifact.directory), signatures=signatures)


@contextmanager
def opened(path: Path) -> Iterator[list[bool]]:
    """Yield a list. At the end of the block it gets whether any process has opened the file, from the kernel."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK)
    assert libc.inotify_add_watch(descriptor, bytes(path), 0x20) >= 0  # IN_OPEN
    seen: list[bool] = []
    try:
        yield seen
        try:
            seen.append(bool(os.read(descriptor, 4096)))
        except BlockingIOError:
            seen.append(False)
    finally:
        os.close(descriptor)


def test_a_graph_that_reads_a_file_is_refused_before_it_reads(artifact: Artifact, tmp_path: Path) -> None:
    """The checksums are correct, and the graph replays its golden example."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    original = tf.saved_model.load(str(artifact.directory)).signatures["attention"]
    constants = {name: value.numpy() for name, value in original(sequence=tf.zeros((1, 20, 2))).items()}

    def attend(sequence: Any) -> dict[str, Any]:
        length = tf.cast(tf.strings.length(tf.io.read_file(str(secret))), tf.float32)
        batch = tf.shape(sequence)[:1]
        return {
            name: tf.tile(value, tf.concat([batch, tf.ones(value.ndim - 1, tf.int32)], 0)) + 0 * length
            for name, value in constants.items()
        }

    save_saved_model(artifact, attend)
    sequence = np.zeros((4, 20, 2), np.float32)
    prediction, attention_vec = (np.repeat(constants[name], 4, axis=0) for name in (PREDICTION, ATTENTION_VEC))
    np.savez(artifact.golden_path, sequence=sequence, prediction=prediction, attention_vec=attention_vec)
    sign(artifact)
    for engine in ENGINES:
        refused = pytest.raises(ArtifactError, match=r"saved_model\.pb holds the operation 'ReadFile'")
        with opened(secret) as read, refused:
            open_verified(artifact.read(), opener(engine, threads=1))
        assert read == [False]
    with opened(secret) as read:  # without the gate, the graph reads the file
        TensorFlowEngine(artifact.directory, artifact.directory, threads=1).run(sequence, [PREDICTION])
    assert read == [True]


def test_weights_from_another_file_are_refused(artifact: Artifact, engine: EngineChoice) -> None:
    """A lowering must hold its weights itself."""
    lowering = onnx.load(artifact.lowering_path)
    weights = lowering.graph.initializer[0]
    weights.data_location = onnx.TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="/etc/passwd")
    artifact.lowering_path.write_bytes(lowering.SerializeToString())
    sign(artifact)
    with pytest.raises(ArtifactError, match=r"model\.onnx keeps weights in another file"):
        open_verified(artifact.read(), opener(engine, threads=1))


@pytest.mark.parametrize("output", [PREDICTION, ATTENTION_VEC])
def test_a_version_that_cannot_replay_its_golden_example_is_refused(
    artifact: Artifact, engine: EngineChoice, output: str
) -> None:
    """Both prediction and attention must be replayed."""
    with np.load(artifact.golden_path) as golden:
        arrays = dict(golden)
    arrays[output] = arrays[output] * 0.99
    np.savez(artifact.golden_path, **arrays)
    artifact.write_sums()
    with pytest.raises(ArtifactError, match=rf"does not replay its golden example on engine {engine}: "):
        open_verified(artifact.read(), opener(engine, threads=1))


def test_other_weights_of_the_same_shape_are_refused(artifact: Artifact) -> None:
    """They are refused even if digest and checksums fit them."""
    lowering = onnx.load(artifact.lowering_path)
    for weights in lowering.graph.initializer:
        values = onnx.numpy_helper.to_array(weights)
        if values.dtype == np.float32 and values.size > 1:
            weights.CopyFrom(onnx.numpy_helper.from_array(values * np.float32(1.01), weights.name))
    artifact.lowering_path.write_bytes(lowering.SerializeToString())
    with pytest.raises(ArtifactError, match=r"model\.onnx is not what was published"):
        artifact.read()
    module = tf.saved_model.load(str(artifact.directory))
    for variable in module.signatures["attention"].variables:
        variable.assign(variable * 1.01)
    tf.saved_model.save(module, str(artifact.directory), signatures=module.signatures)
    sign(artifact)
    for engine in ENGINES:
        with pytest.raises(ArtifactError, match=rf"does not replay its golden example on engine {engine}: "):
            open_verified(artifact.read(), opener(engine, threads=1))


def test_a_golden_example_of_another_shape_is_refused(artifact: Artifact, engine: EngineChoice) -> None:
    """Broadcasting must not hide an output of the wrong shape."""
    with np.load(artifact.golden_path) as golden:
        arrays = dict(golden)
    for changed, message in (
        ({ATTENTION_VEC: arrays[ATTENTION_VEC][..., :1]}, r"expected output attention_vec of float32 \(None, 20, 1\)"),
        (
            {SEQUENCE: arrays[SEQUENCE][:, :5], ATTENTION_VEC: arrays[ATTENTION_VEC][:, :5]},
            r"expected sequences of shape \(n, 20, 2\), got \(32, 5, 2\)",
        ),
        (
            {name: array[:0] for name, array in arrays.items()},
            r"expected sequences of shape \(n, 20, 2\), got \(0, 20, 2\)",
        ),
    ):
        np.savez(artifact.golden_path, **{**arrays, **changed})
        artifact.write_sums()
        with pytest.raises(ArtifactError, match=message):
            open_verified(artifact.read(), opener(engine, threads=1))


def test_a_card_that_contradicts_the_graph_is_refused(artifact: Artifact) -> None:
    """A card that names three classes does not fit one output."""
    edit_card(artifact, target={"task": "multiclass", "classes": ["a", "b", "c"]})
    artifact.write_sums()
    with pytest.raises(ArtifactError, match=r"describes a multiclass target with 3 output\(s\), .*golden\.npz has 1"):
        open_verified(artifact.read(), opener("auto", threads=1))


def test_a_card_that_names_other_numbers_than_the_graph_predicts_is_refused(artifact: Artifact) -> None:
    """Each number has a name. Without names, any count is accepted."""
    edit_card(artifact, target={"task": "regression", "names": ["mean", "peak"]})
    artifact.write_sums()
    with pytest.raises(ArtifactError, match=r"describes a regression target with 2 output\(s\), .*golden\.npz has 1"):
        open_verified(artifact.read(), opener("auto", threads=1))
    for target in ({"task": "regression", "names": ["mean"]}, {"task": "regression"}):
        edit_card(artifact, target=target)
        artifact.write_sums()
        open_verified(artifact.read(), opener("auto", threads=1))


@pytest.fixture
def masked_artifact(masked: Path, tmp_path: Path) -> Callable[[str], Artifact]:
    """Copy a version of a model with varying sequences, for a test to damage."""
    return lambda name: Artifact(Path(shutil.copytree(masked / name / "1", tmp_path / "1")))


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("shorter", {"variable_length": False}),
        ("gaps", {"missing_values": False}),
        ("gaps", {"missing_values": False, "variable_length": True}),
        ("both", {"missing_values": False}),
    ],
)
def test_a_golden_example_with_values_missing_against_the_card_is_refused(
    masked_artifact: Callable[[str], Artifact], engine: EngineChoice, name: str, allowed: dict[str, bool]
) -> None:
    """The graph replays it, but requests like it would be refused."""
    artifact = masked_artifact(name)
    open_verified(artifact.read(), opener(engine, threads=1))
    edit_card(artifact, **allowed)
    artifact.write_sums()
    with pytest.raises(ArtifactError, match=r"golden\.npz: expected values that the card allows .*, got nan at seq"):
        open_verified(artifact.read(), opener(engine, threads=1))


@pytest.mark.parametrize(
    ("sequence", "attention", "message"),
    [
        ([[1, 2], [1, np.inf], *[[np.nan, np.nan]] * 4], 0, r"got inf at sequence\[3\]\[1\]\[1\]"),
        ([[np.nan, np.nan]] * 6, 0, r"expected at least one value in each sequence, got none in sequence\[3\]"),
        (
            [[1, 2], *[[np.nan, np.nan]] * 5],
            1e-12,
            r"expected no attention at a timestep without any value, got 1e-12 at attention_vec\[3\]\[1\]\[0\]",
        ),
    ],
)
def test_a_golden_example_that_breaks_the_rules_of_missing_values_is_refused(
    masked_artifact: Callable[[str], Artifact], engine: EngineChoice, sequence: Any, attention: float, message: str
) -> None:
    """The rules forbid infinity, an empty sequence, and any attention at an absent timestep."""
    artifact = masked_artifact("both")
    with np.load(artifact.golden_path) as golden:
        arrays = dict(golden)
    arrays[SEQUENCE][3] = sequence
    arrays[ATTENTION_VEC][3, 1:] = attention
    np.savez(artifact.golden_path, **arrays)
    artifact.write_sums()
    with pytest.raises(ArtifactError, match=message):
        open_verified(artifact.read(), opener(engine, threads=1))


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ((PREDICTION, ATTENTION), "expected outputs prediction, attention, attention_vec, got"),
        ((PREDICTION, ATTENTION, ATTENTION_VEC, "more"), "expected outputs prediction, attention, attention_vec, got"),
    ],
)
def test_a_saved_model_with_other_outputs_is_refused(
    artifact: Artifact, outputs: tuple[str, ...], message: str
) -> None:
    """Otherwise only a request for the output would show the fault."""
    shapes = {PREDICTION: (1,), ATTENTION: (20,), ATTENTION_VEC: (20, 32), "more": (1,)}

    def attend(sequence: Any) -> dict[str, Any]:
        return {name: tf.zeros([tf.shape(sequence)[0], *shapes[name]]) for name in outputs}

    save_saved_model(artifact, attend)
    sign(artifact)
    with pytest.raises(ArtifactError, match=message):
        open_verified(artifact.read(), opener("tensorflow", threads=1))


def test_damaged_signature_definitions_are_refused(artifact: Artifact, engine: EngineChoice) -> None:
    """Otherwise only a request for the metadata would show the fault."""
    path = artifact.directory / "saved_model.pb"
    (meta_graph,) = SavedModel.FromString(path.read_bytes()).meta_graphs
    content = meta_graph.SerializeToString() + b"\x2a\x02\x12\x7f"  # an entry that ends too early
    path.write_bytes(AttrValue(s=content).SerializeToString())  # its field 2, too, holds bytes
    sign(artifact)
    with pytest.raises(ArtifactError, match=r"saved_model\.pb expected 127 bytes"):
        open_verified(artifact.read(), opener(engine, threads=1))


def test_a_lowering_for_one_batch_size_is_refused(artifact: Artifact) -> None:
    """The batch axis must be open."""
    lowering = onnx.load(artifact.lowering_path)
    lowering.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 32
    artifact.lowering_path.write_bytes(lowering.SerializeToString())
    sign(artifact)
    with pytest.raises(
        ArtifactError, match=r"expected input sequence of float32 \(None, 20, 2\), got float32 \(32, 20"
    ):
        open_verified(artifact.read(), opener("onnx", threads=1))


def after_changing(artifact: Artifact, engine: EngineChoice, *names: str) -> OpenEngine:
    """Return an opener that overwrites files after they were checked, and then opens the engine."""

    def change_and_open(contents: Contents, card: ModelCard) -> Engine:
        for name in names:
            (artifact.directory / name).write_bytes(b"something else")
        return opener(engine, threads=1)(contents, card)

    return change_and_open


def test_the_checked_files_are_the_ones_that_run(artifact: Artifact, engine: EngineChoice) -> None:
    """Files that change after the checks have no effect."""
    changing = after_changing(artifact, engine, "saved_model.pb", "assets.extra/model.onnx")
    open_verified(artifact.read(), changing)


def test_variables_that_change_after_the_checks_are_refused(artifact: Artifact) -> None:
    """They may be too large for memory, so their copy is checked again."""
    changing = after_changing(artifact, "tensorflow", "variables/variables.data-00000-of-00001")
    with pytest.raises(ArtifactError, match=r"variables\.data-00000-of-00001 .*changed while"):
        open_verified(artifact.read(), changing)


def test_charts_are_for_people(artifact: Artifact) -> None:
    """A version without the files of charts may be served, as the service draws charts from the card."""
    for suffix in ("svg", "png"):
        artifact.chart_path(suffix).unlink()
    artifact.write_sums()
    assert open_verified(artifact.read(), opener("auto", threads=1)).card == artifact.read().card()


def test_no_corruption_passes(artifact: Artifact) -> None:
    """Files are cut, emptied, deleted or changed 600 times. Each time the error names the file."""
    generator = np.random.default_rng(0)
    files = sorted(path for path in artifact.directory.rglob("*") if path.is_file())
    for number in range(600):
        path = files[number % len(files)]
        whole = path.read_bytes()
        broken = bytearray(whole)
        match generator.choice(["cut", "empty", "delete", "flip", "flip", "flip", "insert"]):
            case "cut":
                del broken[int(generator.integers(len(broken))) :]
            case "empty":
                broken.clear()
            case "flip":
                for _ in range(generator.choice([1, 1, 2, 16])):
                    broken[generator.integers(len(broken))] ^= int(generator.integers(1, 256))
            case "insert":
                broken.insert(int(generator.integers(len(broken) + 1)), int(generator.integers(256)))
            case "delete":
                path.unlink()
        if path.exists():
            if broken == whole:  # flips that undo each other
                continue
            path.write_bytes(broken)
        with pytest.raises(ArtifactError, match=path.name):
            open_verified(artifact.read(), opener("onnx", threads=1))
        path.write_bytes(whole)
    open_verified(artifact.read(), opener("onnx", threads=1))


def test_no_corruption_with_correct_checksums_crashes(artifact: Artifact) -> None:
    """Files are changed or cut 400 times, and the checksums written again. Parsers raise no other error."""
    generator = np.random.default_rng(1)
    files = [artifact.card_path, artifact.golden_path, artifact.lowering_path, artifact.directory / "saved_model.pb"]
    refused = 0
    for number in range(400):
        path = files[number % len(files)]
        whole = path.read_bytes()
        broken = bytearray(whole)
        if generator.random() < 0.2:
            del broken[int(generator.integers(len(broken))) :]
        for _ in range(generator.choice([1, 4, 64])):
            if broken:
                broken[generator.integers(len(broken))] = int(generator.integers(256))
        path.write_bytes(broken)
        artifact.write_sums()
        try:
            open_verified(artifact.read(), opener("onnx", threads=1))
        except ArtifactError:
            refused += 1
        path.write_bytes(whole)
    assert refused > 300
