"""How many cores torch computes on in a thread, with the others left as they are.

Torch keeps the number by thread, but a thread that begins takes what was set last anywhere.
"""

from concurrent.futures import ThreadPoolExecutor
from threading import Lock

import torch

_SETTING = Lock()


def use_cores(count: int) -> None:
    """Torch in this thread computes on `count` cores from here on; threads that begin do on as many as before."""
    with _SETTING, ThreadPoolExecutor(1) as another:
        others = another.submit(torch.get_num_threads).result()
        torch.get_num_threads()  # a thread that has not asked yet would forget what is set
        torch.set_num_threads(count)
        another.submit(torch.set_num_threads, others).result()
