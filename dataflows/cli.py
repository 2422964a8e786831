"""The `signal-engine` command; also `python -m dataflows`.

Exit codes: 0 done, 1 a check failed, 2 wrong usage or settings, 3 something outside (a port, Redis, the
exchange), 4 a file or folder, 130 interrupted. An error is one line, never a traceback.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NoReturn

import typer
from rich.console import Console
from typer.exceptions import TyperException

from dataflows import backtest as history
from dataflows import doctor as health
from dataflows import shelf as shelves
from dataflows import up as household
from dataflows.backfill.command import backfill
from dataflows.replay import serve as exchange
from dataflows.replay.companion.server import Companion
from dataflows.replay.exchange import ReplayExchange
from dataflows.training import command as training
from engine.errors import EngineError, SettingsError, StorageError, UnknownSymbol
from engine.models.shelf import Shelf
from engine.settings import load

app = typer.Typer(
    help="Streaming crypto trading signals that can be checked.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

DEFAULT: Final = Path("config.yaml")
DEMO_FOLDER: Final = "data/demo"
Config = Annotated[Path, typer.Option("--config", help="Configuration file.", envvar="SIGNAL_ENGINE_CONFIG")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
MarketName = Annotated[Literal["spot", "um"], typer.Option(help="Spot or USDT-M futures.")]
Symbols = Annotated[str | None, typer.Option(help="Separated by commas; else as configured.")]


@app.command()
def up(config: Config = DEFAULT) -> None:
    """Run Redis, the API and the flow on the configured exchange until Ctrl-C."""
    household.up(load(config), environ(config), out().print)


@app.command()
def live(config: Config = DEFAULT) -> None:
    """The same as up: real candles from Binance."""
    up(config)


@app.command()
def demo(config: Config = DEFAULT) -> None:
    """Run it all on a simulated market, sixty times as fast; no network."""
    console = out()
    console.print("demo: the market is simulated, and every signal says so")
    folder = os.environ.get("SIGNAL_ENGINE_STORAGE__FOLDER") or DEMO_FOLDER
    given = {**environ(config), "SIGNAL_ENGINE_STORAGE__FOLDER": folder}
    household.up(load(config, {**os.environ, **given}), given, console.print, simulated=True)


@app.command()
def doctor(config: Config = DEFAULT, as_json: AsJson = False) -> None:
    """Check what usually goes wrong; exit 1 when something does."""
    checks = health.examine(config)
    if as_json:
        typer.echo(json.dumps([asdict(check) for check in checks]))
    else:
        for check in checks:
            typer.echo(f"{'ok  ' if check.ok else 'FAIL'} {check.name}: {check.detail}")
    raise typer.Exit(0 if all(check.ok for check in checks) else 1)


@app.command()
def backtest(
    data: Annotated[Path, typer.Option(help="Folder of klines/<market>/<interval>/<SYMBOL>.parquet.")],
    out: Annotated[Path, typer.Option(help="Where the signals go, as Parquet.")],
    begin: Annotated[str, typer.Option("--from", help="Signals for closes after this, ISO-8601 UTC.")],
    end: Annotated[str, typer.Option("--to", help="The last close, ISO-8601 UTC.")],
    market: MarketName = "spot",
    interval: Annotated[str | None, typer.Option(help="Decision interval; else as configured.")] = None,
    symbols: Symbols = None,
    shelf: Annotated[
        Path | None, typer.Option(help="Versions that serve, each from its own time on; else none.")
    ] = None,
    expire: Annotated[bool, typer.Option("--expire", help="Do not use versions past their age.")] = False,
    config: Config = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Run the same flow over recorded candles, write every signal it makes."""
    overrides: dict[str, str] = {"SIGNAL_ENGINE_MARKET": market}
    if interval is not None:
        overrides["SIGNAL_ENGINE_DECIDE__INTERVAL"] = interval
    settings = load(config, {**os.environ, **overrides})
    report = history.run(
        settings,
        data,
        out,
        moment(begin),
        moment(end),
        listed(symbols) or None,
        shelf=Shelf(shelf, "boosted") if shelf is not None else None,
        expire=expire,
        show=not as_json,
    )
    typer.echo(json.dumps(asdict(report)) if as_json else report.text())


