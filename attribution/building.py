"""Building an index beyond one method's needs: the parts of a scope, and shards shared out to several processes."""

from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import torch

from attribution.errors import UserError
from attribution.factor_index import KIND, finish_rows, shard_count
from attribution.index import Part, Progress, parts, unfinished
from attribution.registry import get_method
from attribution.scope import make_scope
from attribution.scoring import plan
from attribution.storage import locked
from attribution.workspace import Workspace, open_workspace


def parts_of_scope(workspace: Workspace, scope: str, checkpoints: str, precision: str) -> list[Part]:
    """What is kept of a scope: features of the head, word gradients, or gradients with their EK-FAC and norms.

    "all" is the word embeddings and every block with what is above it. UserError for a scope that is not linear layers.
    """
    if scope == "head":
        return parts(workspace, "features", checkpoints)
    words = parts(workspace, "word_gradients", checkpoints)
    if scope == "embeddings":
        return words
    if scope == "all":
        whole = f"last:{len(workspace.classifier.anatomy.blocks)}"
        return words + parts_of_scope(workspace, whole, checkpoints, precision)
    if not make_scope(workspace.classifier, scope).is_linear:
        raise UserError(f"The scope {scope} is not linear layers only: its methods answer by scorer=sweep, unindexed.")
    relatif = get_method("relatif").preset
    assert relatif is not None
    indexed = relatif.overlaid({"scope": scope, "checkpoints": checkpoints, "scorer": "index"})
    return plan(workspace, indexed).parts(workspace, precision)


def build_shards(workspace: Workspace, wanted: list[Part], workers: int, progress: Progress) -> None:
    """Finish the shards of the missing gradients in several processes; what they leave, `build` completes."""
    for part in wanted:
        if part.kind != KIND or part.is_built(workspace):
            continue
        with locked(workspace.storage, timeout=3600):
            folder, count = unfinished(part.folder(workspace)), shard_count(workspace)
            folder.mkdir(parents=True, exist_ok=True)
            threads = max(1, torch.get_num_threads() // workers)
            with ProcessPoolExecutor(min(workers, count), mp_context=get_context("spawn")) as pool:
                started = [
                    pool.submit(_one_shard, workspace.directory, workspace.device, part, number, folder, threads)
                    for number in range(count)
                ]
                for done, future in enumerate(as_completed(started), start=1):
                    future.result()
                    progress(done, count, f"shards of {part.option('scope')}")


def _one_shard(directory: Path, device: str, part: Part, number: int, folder: Path, threads: int) -> None:
    torch.set_num_threads(threads)
    finish_rows(open_workspace(directory, device=device), part, number, folder)
