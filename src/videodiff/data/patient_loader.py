"""A DataLoader whose time limit a suspended process does not use up."""

from typing import Any

from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _BaseDataLoaderIter, _MultiProcessingDataLoaderIter

PIECE = 5.0  # seconds of one wait


class PatientLoader(DataLoader):
    """Waits for a worker in pieces: a suspension (SIGSTOP, Ctrl-Z, a cgroup freezer), however long, is one of them.

    Torch waits once for the whole ``timeout``: after a longer suspension that wait is over before the workers, who were
    suspended too, have run again, and the run ends over a batch that nothing was wrong with.
    """

    def _get_iterator(self) -> _BaseDataLoaderIter:
        if self.num_workers == 0:
            return super()._get_iterator()
        self.check_worker_number_rationality()
        return _PatientIterator(self)


class _PatientIterator(_MultiProcessingDataLoaderIter):
    def _try_get_data(self, timeout: float = PIECE) -> tuple[bool, Any]:
        left = float(timeout)
        while True:
            found = super()._try_get_data(min(left, PIECE))
            left -= PIECE
            if found[0] or left <= 0:
                return found
