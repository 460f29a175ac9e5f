"""`attention-service score`: the command line of scoring in bulk."""

import argparse
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from service.bulk.processes import started
from service.cluster import ClusterError, connected
from service.errors import ArtifactError, ScoringError, TableError, how_to_install
from service.serving.cpus import cpu_limit

if TYPE_CHECKING:
    from service.bulk.run import Execute

PROGRAM = "attention-service score"
DESCRIPTION = """Score the sequences of files with a model, and write predictions and attention as Parquet.

An input is a .parquet, .csv, .tsv, .txt, .csv.gz or .npz file, a folder of such files, or an address of one, such as
's3://bucket/folder/*.parquet'. Tables have the columns that the model was trained with; the target may be left out. The
output is a folder, which pandas, DuckDB, polars and pyarrow read as one table: one row for each sequence, in the order
of the input. A sequence that the model does not take is written into the folder _rejected, with file, row and reason,
and the others go on.
"""
EPILOG = "example: attention-service score visits.csv scores --model visits"


def main() -> None:
    """Run the command line.

    Raises:
        SystemExit: an option or an input is wrong, or the run cannot go on; the message has one line.
    """
    given = _parser().parse_intermixed_args()
    # pyarrow's own pool keeps a fifth more memory for later. The processes inherit the setting.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    try:
        if given.ray is None:
            with started(given.workers or cpu_limit()) as processes:
                outcome = _run(given, processes)
        else:
            from service.bulk.on_ray import on_ray

            with connected(given.ray) as ray:
                outcome = _run(given, partial(on_ray, ray, given.workers))
        sys.stdout.write(f"{outcome}\n")
    except ModuleNotFoundError as error:
        raise SystemExit(f"error: scoring in bulk needs the module {error.name!r}: {how_to_install('bulk')}") from None
    except (ScoringError, TableError, ArtifactError, OSError) as error:
        raise SystemExit(f"error: {error}") from None
    except ClusterError as error:
        from service.bulk.output import MANIFEST

        begun = (given.output / MANIFEST).exists()
        raise SystemExit(f"error: {error}{'; --resume continues the run' if begun else ''}") from None
    except KeyboardInterrupt:
        raise SystemExit("stopped; --resume continues the run") from None


def _run(given: argparse.Namespace, execute: "Execute") -> str:
    """Score, with a progress bar on a terminal. Return the line about the outcome."""
    # Imported here, while the processes import the same.
    from tqdm import tqdm

    from service.bulk.run import Options, score

    options = Options(
        inputs=tuple(given.input),
        output=given.output,
        model=given.model,
        version=given.version,
        artifacts=given.artifacts,
        attention=given.attention,
        importance=given.importance,
        chunk=given.chunk,
        resume=given.resume,
        strict=given.strict,
    )
    with tqdm(disable=None, unit=" sequences", unit_scale=True, desc="reading") as bar:

        def report(done: int, total: int) -> None:
            if bar.total is None:
                bar.set_description("scoring", refresh=False)
                bar.reset(total)
                bar.n = bar.initial = done
            bar.update(done - bar.n)

        summary = score(options, report, execute)
    rejected = f"{summary.rejected:,} rejected (see {options.output}/_rejected), " if summary.rejected else ""
    rate = summary.scored / max(summary.seconds, 1e-9)
    return (
        f"{options.output}: {summary.sequences:,} sequences, {rejected}{summary.seconds:.1f} s, {rate:,.0f} sequences "
        "per second"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("input", nargs="+", help="file or folder to read, or its address, such as s3://bucket/folder")
    parser.add_argument("output", type=_folder, help="folder to write; a new or an empty one")
    parser.add_argument("--model", required=True, metavar="NAME", help="name of the model")
    parser.add_argument(
        "--version", type=_count, metavar="NUMBER", help="version of the model (default: the newest, or the pinned one)"
    )
    parser.add_argument(
        "--artifacts",
        type=_folder,
        default=Path("artifacts"),
        metavar="FOLDER",
        help="folder of models (default: artifacts)",
    )
    parser.add_argument(
        "--attention",
        choices=("mean", "full", "none"),
        default="mean",
        help="attention to write: one weight for each timestep (mean, the default), one for each timestep and unit "
        "(full), or none",
    )
    parser.add_argument(
        "--importance",
        action="store_true",
        help="write how far the prediction moves when a timestep is replaced; one more run for each timestep",
    )
    parser.add_argument("--workers", type=_count, metavar="NUMBER", help="processes (default: one for each CPU)")
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="address of a Ray cluster that runs these processes; auto: the one of this machine, local: a new one",
    )
    parser.add_argument(
        "--chunk", type=_count, metavar="ROWS", help="most sequences that a process holds (default: by their size)"
    )
    parser.add_argument(
        "--resume", action="store_true", help="continue a run that was killed; input and options must be the same"
    )
    parser.add_argument(
        "--strict", action="store_true", help="end with an error at the first sequence that is rejected"
    )
    return parser


def _folder(text: str) -> Path:
    if "://" in text:
        raise argparse.ArgumentTypeError(f"expected a folder of this machine or of a mount, got {text!r}")
    return Path(text)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text!r}")
    return int(text)


if __name__ == "__main__":
    main()
