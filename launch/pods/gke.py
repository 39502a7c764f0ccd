# SPDX-FileCopyrightText: 2026 The unigeo_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Trains on TPU slices of a GKE cluster through xpk (needs xpk, gcloud and kubectl).

python launch/pods/gke.py create --cluster=C --zone=Z --tpu-type=v5litepod-16 --spot \
    --bucket=BUCKET
python launch/pods/gke.py run --cluster=C --zone=Z --tpu-type=v5litepod-16 \
    --workload=W --workdir=gs://BUCKET/runs/a --config=configs/five_modal.py:size=B
python launch/pods/gke.py logs|stop --cluster=C --zone=Z --workload=W
python launch/pods/gke.py resume ...   # flags of run
python launch/pods/gke.py delete --cluster=C --zone=Z

--dry-run prints every command and runs none.

After a preemption or a hang the cluster restarts the workload by itself, up to
--max-restarts times; `resume` is for afterwards: it deletes the workload and runs it
again. A gs:// workdir is mounted with gcsfuse; its bucket must have a hierarchical
namespace, for which launch/pods/cloud_tpu.py has the command.
The image must hold this source tree in its working folder and its packages; without
--image xpk builds one from this tree, and every start installs the packages.
"""

import argparse
import pathlib
import shlex
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from launch.pods import commands

MOUNT = "/gcs"
STORAGE = "unigeo"  # xpk's name of the mounted bucket
GRACE_S = 120  # from SIGTERM to SIGKILL: time to save
CONTAINER = "jax-tpu"  # xpk's name
FUSE = "implicit-dirs,metadata-cache:ttl-secs:0,metadata-cache:negative-ttl-secs:0"
INSTALL = [
    *("python", "-m", "pip", "install", "--quiet"),
    *("--constraint=constraints.txt", "--editable=.[tpu]"),
]


def xpk(args: argparse.Namespace, *words: str) -> list[str]:
    where = [f"--cluster={args.cluster}", f"--zone={args.zone}"]
    where += [f"--project={args.project}"] if args.project else []
    return ["xpk", *words, *where]


def create(args: argparse.Namespace, shell: commands.Shell) -> None:
    check(args)
    kind = commands.accelerator("--tpu-type", args.tpu_type)
    tier = f"--reservation={args.reservation}" if args.reservation else "--on-demand"
    flags = [f"--tpu-type={kind}", f"--num-slices={args.slices}"]
    flags += ["--spot" if args.spot else tier, "--enable-gcsfuse-csi-driver"]
    shell.run([*xpk(args, "cluster", "create"), *flags])
    if args.bucket:
        fuse = [f"--bucket={args.bucket}", f"--mount-point={MOUNT}", "--size=1"]
        fuse += ["--type=gcsfuse", "--readonly=false", "--auto-mount=false"]
        fuse += [f"--mount-options={FUSE}"]
        shell.run([*xpk(args, "storage", "attach", STORAGE), *fuse])


def run(args: argparse.Namespace, shell: commands.Shell) -> None:
    check(args)
    kind = commands.accelerator("--tpu-type", args.tpu_type)
    bucket, folder = commands.place(args.workdir, MOUNT)
    # exec: signals of the cluster go to the training itself, not to a shell around it.
    train = ["exec", *commands.train("python", args.config, folder, args.rest)]
    if args.image:
        image, command = [f"--docker-image={args.image}"], shlex.join(train)
    else:
        image = ["--base-docker-image=python:3.12", f"--script-dir={commands.ROOT}"]
        command = f"{shlex.join(INSTALL)} && {shlex.join(train)}"
    codes = ",".join(str(code) for code in commands.AGAIN)
    flags = [f"--workload={args.workload}", f"--tpu-type={kind}", *image]
    flags += [f"--num-slices={args.slices}", f"--max-restarts={args.max_restarts}"]
    flags += [f"--restart-on-exit-codes={codes}"]
    flags += [f"--termination-grace-period-seconds={GRACE_S}"]
    flags += [f"--storage={STORAGE}"] if bucket else []
    shell.run([*xpk(args, "workload", "create"), *flags, f"--command={command}"])


def logs(args: argparse.Namespace, shell: commands.Shell) -> None:
    """Streams the log of process 0, the one that writes, or of all."""
    check(args)
    region = args.zone.rsplit("-", 1)[0]
    where = [f"--location={region}"]
    where += [f"--project={args.project}"] if args.project else []
    credentials = ["gcloud", "container", "clusters", "get-credentials", args.cluster]
    shell.run([*credentials, *where])
    labels = f"jobset.sigs.k8s.io/jobset-name={args.workload}"
    if not args.all:
        labels += ",jobset.sigs.k8s.io/job-index=0"
        labels += ",batch.kubernetes.io/job-completion-index=0"
    flags = ["--follow", "--prefix", "--tail=100", f"--container={CONTAINER}"]
    flags += [f"--selector={labels}", "--max-log-requests=1000"]
    shell.run(["kubectl", "logs", *flags])


def stop(args: argparse.Namespace, shell: commands.Shell) -> None:
    """Deletes the workload: SIGTERM, on which it saves."""
    check(args)
    flags = [f"--workload={args.workload}", "--force"]
    shell.run([*xpk(args, "workload", "delete"), *flags])


def resume(args: argparse.Namespace, shell: commands.Shell) -> None:
    """Runs the same command again in the same workdir."""
    commands.accelerator("--tpu-type", args.tpu_type)
    commands.place(args.workdir, MOUNT)
    stop(args, shell)
    run(args, shell)


def delete(args: argparse.Namespace, shell: commands.Shell) -> None:
    """Deletes the cluster with all its workloads."""
    check(args)
    shell.run([*xpk(args, "cluster", "delete"), "--force"])


def check(args: argparse.Namespace) -> None:
    commands.check_name("--cluster", args.cluster)
    commands.check_zone(args.zone)
    if "workload" in args:
        commands.check_name("--workload", args.workload)
    if "slices" in args:
        commands.check_count("--slices", args.slices)
    if "max_restarts" in args:
        commands.check_count("--max-restarts", args.max_restarts, least=0)


def build() -> argparse.ArgumentParser:
    parser = commands.Parser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    for act in (create, run, logs, stop, resume, delete):
        verb = verbs.add_parser(act.__name__, help=act.__doc__, allow_abbrev=False)
        verb.set_defaults(act=act)
        verb.add_argument("--cluster", required=True)
        verb.add_argument("--zone", required=True)
        verb.add_argument("--project", default="", help="default: gcloud's own")
        verb.add_argument("--dry-run", action="store_true", help="print, run nothing")
        if act in (create, run, resume):
            verb.add_argument(
                "--tpu-type", required=True, help="v5litepod-16 or v5e:4x4"
            )
            verb.add_argument("--slices", type=int, default=1)
        if act is create:
            tier = verb.add_mutually_exclusive_group()
            tier.add_argument("--spot", action="store_true")
            tier.add_argument("--reservation", default="")
            verb.add_argument("--bucket", default="", help="to be mounted in workloads")
        if act in (run, logs, stop, resume):
            verb.add_argument("--workload", required=True, help="name of the job")
        if act in (run, resume):
            commands.job(verb)
            verb.add_argument("--image", default="", help="with all packages installed")
            verb.add_argument("--max-restarts", type=int, default=commands.MAX_RESTARTS)
        if act is logs:
            verb.add_argument("--all", action="store_true", help="of every process")
    return parser


if __name__ == "__main__":
    commands.main(build)
