"""The loop: what the cameras bring, in turn -> judge it -> say what happened. Recording, drawing and acting are its reader's."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from deploy.inspector.judge import CurrentJudge
from deploy.inspector.watch import News, Turn, Watch


def inspect(
    arrivals: Iterable[tuple[int, News] | None], watches: Sequence[Watch], judge: CurrentJudge, is_stopping: Callable[[], bool]
) -> Iterator[Turn | None]:
    """Judge what arrives until there is no more or `is_stopping` says so; the last turns close the parts still in sight.

    An arrival is the index of a watch and what its camera brought, or None when a while passed without any, which is passed on
    so that the reader can see to other things. A lost camera, an unreadable picture, a failing engine, a frame older than its
    limit and a missed deadline become Faults, never a verdict, and the loop goes on. Another judge takes over between two frames.
    """
    for arrival in arrivals:
        if is_stopping():
            break
        yield None if arrival is None else watches[arrival[0]].turn(arrival[1], judge())
    for watch in watches:
        yield watch.end(judge())
