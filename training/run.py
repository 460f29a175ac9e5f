"""One training, from options to a published version."""

import logging
import math
import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from service.artifact.card import Judgement, ModelCard, Repeats, Scaling, TrainingRecord, Trial, varying
from training import TrainingError, export, fitting, folds, minirocket, models
from training.checkpoints import Checkpoint, Checkpoints
from training.choice import choose
from training.continuation import as_continued, set_published_weights, with_published
from training.cross_validation import CrossValidated, cross_validate, fold_of
from training.data import Dataset, baseline_of
from training.evaluate import Evaluation, attending, evaluate, forward
from training.jobs import Runner, runner
from training.judgement import judge
from training.layers import layers_of
from training.memory import fewest_bytes, memory_limit
from training.options import Options
from training.progress import announce

#: The error message when memory is short.
NO_MEMORY = "the fit needs more memory than there is: expected smaller --units or --batch-size"
LIBRARIES = ("tensorflow", "keras", "numpy", "tf2onnx", "onnx", "onnxruntime")

logger = logging.getLogger(__name__)


class TrainedModel(NamedTuple):
    """A model, its fit and its evaluation."""

    model: keras.Model
    fitted: fitting.FitResult
    evaluation: Evaluation


def run(options: Options, dataset: Dataset) -> Path:
    """Train, evaluate and publish. Return the directory of the published version.

    Raises:
        TrainingError: the data or the options are unusable, the fit diverges, the model does not beat its baseline, or
            the lowering differs from the model.
        OSError: the version cannot be written.
    """
    options = with_published(options)
    dataset = as_continued(dataset, options)
    dataset = replace(dataset, robust=options.loss != "mean_squared_error")
    home = options.artifacts / options.model_name
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=home):
        pass  # fail before the fit, not after hours of it, if the folder is read-only
    parts = folds.parts_of(dataset, options.cross_validate, options.seed) if options.cross_validate else []
    trials: tuple[Trial, ...] = ()
    run_tasks = runner(options)
    if options.architecture_or_default == "auto":
        part = fold_of(dataset, parts[0]) if parts else dataset
        options, trials = choose(part, options, _fit_on_part, run_tasks)
        announce(f"chosen: {options.architecture}")
    checkpoints = Checkpoints(home, options, dataset)
    if not options.resume:
        checkpoints.discard()
    elif not checkpoints:
        logger.warning("nothing to resume: %s has no checkpoint of these options and data; starting over", home)
    try:
        validated = _cross_validated(dataset, options, parts, checkpoints, run_tasks) if parts else None
        last = validated.last_options(options) if validated else options
        trained = list(run_tasks(partial(_train, options=last, checkpoints=checkpoints), dataset, options.seeds))
    except TrainingError:  # resuming would fail in the same way
        checkpoints.discard()
        raise
    if validated:
        trained = [one._replace(evaluation=validated.judging(one.evaluation)) for one in trained]
    judgement = judge(trained[0].evaluation.predictions, dataset, options.seed)
    if judgement.beats_baseline is False and not options.publish_anyway:
        raise TrainingError(
            f"nothing is published: {judgement.verdict}. More sequences, more --epochs or other features may help; "
            "--publish-anyway --resume publishes this model"
        )
    card = _card(dataset, options, trained, judgement)
    card = card.model_copy(update={"trials": trials, "cross_validation": validated.record if validated else None})
    published = export.publish(trained[0].model, card, dataset.test.x[: export.CHECKED_SEQUENCES], home)
    checkpoints.discard()
    return published


def _cross_validated(
    dataset: Dataset, options: Options, parts: list[folds.Part], checkpoints: Checkpoints, run_tasks: Runner
) -> CrossValidated:
    """Fit and judge each fold, with a checkpoint of its own. The folds leave no logs."""
    quiet = options.model_copy(update={"tensorboard": None})
    outcome = cross_validate(dataset, parts, partial(_fit_fold, options=quiet, checkpoints=checkpoints), run_tasks)
    announce("fitting all data")
    return outcome


def _fit_fold(
    fold: Dataset, number: int, *, options: Options, checkpoints: Checkpoints
) -> tuple[keras.Model, fitting.FitResult]:
    return _fit(fold, options, options.seed, checkpoints.of(options.seed, number))


