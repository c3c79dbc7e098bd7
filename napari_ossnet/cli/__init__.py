"""The command ``ossnet``: its sub-commands, and how it ends when something goes wrong.

Exit codes: 0 done; 1 something failed; 2 what was given can't be used; 130 stopped by Ctrl-C. Errors are one sentence
on the error stream. Torch is not imported before a command needs it, so that help and mistakes answer at once.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import Annotated, Protocol, cast

import tyro

from napari_ossnet.cli.bench import Bench
from napari_ossnet.cli.demo import Demo
from napari_ossnet.cli.info import Info
from napari_ossnet.cli.segment import Segment
from napari_ossnet.cli.view import View
from napari_ossnet.cli.weights import Weights
from napari_ossnet.engine.errors import DownloadError, EngineError, InputError, WeightsError

DESCRIPTION = "Segments 3D medical scans with OSS-Net, coarse to fine. For research use only."

Command = (
    Annotated[Segment, tyro.conf.subcommand("segment")]
    | Annotated[Demo, tyro.conf.subcommand("demo")]
    | Annotated[View, tyro.conf.subcommand("view")]
    | Annotated[Weights, tyro.conf.subcommand("weights")]
    | Annotated[Info, tyro.conf.subcommand("info")]
    | Annotated[Bench, tyro.conf.subcommand("bench")]
)


class Runnable(Protocol):
    """What every sub-command is."""

    def run(self) -> int | None:
        """Does it; an exit code other than 0 where not all of it could be done."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    try:
        signal.signal(signal.SIGTERM, _on_terminate)
        return parse(sys.argv[1:] if arguments is None else arguments).run() or 0
    except KeyboardInterrupt:
        return _complain("Stopped; no file was left half-written.", 130)
    except DownloadError as error:
        return _complain(str(error), 1)
    except (InputError, WeightsError) as error:
        return _complain(str(error), 2)
    except EngineError as error:
        return _complain(str(error), 1)
    except PermissionError as error:
        return _complain(
            f"{error.filename or 'A file'} can't be opened ({error.strerror}); check who may read and write it.", 2
        )
    except BrokenPipeError:
        # The reader (head, a pager) went away; without this Python complains once more while it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        return _complain(_unexpected(error), 1)


def parse(arguments: Sequence[str]) -> Runnable:
    """The sub-command that the arguments describe; exits with 2 where they describe none."""
    config = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
    command = tyro.cli(Command, prog="ossnet", description=DESCRIPTION, args=list(arguments), config=config)
    return cast("Runnable", command)


def _on_terminate(signal_number: int, frame: FrameType | None) -> None:
    # As an exception, so that temporary files are removed on the way out (batch systems send SIGTERM).
    raise SystemExit(128 + signal_number)


def _complain(sentence: str, code: int) -> int:
    if os.environ.get("OSSNET_DEBUG"):
        traceback.print_exc()
    print(f"ossnet: {sentence}", file=sys.stderr)
    return code


def _unexpected(error: Exception) -> str:
    return (
        f"something unexpected went wrong ({type(error).__name__}: {error}); set OSSNET_DEBUG=1 to see where, "
        "and please report it together with what 'ossnet info' prints."
    )
