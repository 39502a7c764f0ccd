# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Trains on Cloud TPU slices through queued resources (needs gcloud and git).

python launch/pods/cloud_tpu.py create --name=N --zone=Z --spot \
    --accelerator-type=v5litepod-256
python launch/pods/cloud_tpu.py install --name=N --zone=Z
python launch/pods/cloud_tpu.py run --name=N --zone=Z --workdir=gs://BUCKET/runs/a \
    --config=configs/five_modal.py:size=B -- --config.batch=8192
python launch/pods/cloud_tpu.py logs --name=N --zone=Z
python launch/pods/cloud_tpu.py stop|delete --name=N --zone=Z
python launch/pods/cloud_tpu.py resume ...   # flags of create and run

`resume`, after a preemption or any other end, makes the resource anew if it is
suspended, failed or gone, waits for it, installs, and runs the command in its workdir.
--dry-run prints every command and runs none. --slices=M is one job over M slices.

launch/train.py writes files: a gs:// workdir is mounted with gcsfuse on every host. The
bucket must have a hierarchical namespace, where renaming a folder is one atomic step,
else no checkpoint can be finished:
  gcloud storage buckets create gs://BUCKET --location=REGION \
      --uniform-bucket-level-access --enable-hierarchical-namespace
Lines of metrics.jsonl reach the bucket when the run ends or is stopped by a signal; a
host that dies takes those of its last run along, but no checkpoint.
"""

import argparse
import pathlib
import shlex
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from launch.pods import commands

MOUNT = "/tmp/gcsfuse"
PYTHON = "../venv/bin/python"  # from the source tree, which stands in the home folder
BUNDLE = "unigeo_jax.bundle"
RUNTIME = {
    "v2": "tpu-ubuntu2204-base",
    "v3": "tpu-ubuntu2204-base",
    "v4": "tpu-ubuntu2204-base",
    "v5litepod": "v2-alpha-tpuv5-lite",
    "v5p": "v2-alpha-tpuv5",
    "v6e": "v2-alpha-tpuv6e",
}
GONE = ("SUSPENDED", "FAILED")
GOING = ("SUSPENDING", "DELETING")

# What hosts run: constant scripts in one line each; all that varies is "$1", "$2", ...
INSTALL = (
    'set -eu; cd "$HOME"; rm -rf unigeo_jax;'
    ' git -c advice.detachedHead=false clone --quiet "$1" unigeo_jax;'
    " python3 -m pip install --quiet --user --upgrade uv;"
    " python3 -m uv venv --quiet --allow-existing --python=3.12 venv;"
    " python3 -m uv pip install --quiet --python=venv/bin/python"
    " --constraints=unigeo_jax/constraints.txt --editable='./unigeo_jax[tpu]'"
)
MOUNTING = (
    'set -euo pipefail; if mountpoint -q "$2"; then exit 0; fi;'
    " if ! command -v gcsfuse >/dev/null; then"
    " key=/usr/share/keyrings/cloud.google.asc; url=https://packages.cloud.google.com/apt;"
    ' curl -fsSL "$url/doc/apt-key.gpg" | sudo tee "$key" >/dev/null;'
    ' echo "deb [signed-by=$key] $url gcsfuse-$(lsb_release -cs) main"'
    " | sudo tee /etc/apt/sources.list.d/gcsfuse.list >/dev/null;"
    " sudo apt-get update -qq; sudo apt-get install -qq -y gcsfuse; fi;"
    ' mkdir -p "$2"; gcsfuse --implicit-dirs --metadata-cache-ttl-secs=0'
    ' --metadata-cache-negative-ttl-secs=0 "$1" "$2"'
)
IDLE = (
    'pid="$(cat "$HOME/train.pid" 2>/dev/null)" || exit 0;'
    ' if kill -0 -- "-$pid" 2>/dev/null; then'
    ' echo "$(hostname): training still runs; stop it first" >&2; exit 1; fi'
)
# A session of its own outlives this connection; `trap` keeps its shell until the
# training, which the same signal makes save, has ended.
START = (
    'nohup setsid bash -c \'echo $$ >"$HOME/train.pid"; trap : TERM;'
    ' cd "$HOME/unigeo_jax"; "$@"; echo "exit code $?"\' train "$@"'
    ' >>"$HOME/train.log" 2>&1 </dev/null &'
)
STOP = (
    'pid="$(cat "$HOME/train.pid" 2>/dev/null)" || exit 0;'
    ' kill -TERM -- "-$pid" 2>/dev/null || exit 0;'
    ' for i in $(seq "$1"); do kill -0 -- "-$pid" 2>/dev/null || exit 0; sleep 1; done;'
    ' kill -KILL -- "-$pid"; echo "$(hostname): killed after $1 s" >&2; exit 1'
)


def scripted(script: str, *args: str) -> str:
    """One remote command: `script` with its positional arguments."""
    return shlex.join(["bash", "-c", script, "unigeo", *args])


def gcloud(args: argparse.Namespace, *words: str) -> list[str]:
    where = [f"--zone={args.zone}"]
    where += [f"--project={args.project}"] if args.project else []
    return ["gcloud", "compute", "tpus", *words, *where]


def hosts(args: argparse.Namespace, verb: str, *words: str, one: bool = False) -> list:
    """ssh or scp to all hosts of all slices, or to process 0's only."""
    which = "0" if one else "all"
    if args.slices == 1:
        return gcloud(args, "tpu-vm", verb, *words, f"--worker={which}")
    return gcloud(
        *(args, "queued-resources", verb, *words),
        *(f"--node={which}", f"--worker={which}"),
    )


def ssh(args: argparse.Namespace, command: str, one: bool = False) -> list[str]:
    return [*hosts(args, "ssh", args.name, one=one), f"--command={command}"]


