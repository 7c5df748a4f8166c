"""The command `vlfuse`: one module of `vlfuse.commands` for each of its commands, imported when called."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module

COMMANDS = {
    "demo": "train a small model on generated scenes and write a report of what it learnt",
    "train": "train a model by a recipe",
    "eval": "score a model on a task",
    "transfer": "detection on your own sets of pictures: zero-shot, few-shot and full",
    "predict": "answer, judge, match, embed or find with a model",
    "models": "models that can be used without a network, and what they can do",
    "import": "make a model of weights published elsewhere",
    "export": "write a model in the layout of other code",
    "new": "make a fresh model, its backbones from published weights",
    "data": "check, draw, count, generate and convert data",
}
MODULES = {"import": "importing", "eval": "evaluate"}  # where the command's name is no good name of a module
PROCESSES = {"train": 1, "eval": 1, "demo": 2}  # that a command runs in where --processes does not say
TRACEBACK = "--traceback"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0; 1 where `data check` found something;
    2 when the user can mend what went wrong."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    traceback = TRACEBACK in given or bool(os.environ.get("VLFUSE_TRACEBACK"))
    given = [argument for argument in given if argument != TRACEBACK]
    if not given or given[0] in ("-h", "--help"):
        print(usage())
        return 0 if given else 2
    if given[0] == "--version":
        from vlfuse import __version__

        print(__version__)
        return 0
    if given[0] not in COMMANDS:
        print(f"vlfuse: there is no command '{given[0]}'; commands are {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    from vlfuse.types import VlfuseError  # brings torch, which --help can do without

    try:
        if given[0] in PROCESSES:
            from vlfuse.processes import run_in, wanted

            processes, given = wanted(given, PROCESSES[given[0]])
            if processes > 1 and not {"-h", "--help"} & set(given):
                return run_in(processes, main, [*given, *([TRACEBACK] if traceback else [])])
        return import_module(f"vlfuse.commands.{MODULES.get(given[0], given[0])}").main(given[1:]) or 0
    except BrokenPipeError:  # whoever read the output has stopped, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python itself still writes at its end
        return 1
    except VlfuseError as error:
        if traceback:
            raise
        print(f"vlfuse {given[0]}: {error}", file=sys.stderr)
        return 2


def usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {about}" for name, about in COMMANDS.items()]
    return "\n".join(
        [
            "usage: vlfuse COMMAND ...    (vlfuse COMMAND --help for its options)",
            "",
            *lines,
            "",
            "Errors are one message and exit code 2; --traceback, or VLFUSE_TRACEBACK=1, shows where they come from.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
