"""One training from recorded candles to a version on the shelf: read, fit, judge, pass the gate.

Nothing that closed after `until` is read, and the same candles give the same version.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version as installed
from itertools import repeat
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import numpy as np
import xgboost
from threadpoolctl import threadpool_limits

from dataflows.training.dataset import HORIZON, STRIDE, Ask, Source, sources, usable
from dataflows.training.gate import Recent, passes, recent_of
from dataflows.training.revision import revision
from dataflows.training.search import searched
from engine.errors import SourceError, StorageError
from engine.extras import EXTRAS
from engine.models.boosted import NAME, Boosted
from engine.models.growing import REGULARISED, Grown, Plan, Rows, Side, Size, assembled, grow_side, grow_size
from engine.models.manifest import Facts, Manifest
from engine.models.segment import Segment
from engine.models.shelf import Shelf
from engine.models.worth import judged
from engine.records import INTERVALS
from engine.research.rows import FAMILIES, INPUTS, INPUTS_HASH
from engine.settings import Settings

DAY: Final = 86_400_000
SEED: Final = 7
LEAST: Final = 200
"""Rows a segment needs before folds of it mean anything."""

DEMO_DAYS: Final = 120
"""Days that the demo profile looks back."""

TURN: Final = 0.01
"""Seconds between two looks whether processes have ended."""

LIBRARIES: Final = ("numpy", "scikit-learn")
Profile = Literal["full", "demo"]
Told = Callable[[str, float], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Trained:
    """What a training made; `seconds` is how long it took."""

    version: str
    promoted: bool
    reason: str
    seconds: float
    manifest: Manifest


@dataclass(frozen=True)
class Job:
    """One segment to fit, as it goes to a process of its own; `search` settings were tried for it before.

    `refused` are the optional inputs that it does without, and why.
    """

    name: str
    rows: Rows
    plan: Plan
    refused: Mapping[str, str]
    search: int = 0


@dataclass(frozen=True, eq=False)
class Fitted:
    """One segment with its figures."""

    job: Job
    grown: Grown
    segment: Segment
    figures: Mapping[str, Any]


def quiet(stage: str, share: float) -> None:
    """Tell nobody."""


def train(
    settings: Settings,
    data: Path,
    until: int,
    shelf: Shelf,
    *,
    profile: Profile = "full",
    stop: bool = True,
    search: int = 0,
    workers: int = 2,
    told: Told = quiet,
) -> Trained:
    """Fit every segment on the candles in `data` that closed by `until`, ms UTC, and shelve the version.

    `profile` demo looks at the last 120 days only; without `stop` all rounds are grown; `search` other
    settings are tried inside the folds. Raises `StorageError` where there is too little to learn from.
    """
    started = time.perf_counter()
    with side_by_side(workers) as pool:
        found = read(settings, data, until, until, profile, pool, told)
        return fit(
            settings, found, until, shelf, pool, profile, stop=stop, search=search, told=told, started=started
        )


def series(
    settings: Settings,
    data: Path,
    untils: Sequence[int],
    shelf: Shelf,
    *,
    profile: Profile = "full",
    stop: bool = True,
    search: int = 0,
    workers: int = 2,
    told: Told = quiet,
) -> Iterator[Trained]:
    """One version after another, as if each had been trained at its time; the candles are read once."""
    with side_by_side(workers) as pool:
        found = read(settings, data, min(untils), max(untils), profile, pool, told)
        for until in sorted(untils):
            started = time.perf_counter()
            yield fit(
                settings,
                found,
                until,
                shelf,
                pool,
                profile,
                stop=stop,
                search=search,
                told=told,
                started=started,
            )


class Here(Executor):
    """Does at once, in this process, whatever it is given."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        done: Future[T] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


@contextmanager
def side_by_side(workers: int) -> Iterator[Executor]:
    """Processes of one thread each, or this one: what they add up does not depend on how many there are.

    None of them is left, however the block ends. Raises `SourceError` when one was killed.
    """
    with threadpool_limits(1):
        if workers == 1:
            yield Here()
            return
        others = set(active_children())
        with ProcessPoolExecutor(workers, get_context("spawn"), initializer=one_thread) as pool:
            try:
                yield pool
            except BaseException as error:
                # What is under way is of no use any more. The pool is told first: it cannot bury processes
                # whose work was cancelled behind its back.
                pool.shutdown(wait=False, cancel_futures=True)
                for child in set(active_children()) - others:
                    child.kill()
                while set(active_children()) - others:
                    time.sleep(TURN)
                if isinstance(error, BrokenProcessPool):
                    raise SourceError("a process of the training ended before its work was done") from error
                raise


