"""Nothing passes the gate that is damaged, that does what a model must not, or that computes something else."""

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
from google.protobuf.internal import encoder
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from service.artifact import gate
from service.artifact.gate import open_verified
from service.artifact.tensors import ATTENTION, ATTENTION_VEC, PREDICTION, SEQUENCE
from service.artifact.version import Artifact, Contents, saved_model_digest
from service.engines import EngineChoice, opener
from service.engines.tensorflow import TensorFlowEngine
from service.errors import ArtifactError


@pytest.fixture
def artifact(artifacts: Path, tmp_path: Path) -> Artifact:
    """A version of its own to break."""
    return Artifact(Path(shutil.copytree(artifacts / "after-lstm" / "1", tmp_path / "1")))


def edit_card(artifact: Artifact, **fields: Any) -> None:
    card = json.loads(artifact.card_path.read_text())
    artifact.card_path.write_text(json.dumps({**card, **fields}))


def sign(artifact: Artifact) -> None:
    """As somebody would who wants a changed version to be served."""
    card = json.loads(artifact.card_path.read_text())
    edit_card(artifact, lowering={**card["lowering"], "source_digest": saved_model_digest(artifact.digests())})
    artifact.write_sums()


def save_saved_model(artifact: Artifact, attend: Callable[[Any], dict[str, Any]]) -> None:
    """Put another SavedModel in the place of a version's."""
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
    """Whether anybody opened a file before the block ended: the kernel's word."""
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


def test_a_graph_that_reads_a_file_is_refused_and_the_file_never_read(
    artifact: Artifact, engine: EngineChoice, tmp_path: Path
) -> None:
    """Though all the sums are right, and though it computes what the golden example says."""
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
    refused = pytest.raises(ArtifactError, match=r"saved_model\.pb holds the operation 'ReadFile'")
    with opened(secret) as read, refused:
        open_verified(artifact.read(), opener(engine, threads=1))
    assert read == [False]
    with opened(secret) as read:  # without the gate it would have been
        TensorFlowEngine(artifact.directory, artifact.directory, threads=1).run(sequence, [PREDICTION])
    assert read == [True]


def test_weights_from_another_file_are_refused(artifact: Artifact, engine: EngineChoice) -> None:
    """A lowering could keep its weights wherever it likes."""
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
    """Prediction and attention both count."""
    with np.load(artifact.golden_path) as golden:
        arrays = dict(golden)
    arrays[output] = arrays[output] * 0.99
    np.savez(artifact.golden_path, **arrays)
    artifact.write_sums()
    with pytest.raises(ArtifactError, match=rf"does not replay its golden example on engine {engine}: "):
        open_verified(artifact.read(), opener(engine, threads=1))


def test_other_weights_of_the_same_shape_are_refused(artifact: Artifact, engine: EngineChoice) -> None:
    """Whether or not whoever changed them brought the sums up to date."""
    lowering = onnx.load(artifact.lowering_path)
    for weights in lowering.graph.initializer:
        values = onnx.numpy_helper.to_array(weights)
        if values.dtype == np.float32 and values.size > 1:
            weights.CopyFrom(onnx.numpy_helper.from_array(values * np.float32(1.01), weights.name))
    artifact.lowering_path.write_bytes(lowering.SerializeToString())
    with pytest.raises(ArtifactError, match=r"model\.onnx is not what was published"):
        open_verified(artifact.read(), opener(engine, threads=1))
    module = tf.saved_model.load(str(artifact.directory))
    for variable in module.signatures["attention"].variables:
        variable.assign(variable * 1.01)
    tf.saved_model.save(module, str(artifact.directory), signatures=module.signatures)
    sign(artifact)
    with pytest.raises(ArtifactError, match=rf"does not replay its golden example on engine {engine}: "):
        open_verified(artifact.read(), opener(engine, threads=1))


def test_a_golden_example_of_another_shape_is_refused(artifact: Artifact, engine: EngineChoice) -> None:
    """Outputs of the wrong shape do not pass by broadcasting."""
    with np.load(artifact.golden_path) as golden:
        arrays = dict(golden)
    for changed, message in (
        ({PREDICTION: arrays[PREDICTION][:, 0]}, r"expected arrays of 3, 2 and 3 axes, got \(3, 1, 3\)"),
        ({ATTENTION_VEC: arrays[ATTENTION_VEC][..., :1]}, r"expected output attention_vec of float32 \(None, 20, 1\)"),
        ({SEQUENCE: arrays[SEQUENCE][:, :5]}, r"expected sequences of shape \(n, 20, 2\), got \(32, 5, 2\)"),
        ({SEQUENCE: arrays[SEQUENCE][:0]}, r"expected sequences of shape \(n, 20, 2\), got \(0, 20, 2\)"),
        (
            {ATTENTION_VEC: arrays[ATTENTION_VEC][:, :19]},
            r"expected attention_vec of \(32, 20\) sequences and timesteps, got \(32, 19\)",
        ),
    ):
        np.savez(artifact.golden_path, **{**arrays, **changed})
        artifact.write_sums()
        with pytest.raises(ArtifactError, match=message):
            open_verified(artifact.read(), opener(engine, threads=1))