@app.command()
def train(
    data: Annotated[Path, typer.Option(help="Folder of klines/<market>/<interval>/<SYMBOL>.parquet.")],
    until: Annotated[str, typer.Option(help="No candle that closed later is read, ISO-8601 UTC.")],
    shelf: Annotated[Path | None, typer.Option(help="Where versions lie; else as configured.")] = None,
    interval: Annotated[str | None, typer.Option(help="The model's interval; else as configured.")] = None,
    begin: Annotated[str | None, typer.Option("--from", help="The first of a series of versions.")] = None,
    every: Annotated[float | None, typer.Option(help="Days between two versions of a series.")] = None,
    profile: Annotated[
        Literal["full", "demo"], typer.Option(help="demo looks at the last 120 days only.")
    ] = "full",
    full_rounds: Annotated[bool, typer.Option("--full-rounds", help="Grow all rounds, never stop.")] = False,
    search: Annotated[
        int, typer.Option(help="Other settings to try inside the purged folds; needs optuna.", min=0)
    ] = 0,
    workers: Annotated[int, typer.Option(help="Processes, of one thread each.", min=1, max=64)] = 2,
    config: Config = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Fit, judge and shelve a version of the boosted model."""
    overrides = {"SIGNAL_ENGINE_MODELS__BOOSTED__INTERVAL": interval} if interval is not None else {}
    settings = load(config, {**os.environ, **overrides})
    wanted = training.Wanted(
        data=data,
        shelf=shelf or settings.shelf,
        until=moment(until),
        begin=moment(begin) if begin is not None else None,
        every=every,
        profile=profile,
        stop=not full_rounds,
        search=search,
        workers=workers,
    )
    for made in training.trained(settings, wanted, as_json):
        document = json.dumps(training.document(made))
        typer.echo(document if as_json else "\n".join(training.lines(made)))


app.command()(backfill)
app.command("shelf")(shelves.shelf)
app.command("rollback")(shelves.rollback)


@app.command("replay-exchange")
def replay_exchange(
    data: Annotated[Path | None, typer.Option(help="Folder of history to play.")] = None,
    simulate: Annotated[bool, typer.Option("--simulate", help="Play a seeded simulated market.")] = False,
    market: MarketName = "spot",
    begin: Annotated[str | None, typer.Option("--from", help="Start of its clock, ISO-8601 UTC.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Where it stops, ISO-8601 UTC.")] = None,
    speed: Annotated[str, typer.Option(help="Times real time, or max: as fast as clients read.")] = "1",
    port: Annotated[
        int, typer.Option(help="Port on 127.0.0.1; 0 picks a free one.", min=0, max=65_535)
    ] = 9443,
    seed: Annotated[int, typer.Option(help="Of the simulated market.")] = 7,
    symbols: Annotated[str | None, typer.Option(help="Separated by commas; else all.")] = None,
    faults: Annotated[
        list[str] | None, typer.Option(help="JSON file or name@time; may be given more than once.")
    ] = None,
    futures_port: Annotated[
        int | None,
        typer.Option(help="Serve the USDT-M contracts there as well, beside spot.", min=0, max=65_535),
    ] = None,
    companion_port: Annotated[
        int | None,
        typer.Option(help="Answer for all providers and news feeds there, simulated.", min=0, max=65_535),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Serve candles as Binance does, REST and WebSocket, on loopback."""
    if begin is None and data is not None and not simulate:
        raise SettingsError("--from is missing: where in the recorded candles its clock starts")
    exchange.serve(
        market=market,
        data=data,
        simulate=simulate,
        seed=seed,
        symbols=listed(symbols),
        start=moment(begin) if begin is not None else round(time.time() * 1000),
        end=moment(end) if end is not None else None,
        speed=speed,
        port=port,
        faults=faults or (),
        futures_port=futures_port,
        companion_port=companion_port,
        ready=lambda made, companion: typer.echo(
            json.dumps(addresses(made, companion)) if as_json else "\n".join(spoken(made, companion))
        ),
    )


def addresses(made: ReplayExchange, companion: Companion | None = None) -> dict[str, Any]:
    """Where an exchange answers, and what is beside it by name."""
    beside: dict[str, Any] = {other.market: addresses(other) for other in made.neighbours}
    if companion is not None:
        beside["companion"] = companion.url
    return {"rest": made.url, "stream": made.stream_url, **beside}


def spoken(made: ReplayExchange, companion: Companion | None) -> list[str]:
    """The same as lines for people, the exchange itself first."""
    lines = [f"{one.url}  {one.stream_url}" for one in (made, *made.neighbours)]
    return lines if companion is None else [*lines, f"{companion.url}  providers and feeds"]


def moment(text: str) -> int:
    """ISO-8601 as ms UTC; a time without a zone is UTC.

    >>> moment("2024-03-05"), moment("2024-03-05T00:00:00Z")
    (1709596800000, 1709596800000)
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(f"{text!r} is not an ISO-8601 time such as 2024-03-05T14:00:00Z") from None
    return round((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)


def listed(text: str | None) -> tuple[str, ...]:
    """
    >>> listed("BTCUSDT, ETHUSDT"), listed(None)
    (('BTCUSDT', 'ETHUSDT'), ())
    """
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def out() -> Console:
    """Where people read: whole lines, nothing coloured by guess, a table never cut in a file."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    return (
        console if console.is_terminal else Console(highlight=False, markup=False, soft_wrap=True, width=160)
    )


def environ(config: Path) -> dict[str, str]:
    """What a process of ours needs to find the same configuration."""
    return {"SIGNAL_ENGINE_CONFIG": str(config.absolute())}


def exit_code(error: EngineError) -> int:
    """2 for what was asked wrongly, 4 for a file or folder, 3 for the world outside."""
    if isinstance(error, SettingsError | UnknownSymbol):
        return 2
    return 4 if isinstance(error, StorageError) else 3


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and leave with its exit code; every foreseen error is told in one line."""
    try:
        code = app(arguments, prog_name="signal-engine", standalone_mode=False) or 0
        sys.stdout.flush()
    except TyperException as error:
        code = usage(error)
    except EngineError as error:
        code = told(str(error), exit_code(error))
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        # Whoever read us has gone; the interpreter would complain of it once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:
        code = told(str(error), 4)
    sys.exit(code)


def usage(error: TyperException) -> int:
    """What was wrong with the command line, and where to read how it goes; bare commands have shown that."""
    said = error.format_message().strip()
    if said:
        asked = getattr(getattr(error, "ctx", None), "command_path", "signal-engine")
        told(f"{said} See {asked} --help", error.exit_code)
    return error.exit_code


def told(message: str, code: int) -> int:
    typer.echo(f"signal-engine: {message}", err=True)
    return code
