"""Data sets of the Hugging Face hub, and local folders that look like one. Needs the extra `hub`."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from attribution.errors import UserError
from attribution.readers import RawTable, from_arrow

PREFIX = "hub:"
FORM = "hub:NAME[:CONFIG]:SPLIT"
# A split may be a slice, such as train[:100], so that not every colon separates two parts.
_PARTS = re.compile(r"hub:(?P<name>[^:]+)(?::(?P<config>[^:\[\]]+))?:(?P<split>[^:\[\]]+(?:\[[^\[\]]*\])?)")


def read_hub(source: str) -> RawTable:
    """One split of a data set, named by `FORM`; NAME may be a local folder. Class labels become their names.

    Code in a data set is never run. UserError: `source` is not of that form, `datasets` is not installed, the hub
    cannot be reached, or the data set cannot be loaded.
    """
    parts = _PARTS.fullmatch(source)
    if parts is None:
        raise UserError(f"'{source}' is not of the form {FORM}, for example hub:stanfordnlp/imdb:train.")
    try:
        from datasets import ClassLabel, Dataset, load_dataset
    except ImportError as error:
        raise UserError(
            f"{source}: data sets of the hub need the package 'datasets': pip install 'influscope[hub]'"
        ) from error
    try:
        with _only_errors_logged("datasets", "huggingface_hub"):
            dataset = load_dataset(parts["name"], parts["config"], split=parts["split"])
            assert isinstance(dataset, Dataset)
            table: pa.Table = dataset.with_format("arrow")[:]
    except ConnectionError as error:
        raise UserError(f"{source}: the hub cannot be reached and the data set is not cached: {error}") from error
    except Exception as error:  # datasets lets through whatever its many readers raise
        raise UserError(f"{source}: cannot be loaded: {error}") from error
    for index, (name, feature) in enumerate(dataset.features.items()):
        if isinstance(feature, ClassLabel):
            # -1 is how test splits on the hub say that a row has no label.
            labels = [None if i is None or i < 0 else feature.int2str(i) for i in table.column(name).to_pylist()]
            table = table.set_column(index, name, pa.array(labels, pa.string()))
    return from_arrow(table)


@contextmanager
def _only_errors_logged(*names: str) -> Iterator[None]:
    """Keep libraries that warn of every retry from burying the one line that the user needs."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
