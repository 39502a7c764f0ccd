# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Trains on several GPU nodes of a SLURM cluster.

python launch/pods/slurm.py submit --nodes=4 --gpus-per-node=8 --time=24:00:00 \
    --workdir=/shared/runs/a --config=configs/five_modal.py:size=B
python launch/pods/slurm.py logs --workdir=/shared/runs/a
python launch/pods/slurm.py stop --workdir=/shared/runs/a    # saves first
python launch/pods/slurm.py delete --workdir=/shared/runs/a  # cancels, queued or not
python launch/pods/slurm.py resume ...                       # flags of submit

`submit` writes WORKDIR.sbatch and hands it to sbatch; the log is WORKDIR.log. `write`
only writes. --dry-run prints every command, runs none and writes nothing. All nodes
must share the workdir, this source tree and the environment of --python.

One process a GPU, or with --processes=node one a node. 120 s before the time limit, and
where the cluster says so (preempt_send_user_signal) before a preemption, every training
process gets SIGTERM: it saves and ends with 75. The job then puts itself back into the
queue under the same number, as it does after a hang, at most --max-restarts times.
"""

import argparse
import pathlib
import re
import shlex
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from launch.pods import commands

SIGNAL = "TERM@120"  # without B: it goes to the processes of srun, not to the script
NAME = re.compile(r"[A-Za-z0-9_.+-]+")
SCRIPT = """\
#!/bin/bash
{directives}
set -uo pipefail
cd {root}
{environment}
# A signal to the whole job must not end this script before the training has saved.
trap : TERM
{srun}
code=$?
echo "exit code $code, restart ${{SLURM_RESTART_COUNT:-0}} of {restarts}"
case $code in
{again})
    if [ ! -e {stopped} ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {restarts} ]; then
        scontrol requeue "$SLURM_JOB_ID"
    fi
    ;;
esac
exit "$code"
"""


def script(args: argparse.Namespace) -> str:
    """The batch script; every value in it is checked or quoted."""
    tasks = args.gpus_per_node if args.processes == "gpu" else 1
    lines = {
        "job-name": args.name,
        "nodes": args.nodes,
        "ntasks-per-node": tasks,
        "gpus-per-node": args.gpus_per_node,
        "cpus-per-task": args.cpus_per_gpu * args.gpus_per_node // tasks,
        "time": args.time,
        "partition": args.partition,
        "account": args.account,
        "signal": SIGNAL,
        "output": beside(args, "log"),
        "open-mode": "append",
    }
    directives = [f"#SBATCH --{key}={value}" for key, value in lines.items() if value]
    directives += ["#SBATCH --requeue", *(f"#SBATCH {x}" for x in args.sbatch_flag)]
    # JAX takes one GPU a process under SLURM unless it is told which. Each process sees
    # all GPUs of its node and takes the one of its number: no binding by SLURM.
    devices = ",".join(str(i) for i in range(args.gpus_per_node))
    environment = "unset JAX_LOCAL_DEVICE_IDS"
    if args.processes == "node":
        environment = f"export JAX_LOCAL_DEVICE_IDS={devices}"
    # The first process to end with 75 must not have the others killed: they save too.
    # After --wait seconds they are, should they be stuck.
    step = ["srun", "--kill-on-bad-exit=0", "--wait=300"]
    step += [f"--cpus-per-task={lines['cpus-per-task']}"]
    train = commands.train(args.python, args.config, args.workdir, args.rest)
    return SCRIPT.format(
        directives="\n".join(directives),
        root=shlex.quote(str(commands.ROOT)),
        environment=environment,
        srun=shlex.join([*step, *train]),
        restarts=args.max_restarts,
        stopped=shlex.quote(beside(args, "stop")),
        again="|".join(str(code) for code in commands.AGAIN),
    )


def beside(args: argparse.Namespace, kind: str) -> str:
    """A file of the job, beside its workdir: sbatch, log, job or stop."""
    return f"{args.workdir}.{kind}"


def write(args: argparse.Namespace, shell: commands.Shell) -> str:
    """Writes the batch script and returns its path."""
    check(args)
    path = pathlib.Path(beside(args, "sbatch"))
    text = script(args)
    if not shell.dry_run:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise commands.Failed(f"{path}: {error.strerror}", 1) from error
        print(f"wrote {path}")
    return str(path)


def submit(args: argparse.Namespace, shell: commands.Shell) -> None:
    """Writes the batch script and submits it."""
    path = write(args, shell)
    if not shell.dry_run:
        pathlib.Path(beside(args, "stop")).unlink(missing_ok=True)
    job = shell.output(["sbatch", "--parsable", path]).strip()
    if not shell.dry_run:
        pathlib.Path(beside(args, "job")).write_text(job + "\n", encoding="utf-8")
        print(f"submitted job {job}; log in {beside(args, 'log')}")


def resume(args: argparse.Namespace, shell: commands.Shell) -> None:
    """Submits the same job in the same workdir again."""
    submit(args, shell)


def logs(args: argparse.Namespace, shell: commands.Shell) -> None:
    """Streams the log."""
    check(args)
    shell.run(["tail", "-n", "100", "-F", beside(args, "log")])


def stop(args: argparse.Namespace, shell: commands.Shell) -> None:
    """SIGTERM to the training, on which it saves; the job does not go on by itself."""
    shell.run(["scancel", "--signal=TERM", number(args, shell)])


def delete(args: argparse.Namespace, shell: commands.Shell) -> None:
    """Cancels the job, queued or running."""
    shell.run(["scancel", number(args, shell)])


def number(args: argparse.Namespace, shell: commands.Shell) -> str:
    """Number of the workdir's job, from here on not to be queued again."""
    check(args)
    if shell.dry_run:
        return "JOB"
    path = pathlib.Path(beside(args, "job"))
    try:
        text = path.read_text(encoding="utf-8")
        pathlib.Path(beside(args, "stop")).touch()
    except OSError as error:
        raise commands.Failed(f"{error.filename}: {error.strerror}", 1) from error
    return text.split(";")[0].strip()  # sbatch says NUMBER or NUMBER;CLUSTER