def _train(dataset: Dataset, seed: int, *, options: Options, checkpoints: Checkpoints) -> TrainedModel:
    model, fitted = _fit(dataset, options, seed, checkpoints.of(seed))
    baseline = baseline_of(dataset).astype(np.float32)
    attend = None if options.architecture == "minirocket" else attending(model)  # whose attention only describes it
    test = replace(dataset.test, varying=varying(dataset.feature_labels, dataset.static_labels))
    scaling = _scaling(dataset)
    deviation = scaling.target_deviation if scaling else ()
    evaluation = evaluate(forward(model), test, dataset.target, baseline, seed, attend=attend, deviation=deviation)
    return TrainedModel(model, fitted, evaluation)


def _fit(
    dataset: Dataset,
    options: Options,
    seed: int,
    checkpoint: Checkpoint,
    after_epoch: Callable[[int], None] = lambda _: None,
) -> tuple[keras.Model, fitting.FitResult]:
    if fewest_bytes(options) > memory_limit():  # the system would kill the process, without an error
        raise TrainingError(NO_MEMORY)
    keras.backend.clear_session()  # restart the numbers in layer names
    keras.utils.set_random_seed(seed)
    try:
        if options.architecture == "minirocket":
            return minirocket.fit(dataset, options, seed)
        model = models.build(dataset, options)
        if options.continue_ is not None:
            set_published_weights(model, options)
        return model, fitting.fit(model, dataset, options, seed, checkpoint, after_epoch)
    except (tf.errors.ResourceExhaustedError, MemoryError):
        raise TrainingError(NO_MEMORY) from None


def _fit_on_part(dataset: Dataset, options: Options, after_epoch: Callable[[int], None]) -> keras.Model:
    """Fit a candidate of the choice. It leaves no logs and no checkpoint."""
    with tempfile.TemporaryDirectory(prefix="attention-training-") as private:
        quiet = options.model_copy(update={"tensorboard": None})
        return _fit(dataset, quiet, options.seed, Checkpoint(Path(private, "fit.npz")), after_epoch)[0]


def _card(
    dataset: Dataset,
    options: Options,
    trained: list[TrainedModel],
    judgement: Judgement,
) -> ModelCard:
    model, fitted, evaluation = trained[0]
    _, timesteps, features = dataset.train.x.shape
    return ModelCard(
        name=options.model_name,
        created=datetime.now(UTC),
        architecture=options.architecture_or_default,
        timesteps=timesteps,
        features=features,
        timestep_labels=dataset.timestep_labels,
        feature_labels=dataset.feature_labels,
        categories=dict(dataset.categories),
        static_labels=dataset.static_labels,
        table=dataset.table,
        judgement=judgement,
        hints=dataset.hints,
        variable_length=dataset.variable_length,
        missing_values=dataset.missing_values,
        baseline=tuple(map(tuple, baseline_of(dataset).tolist())),
        target=dataset.target,
        layers=layers_of(model),
        **evaluation.fields,
        repeats=_repeats(options, [one.evaluation for one in trained]) if len(trained) > 1 else None,
        training=TrainingRecord(
            options=options.model_dump(mode="json"),
            plan=asdict(fitted.plan) if fitted.plan else {},
            libraries={name: version(name) for name in LIBRARIES},
            sequences=fitted.sequences,
            parameters=sum(math.prod(weight.shape) for weight in model.trainable_weights),
            epochs=fitted.epochs,
            best_epoch=fitted.epoch,
            seconds=fitted.seconds,
            history={name: tuple(values) for name, values in fitted.history.items()},
            scaling=_scaling(dataset),
            continued_from=options.continue_,
        ),
    )


def _scaling(dataset: Dataset) -> Scaling | None:
    if dataset.scale is None:
        return None
    of_target = dataset.target_scale if dataset.target.task == "regression" else None
    return Scaling(
        mean=tuple(dataset.scale.mean.tolist()),
        deviation=tuple(dataset.scale.deviation.tolist()),
        target_mean=tuple(of_target.mean.tolist()) if of_target else (),
        target_deviation=tuple(of_target.deviation.tolist()) if of_target else (),
    )


def _repeats(options: Options, evaluations: list[Evaluation]) -> Repeats:
    attention = np.array([evaluation.profile.mean for evaluation in evaluations])
    importance = np.array([evaluation.importance.drop for evaluation in evaluations])
    return Repeats(
        seeds=tuple(options.seeds),
        metrics={name: tuple(one.metrics[name] for one in evaluations) for name in evaluations[0].metrics},
        attention=tuple(attention.mean(axis=0).tolist()),
        attention_spread=tuple(attention.std(axis=0).tolist()),
        importance=tuple(importance.mean(axis=0).tolist()),
        importance_spread=tuple(importance.std(axis=0).tolist()),
        profiles=tuple(evaluation.profile.mean for evaluation in evaluations),
    )
