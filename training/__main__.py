"""The command line of training: train or `import` a model and publish it; `check`, `compare` or `prune` versions."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service import __version__
from service.artifact.gate import check_names, open_verified
from service.artifact.layout import CARD, EXTRA, versions_of
from service.artifact.publishing import prune
from service.artifact.version import Artifact
from service.engines import opener
from service.errors import ArtifactError, how_to_install
from training import TrainingError
from training.compare import compare
from training.frameworks import import_frameworks
from training.options import Check, Compare, Import, Options, Prune
from training.summary import summary

#: Environment variables of the folders in which Keras, matplotlib and aeon write settings and caches, and the folders
#: below the home directory where they would be without the variables. Other packages import matplotlib where it is.
CACHES = {"KERAS_HOME": ".keras", "MPLCONFIGDIR": ".config/matplotlib", "AEON_DATA": "aeon_data"}


def main() -> None:
    """Run the command line."""
    try:
        match sys.argv[1:]:
            case ["--version"]:
                print(f"attention-training {__version__}")
            case ["prune", *arguments]:
                print(pruned(Prune.from_command_line(arguments)))
            case ["compare", *arguments]:
                print(compare(Compare.from_command_line(arguments)))
            case ["check", *arguments]:
                print(checked(Check.from_command_line(arguments)))
            case ["import", *arguments]:
                importing = Import.from_command_line(arguments)
                with _private_caches():
                    print(imported(importing))
            case arguments:
                options = Options.from_command_line(arguments)
                with _private_caches():
                    print(trained(options))
    except ModuleNotFoundError as error:
        raise SystemExit(f"error: training needs the module {error.name!r}: {how_to_install('training')}") from None
    except (TrainingError, ArtifactError, OSError) as error:
        raise SystemExit(f"error: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit("stopped; --resume continues the training") from None


@contextmanager
def _private_caches() -> Iterator[None]:
    """Give libraries a folder for settings and caches that is removed afterwards, unless they have one already."""
    with tempfile.TemporaryDirectory(prefix="attention-training-") as private:
        for variable, folder in CACHES.items():
            if not Path(os.environ.get("HOME", "/"), folder).exists():
                os.environ.setdefault(variable, private)
        yield


def trained(options: Options) -> str:
    """Train and publish. Return the summary."""
    from training.sources.loading import load

    dataset = load(options)  # before the import of TensorFlow, which takes seconds, to report wrong data early
    import_frameworks()
    from training.run import run

    return summary(run(options, dataset))


def imported(options: Import) -> str:
    """Import a model and publish it. Return the summary."""
    import_frameworks()
    from training.importing.opening import open_model
    from training.importing.run import run
    from training.importing.sample import read_sample

    opened, origin = open_model(options.model, options.custom)
    return summary(run(opened, origin, read_sample(options.reading, opened.inputs), options))


def checked(options: Check) -> str:
    """Check a version as the service does. Return a line for a version that it would serve."""
    directory = options.directory.absolute()
    if not (directory / CARD).exists() and directory.is_dir() and (versions := versions_of(directory)):
        directory /= str(versions[-1])
    if not (directory / EXTRA).is_dir():
        raise ArtifactError(f"{directory}: expected the directory of a version or of a model, got no {EXTRA} in it")
    verified = open_verified(Artifact(directory).read(), opener(options.engine, threads=1))
    check_names(verified.card, directory)
    golden = verified.golden
    return (
        f"{directory}: model {verified.card.name!r} would be served; engine {verified.engine.name} replays its golden "
        f"example of {len(golden.sequence)} sequences"
    )


def pruned(options: Prune) -> str:
    """Remove old versions. Return a line that lists the removed and the kept ones."""
    home = options.artifacts / options.name
    if not home.is_dir():
        raise TrainingError(f"no model {options.name!r} in {options.artifacts}")
    removed = prune(home, options.keep)
    return f"{options.name}: removed {_list(removed)}; kept {_list(versions_of(home))}"


def _list(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers)) or "none"


if __name__ == "__main__":
    main()