def check(args: argparse.Namespace) -> None:
    if not args.workdir.startswith("/") or re.search(r"\s|%", args.workdir):
        raise ValueError(
            f"--workdir: got {args.workdir!r}; allowed: an absolute folder that all"
            " nodes share, no spaces, no %; buckets have to be mounted"
        )
    if "nodes" not in args:
        return
    commands.check_count("--nodes", args.nodes)
    commands.check_count("--gpus-per-node", args.gpus_per_node)
    commands.check_count("--cpus-per-gpu", args.cpus_per_gpu)
    commands.check_count("--max-restarts", args.max_restarts, least=0)
    if not re.fullmatch(r"(\d+-)?\d+(:\d+){0,2}", args.time):
        raise ValueError(
            f"--time: got {args.time!r}; allowed: minutes, H:M:S or D-H:M:S"
        )
    for flag in ("name", "partition", "account"):
        text = getattr(args, flag)
        if text and not NAME.fullmatch(text):
            raise ValueError(
                f"--{flag}: got {text!r}; allowed: letters, digits and _.+-"
            )
    for text in args.sbatch_flag:
        if not re.fullmatch(r"--[a-z][-a-z]*(=\S+)?", text):
            raise ValueError(
                f"--sbatch-flag: got {text!r}; allowed: --FLAG or --FLAG=VALUE"
            )


def build() -> argparse.ArgumentParser:
    parser = commands.Parser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    for act in (write, submit, resume, logs, stop, delete):
        verb = verbs.add_parser(act.__name__, help=act.__doc__, allow_abbrev=False)
        verb.set_defaults(act=act)
        verb.add_argument("--dry-run", action="store_true", help="print, run nothing")
        if act in (logs, stop, delete):
            verb.add_argument("--workdir", required=True)
            continue
        commands.job(verb)
        verb.add_argument("--nodes", type=int, required=True)
        verb.add_argument("--gpus-per-node", type=int, default=8)
        verb.add_argument("--cpus-per-gpu", type=int, default=8)
        verb.add_argument("--processes", choices=("gpu", "node"), default="gpu")
        verb.add_argument("--time", default="24:00:00")
        verb.add_argument("--name", default="unigeo")
        verb.add_argument("--partition", default="")
        verb.add_argument("--account", default="")
        verb.add_argument(
            "--sbatch-flag", action="append", default=[], help="may be repeated"
        )
        verb.add_argument("--python", default=sys.executable)
        verb.add_argument("--max-restarts", type=int, default=commands.MAX_RESTARTS)
    return parser


if __name__ == "__main__":
    commands.main(build)