def one_thread() -> None:
    """Begin a process that works on one thread, says nothing at a Ctrl-C and outlives nobody."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=end_with_parent, daemon=True).start()
    threadpool_limits(1)
    os.environ["POLARS_MAX_THREADS"] = "1"


def end_with_parent() -> None:
    """A pool tells its processes when it ends, but not when it is killed."""
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)


def days_of(settings: Settings, profile: Profile) -> float:
    """How far back a training looks."""
    days = settings.models.boosted.window_days
    return min(days, DEMO_DAYS) if profile == "demo" else days


def read(
    settings: Settings, data: Path, first: int, last: int, profile: Profile, pool: Executor, told: Told
) -> list[Source]:
    """The rows of every symbol for trainings at `first` to `last`."""
    model = settings.models.boosted
    step = INTERVALS[model.interval]
    begin = round(first - days_of(settings, profile) * DAY) // step * step
    decide = settings.decide.interval
    others = (decide,) if INTERVALS[decide] < step else ()
    ask = Ask(data, settings.market, model.interval, begin, last // step * step, others)
    pairs = [(symbol, settings.segment_of(symbol)) for symbol in settings.all_symbols]
    return sources(ask, pairs, model.minimum, pool, told)


def fit(
    settings: Settings,
    found: Sequence[Source],
    until: int,
    shelf: Shelf,
    pool: Executor,
    profile: Profile,
    *,
    stop: bool,
    search: int,
    told: Told,
    started: float,
) -> Trained:
    """One version of what was known at `until`."""
    ready = (prepared(settings, found, name, until, profile, stop) for name in settings.symbols)
    jobs = [job for job in ready if job]
    if not jobs:
        raise StorageError(refusal(found, until, settings.models.boosted.minimum))
    if search:
        jobs = list(pool.map(widened, jobs, repeat(search)))
    fitted = dict(zip((job.name for job in jobs), grown(jobs, pool, told), strict=True))
    recent = recent_of(
        {name: (one.job.rows, one.grown, one.job.plan) for name, one in fitted.items()},
        [source.symbol for source in found],
        until,
    )
    verdict = passes(recent, shelf, tuple(fitted))
    last = last_close([source for source in found if source.segment in fitted], until)
    facts = facts_of(settings, fitted, until, last, verdict.figures, stop)
    version = Boosted("", facts.interval, {name: one.segment for name, one in fitted.items()})
    manifest = shelf.add(
        lambda folder: put(folder, version, recent),
        replace(facts, promoted=verdict.passed, reason=verdict.reason),
    )
    if manifest.promoted:
        shelf.point(manifest.version)
    seconds = time.perf_counter() - started
    return Trained(manifest.version, manifest.promoted, manifest.reason, seconds, manifest)


def put(folder: Path, version: Boosted, recent: Recent) -> None:
    version.save(folder)
    recent.save(folder)


def prepared(
    settings: Settings, found: Sequence[Source], segment: str, until: int, profile: Profile, stop: bool
) -> Job | None:
    """The rows of one segment whose label had ended by `until`, pooled; None where they are too few."""
    model = settings.models.boosted
    step = INTERVALS[model.interval]
    last, first = until - HORIZON * step, round(until - days_of(settings, profile) * DAY)
    parts, beside = [], {}
    for number, source in enumerate(found):
        if source.segment != segment or source.candles(until) < model.minimum:
            continue
        kept = (source.time <= last) & (source.time > first) & np.isfinite(source.moves)
        if not kept.any():
            continue
        others = {name: moves[kept] for name, moves in source.others.items()}
        numbers = np.full(int(kept.sum()), number, np.int64)
        parts.append((source.time[kept], numbers, source.inputs[kept], source.moves[kept], others))
        beside[source.symbol] = source.extras[kept]
    if sum(len(part[0]) for part in parts) < LEAST:
        return None
    optional, refused = usable(beside)
    time, symbol, inputs, moves = (np.concatenate([part[place] for part in parts]) for place in range(4))
    columns = [EXTRAS.index(name) for name in optional]
    inputs = np.hstack([inputs, np.concatenate(list(beside.values()))[:, columns]])
    order = np.lexsort((symbol, time))
    others = {name: np.concatenate([part[4][name] for part in parts])[order] for name in parts[0][4]}
    plan = planned(settings, segment, optional, stop)
    rows = Rows(time[order], symbol[order], inputs[order], moves[order], others, optional)
    return Job(segment, rows, plan, refused)


def planned(settings: Settings, segment: str, optional: Sequence[str], stop: bool) -> Plan:
    """How one segment is fitted."""
    model = settings.models.boosted
    candidates = {"configured": {**model.trees_of(segment).model_dump()}, "regularised": dict(REGULARISED)}
    stated: Mapping[str, float] = model.chances_of(segment)
    chances = tuple(stated.get(FAMILIES[name], 1.0) for name in (*INPUTS, *optional))
    return Plan(
        model.interval,
        INTERVALS[model.interval],
        HORIZON,
        settings.thresholds[segment],
        candidates,
        SEED,
        stop,
        chances if len(set(chances)) > 1 else (),
    )


def widened(job: Job, trials: int) -> Job:
    """The job with one more candidate: the best that a search inside its folds found."""
    found = searched(job.rows, job.plan, trials)
    candidates = {**job.plan.candidates, "searched": found}
    return replace(job, plan=replace(job.plan, candidates=candidates), search=trials)


def grown(jobs: Sequence[Job], pool: Executor, told: Told) -> Iterator[Fitted]:
    """Every segment fitted, in the order of the jobs; the largest is begun first."""
    order = sorted(jobs, key=lambda job: -len(job.rows))
    sides = {job.name: pool.submit(grow_side, job.rows, job.plan) for job in order}
    sizes = {job.name: pool.submit(grow_size, job.rows, job.plan) for job in order}
    halves: list[Future[Any]] = [*sides.values(), *sizes.values()]
    for done, half in enumerate(halves, 1):
        half.result()
        told("trees", done / (2 * len(jobs)))
    whole = [pool.submit(fitted_of, job, sides[job.name].result(), sizes[job.name].result()) for job in jobs]
    return (future.result() for future in whole)


def fitted_of(job: Job, side: Side, size: Size) -> Fitted:
    """Assemble and judge one segment; the work of a process."""
    grown = assembled(job.rows, job.plan, side, size)
    segment, figures = judged(job.rows, job.plan, grown, np.random.default_rng(job.plan.seed))
    return Fitted(job, grown, segment, figures)


def last_close(found: Sequence[Source], until: int) -> int:
    """When the last candle of any of these symbols closed, at `until` or before."""
    return max(int(source.closes[count - 1]) for source in found if (count := source.candles(until)))


def facts_of(
    settings: Settings,
    fitted: Mapping[str, Fitted],
    until: int,
    last: int,
    gate: Mapping[str, Any],
    stop: bool,
) -> Facts:
    """What the manifest says of it; no label reaches beyond the `last` close.

    Where the candles end long before `until`, the version is as old as they are.
    """
    model = settings.models.boosted
    times = [one.job.rows.time for one in fitted.values()]
    grown = {
        name: {
            "chosen": one.grown.chosen,
            "trees": dict(one.job.plan.candidates[one.grown.trees]),
            "rounds": dict(one.grown.rounds),
            "tried": dict(one.grown.losses),
            "optional": list(one.segment.read),
            "offered": list(one.job.rows.optional),
            "refused": dict(one.job.refused),
            "chances": settings.models.boosted.chances_of(name),
        }
        for name, one in fitted.items()
    }
    return Facts(
        model=NAME,
        interval=model.interval,
        horizon=HORIZON,
        embargo=model.embargo,
        data_from=int(min(time[0] for time in times)),
        data_until=last - HORIZON * INTERVALS[model.interval],
        until=until,
        schema=INPUTS_HASH,
        metrics={
            "segments": {name: dict(one.figures) for name, one in fitted.items()},
            "gate": dict(gate),
        },
        parameters={"segments": grown, "stride": STRIDE, "early_stopping": stop},
        libraries={"xgboost": xgboost.__version__, **{name: installed(name) for name in LIBRARIES}},
        seed=SEED,
        revision=revision(),
        trials=sum(len(one.grown.losses) + one.job.search for one in fitted.values()),
        promoted=False,
        reason="",
    )


def refusal(found: Sequence[Source], until: int, minimum: int) -> str:
    counts = {source.symbol: source.candles(until) for source in found}
    short = ", ".join(f"{symbol} {count}" for symbol, count in counts.items() if count < minimum)
    return f"nothing to train on: {minimum} candles a symbol are needed; found {short or 'too few labels'}"