def state(args: argparse.Namespace, shell: commands.Shell) -> str:
    """State of the queued resource; ABSENT where there is none."""
    words = ("describe", args.name, "--format=value(state.state)")
    try:
        return shell.output(gcloud(args, "queued-resources", *words)).strip()
    except commands.Failed as error:
        if "NOT_FOUND" in str(error):
            return "ABSENT"
        raise


def request(args: argparse.Namespace, shell: commands.Shell) -> None:
    kind = commands.accelerator("--accelerator-type", args.accelerator_type)
    if args.slices == 1:
        nodes = [f"--node-id={args.name}"]
    else:
        nodes = [f"--node-count={args.slices}", f"--node-prefix={args.name}"]
    runtime = args.runtime_version or RUNTIME[kind.split("-")[0]]
    flags = [f"--accelerator-type={kind}", f"--runtime-version={runtime}", *nodes]
    flags += [f"--{tier}" for tier in ("spot", "reserved") if getattr(args, tier)]
    flags += shlex.split(args.create_flags)
    shell.run(gcloud(args, "queued-resources", "create", args.name, *flags))


def wait(args: argparse.Namespace, shell: commands.Shell) -> None:
    """Returns when the resource is ACTIVE; the queue may take hours."""
    said = ""
    while (now := state(args, shell)) != "ACTIVE" and not shell.dry_run:
        if now in (*GONE, *GOING, "ABSENT"):
            raise commands.Failed(
                f"queued resource {args.name} is {now}; `resume` makes it anew", 1
            )
        if now != said:
            print(f"{args.name}: {now}", flush=True)
        said = now
        time.sleep(args.poll_s)


def create(args: argparse.Namespace, shell: commands.Shell) -> None:
    check(args)
    request(args, shell)
    wait(args, shell)


def install(args: argparse.Namespace, shell: commands.Shell) -> None:
    """Copies the last commit, whole history, to all hosts and installs it there."""
    check(args)
    shell.run(ssh(args, scripted(IDLE)))
    bundle = pathlib.Path(tempfile.gettempdir()) / BUNDLE
    shell.run(
        ["git", "-C", str(commands.ROOT), "bundle", "create", str(bundle), "HEAD"]
    )
    shell.run(hosts(args, "scp", str(bundle), f"{args.name}:"))
    shell.run(ssh(args, scripted(INSTALL, BUNDLE)))


def run(args: argparse.Namespace, shell: commands.Shell) -> None:
    check(args)
    bucket, folder = commands.place(args.workdir, MOUNT)
    command = commands.train(PYTHON, args.config, folder, args.rest)
    shell.run(ssh(args, scripted(IDLE)))
    if bucket:
        shell.run(ssh(args, scripted(MOUNTING, bucket, MOUNT)))
    shell.run(ssh(args, scripted(START, *command)))


def logs(args: argparse.Namespace, shell: commands.Shell) -> None:
    """Streams the log of process 0, the one that writes, or of all."""
    check(args)
    tail = shlex.join(["tail", "-n", "100", "-F", "train.log"])
    shell.run(ssh(args, tail, one=not args.all))


def stop(args: argparse.Namespace, shell: commands.Shell) -> None:
    check(args)
    shell.run(ssh(args, scripted(STOP, str(args.grace_s))))


def resume(args: argparse.Namespace, shell: commands.Shell) -> None:
    """Brings the same run back, whatever is left of its machines."""
    check(args)
    commands.accelerator("--accelerator-type", args.accelerator_type)
    commands.place(args.workdir, MOUNT)
    now = state(args, shell) or "SUSPENDED"  # what a dry run supposes
    while now in GOING:
        time.sleep(args.poll_s)
        now = state(args, shell)
    if now in GONE:
        delete(args, shell)
    if now in (*GONE, "ABSENT"):
        request(args, shell)
    wait(args, shell)
    install(args, shell)
    run(args, shell)


def delete(args: argparse.Namespace, shell: commands.Shell) -> None:
    check(args)
    words = ("delete", args.name, "--force", "--quiet")
    shell.run(gcloud(args, "queued-resources", *words))


def check(args: argparse.Namespace) -> None:
    commands.check_name("--name", args.name)
    commands.check_zone(args.zone)
    commands.check_count("--slices", args.slices)


def build() -> argparse.ArgumentParser:
    parser = commands.Parser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    acts = (create, install, run, logs, stop, resume, delete)
    for act in acts:
        verb = verbs.add_parser(act.__name__, help=act.__doc__, allow_abbrev=False)
        verb.set_defaults(act=act)
        verb.add_argument("--name", required=True, help="of the queued resource")
        verb.add_argument("--zone", required=True)
        verb.add_argument("--project", default="", help="default: gcloud's own")
        verb.add_argument("--slices", type=int, default=1)
        verb.add_argument("--dry-run", action="store_true", help="print, run nothing")
        if act in (create, resume):
            verb.add_argument(
                "--accelerator-type", required=True, help="v5litepod-16 or v5e:4x4"
            )
            verb.add_argument("--runtime-version", default="", help="default: by type")
            tier = verb.add_mutually_exclusive_group()
            tier.add_argument("--spot", action="store_true")
            tier.add_argument("--reserved", action="store_true")
            verb.add_argument(
                "--create-flags", default="", help="further gcloud flags, quoted"
            )
            verb.add_argument("--poll-s", type=float, default=30.0)
        if act in (run, resume):
            commands.job(verb)
        if act is logs:
            verb.add_argument("--all", action="store_true", help="of every process")
        if act is stop:
            verb.add_argument("--grace-s", type=int, default=120)
    return parser


if __name__ == "__main__":
    commands.main(build)
