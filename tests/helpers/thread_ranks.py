"""Ranks that are threads: what several processes do in `crnn.fit`, in one."""

import threading


class OthersFailedError(Exception):
    """Another rank will not take part any more."""


class Meeting:
    """Where threads add up their vectors."""

    def __init__(self, size):
        self.size, self.failed = size, False
        self._rounds, self._vectors, self._total = 0, {}, None
        self._changed = threading.Condition()

    def total(self, rank, vector):
        """Return the sum of the vectors of all ranks, in their order, once all are there."""
        with self._changed:
            this_round, self._vectors[rank] = self._rounds, vector.copy()
            if len(self._vectors) == self.size:
                self._total = sum(self._vectors[each] for each in range(self.size))
                self._rounds, self._vectors = this_round + 1, {}
                self._changed.notify_all()
            self._changed.wait_for(lambda: self._rounds > this_round or self.failed, 60)
            if self._rounds == this_round:
                raise OthersFailedError
            return self._total

    def fail(self):
        """Have those that wait, or will wait, raise an error."""
        with self._changed:
            self.failed = True
            self._changed.notify_all()


class ThreadRank:
    """An ``all_reduce`` for one of several threads."""

    def __init__(self, rank, meeting):
        self.rank, self.size, self.calls, self._meeting = rank, meeting.size, 0, meeting

    def __call__(self, vector):
        self.calls += 1
        vector[:] = self._meeting.total(self.rank, vector)


def run(size, function):
    """Return what ``function(all_reduce)`` returns or raises on each rank; 0 is this thread.

    When one raises, those that wait for it raise OthersFailedError, as processes would be ended.
    """
    meeting, found = Meeting(size), [None] * size

    def call(rank):
        try:
            found[rank] = function(ThreadRank(rank, meeting))
        except BaseException as error:
            found[rank] = error
            meeting.fail()

    threads = [threading.Thread(target=call, args=[rank]) for rank in range(1, size)]
    for thread in threads:
        thread.start()
    call(0)
    for thread in threads:
        thread.join()
    return found


def results(size, function):
    """Return what ``function(all_reduce)`` returns on each rank, or raise what one of them does."""
    found = run(size, function)
    errors = [each for each in found if isinstance(each, BaseException)]
    for error in sorted(errors, key=lambda each: isinstance(each, OthersFailedError)):
        raise error
    return found
