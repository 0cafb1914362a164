"""Starts a script in several processes, on this machine alone or as one of several, for tools/dist_train.sh.

torchrun's own launcher underneath; how the run ended is said in one sentence and the exit status.
"""

import argparse
import logging
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping

from torch import distributed
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from Stage1.runs.distributed import (
    DEFAULT_PORT,
    LOST_ANOTHER,
    check_address,
    check_gpus,
    explain,
    join_seconds,
)

NAME = "dist_train.sh"
STOPPED = ", all ranks of this machine were stopped; go on from the last checkpoint with --auto-resume"


def rendezvous(environment: Mapping[str, str]) -> dict:
    """Where the processes of a run meet, as settings of LaunchConfig.

    Args:
        environment: NNODES (1), NODE_RANK, MASTER_ADDR and PORT or MASTER_PORT (29500; one machine: any free port).

    Raises:
        ValueError: a value is missing or wrong.
    """
    nodes = whole_number(environment, "NNODES", 1, minimum=1)
    port = whole_number(environment, "PORT", whole_number(environment, "MASTER_PORT", 0))
    if nodes == 1:
        if not port:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
        address, node_rank = "127.0.0.1", 0
    else:
        meanings = {"NODE_RANK": "this machine's number, from 0", "MASTER_ADDR": "the address of machine 0"}
        for name, meaning in meanings.items():
            if name not in environment:
                raise ValueError(f"found NNODES={nodes} but no {name}, expected {meaning}; set {name}")
        node_rank, address = whole_number(environment, "NODE_RANK", 0), environment["MASTER_ADDR"]
        if node_rank >= nodes:
            raise ValueError(f"found NODE_RANK {node_rank}, expected 0 to {nodes - 1} for NNODES={nodes}")
        check_address(address)
    return {
        "min_nodes": nodes,
        "max_nodes": nodes,
        "rdzv_backend": "static",
        "rdzv_endpoint": f"{address}:{port or DEFAULT_PORT}",
        "rdzv_configs": {"rank": node_rank, "timeout": join_seconds()},
    }


def whole_number(environment: Mapping[str, str], name: str, default: int, minimum: int = 0) -> int:
    """A number from the environment, or a ValueError that names it."""
    text = environment.get(name) or str(default)
    if not text.isdecimal() or int(text) < minimum:
        raise ValueError(f"found {name}={text!r}, expected a whole number of at least {minimum}")
    return int(text)


def describe(error: ChildFailedError) -> str:
    """One sentence on the process that failed first, after its traceback if it left one."""
    # One that only lost another may be noticed first; gloo's threads may abort it as it ends.
    lost = (LOST_ANOTHER, -signal.SIGABRT)
    by_cause = sorted(error.failures.items(), key=lambda item: (item[1].exitcode in lost, item[1].timestamp))
    rank, failure = by_cause[0]
    if isinstance(failure.message, dict):
        kind, _, sentence = failure.message["message"].partition(": ")
        if kind == ValueError.__name__:
            return f"rank {rank}: {sentence.splitlines()[-1]}"
        trace = failure.message["extraInfo"]["py_callstack"]
        return f"{trace}{NAME}: error: rank {rank} failed as shown above{STOPPED}"
    return f"rank {rank} {_end(failure)}{STOPPED}"


def _end(failure: ProcessFailure) -> str:
    if failure.exitcode == LOST_ANOTHER:
        return "lost the connection to a rank of another machine, which failed"
    if failure.exitcode < 0:
        return f"was killed ({signal.Signals(-failure.exitcode).name})"
    return f"failed with exit status {failure.exitcode}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m Stage1.runs.launch", description=__doc__)
    parser.add_argument("processes", type=int, help="processes on this machine")
    parser.add_argument("script", help="Python script to run in each, with the arguments that follow")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    args = parser.parse_args(argv)
    logging.disable()  # what torch's launcher logs is said by the sentences below
    os.environ["TORCH_CPP_LOG_LEVEL"] = "ERROR"  # of the processes; the launcher's own is read when torch is imported
    endpoint = "?:?"
    try:
        check_gpus(args.processes)
        place = rendezvous(os.environ)
        endpoint = place["rdzv_endpoint"]
        with tempfile.TemporaryDirectory(prefix="stage1_launch_") as folder:
            config = LaunchConfig(
                nproc_per_node=args.processes, run_id="stage1", max_restarts=0, start_method="spawn",
                logs_specs=DefaultLogsSpecs(log_dir=folder), **place,
            )  # fmt: skip
            elastic_launch(config, sys.executable)("-u", args.script, *args.arguments)
    except ChildFailedError as error:
        message = describe(error)
    except SignalException as stop:
        print(f"{NAME}: error: stopped by {stop.sigval.name}, and all ranks with it", file=sys.stderr)
        return 128 + stop.sigval
    except distributed.DistError as error:
        message = explain(error, *endpoint.rsplit(":", 1))
    except ValueError as error:
        message = str(error)
    else:
        return 0
    print(message if "\n" in message else f"{NAME}: error: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