def test_a_card_that_contradicts_the_graph_is_refused(artifact: Artifact) -> None:
    """A card that names three classes over one output would answer nonsense."""
    edit_card(artifact, target={"task": "multiclass", "classes": ["a", "b", "c"]})
    artifact.write_sums()
    with pytest.raises(ArtifactError, match=r"describes a multiclass target with 3 output\(s\), .*golden\.npz has 1"):
        open_verified(artifact.read(), opener("auto", threads=1))


def test_a_card_that_names_other_numbers_than_the_graph_predicts_is_refused(artifact: Artifact) -> None:
    """One name for each; without names there may be any number."""
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
    """A version to break of one of the models whose sequences may vary."""
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
def test_a_golden_example_that_lacks_what_the_card_wants_is_refused(
    masked_artifact: Callable[[str], Artifact], engine: EngineChoice, name: str, allowed: dict[str, bool]
) -> None:
    """Though the graph computes what it says."""
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
    """Infinity, nothing at all, or attention to what is absent, however little."""
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
    """Signatures are as in the contract, or whoever asks for an output would be the first to find out."""
    shapes = {PREDICTION: (1,), ATTENTION: (20,), ATTENTION_VEC: (20, 32), "more": (1,)}

    def attend(sequence: Any) -> dict[str, Any]:
        return {name: tf.zeros([tf.shape(sequence)[0], *shapes[name]]) for name in outputs}

    save_saved_model(artifact, attend)
    sign(artifact)
    with pytest.raises(ArtifactError, match=message):
        open_verified(artifact.read(), opener("tensorflow", threads=1))


def test_damaged_signature_definitions_are_refused(artifact: Artifact, engine: EngineChoice) -> None:
    """Although only whoever asks for the metadata would notice."""
    path = artifact.directory / "saved_model.pb"
    (meta_graph,) = SavedModel.FromString(path.read_bytes()).meta_graphs
    content = meta_graph.SerializeToString() + b"\x2a\x02\x12\x7f"  # an entry that ends too early
    path.write_bytes(b"\x12" + encoder._VarintBytes(len(content)) + content)
    sign(artifact)
    with pytest.raises(ArtifactError, match=r"saved_model\.pb expected 127 bytes"):
        open_verified(artifact.read(), opener(engine, threads=1))


def test_a_lowering_for_one_batch_size_is_refused(artifact: Artifact) -> None:
    """The batch must be open."""
    lowering = onnx.load(artifact.lowering_path)
    lowering.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 32
    artifact.lowering_path.write_bytes(lowering.SerializeToString())
    sign(artifact)
    with pytest.raises(
        ArtifactError, match=r"expected input sequence of float32 \(None, 20, 2\), got float32 \(32, 20"
    ):
        open_verified(artifact.read(), opener("onnx", threads=1))


def test_what_changes_after_it_was_checked_is_not_what_runs(
    artifact: Artifact, engine: EngineChoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Engines get what was checked, not what lies there by now."""

    def and_exchange(contents: Contents) -> None:
        check(contents)
        for name in ("saved_model.pb", "assets.extra/model.onnx"):
            (artifact.directory / name).write_bytes(b"something else")

    check = gate._check_graphs
    monkeypatch.setattr(gate, "_check_graphs", and_exchange)
    open_verified(artifact.read(), opener(engine, threads=1))


def test_variables_that_change_after_they_were_checked_are_refused(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are too large to be kept in memory, so they are checked again once they are copied."""

    def and_exchange(contents: Contents) -> None:
        check(contents)
        (artifact.directory / "variables" / "variables.data-00000-of-00001").write_bytes(b"something else")

    check = gate._check_graphs
    monkeypatch.setattr(gate, "_check_graphs", and_exchange)
    with pytest.raises(ArtifactError, match=r"variables\.data-00000-of-00001 changed while it was read"):
        open_verified(artifact.read(), opener("tensorflow", threads=1))


def test_a_missing_chart_is_named(artifact: Artifact) -> None:
    """Every file of the contract is there, or the version is not served."""
    artifact.chart_path("svg").unlink()
    artifact.write_sums()
    with pytest.raises(ArtifactError, match=r"attention\.svg is missing"):
        open_verified(artifact.read(), opener("auto", threads=1))


def test_no_corruption_passes(artifact: Artifact) -> None:
    """600 times a file is cut off, emptied, deleted, or bytes of it flipped: each time its name is in the reason."""
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
            if broken == whole:  # bytes that were flipped back
                continue
            path.write_bytes(broken)
        with pytest.raises(ArtifactError, match=path.name):
            open_verified(artifact.read(), opener("onnx", threads=1))
        path.write_bytes(whole)
    open_verified(artifact.read(), opener("onnx", threads=1))


def test_no_corruption_with_the_sums_brought_up_to_date_crashes(artifact: Artifact) -> None:
    """Where the list was written for the damaged files, what reads them must stand them: 400 flips and cuts."""
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
