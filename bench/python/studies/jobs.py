"""Many short runs that share a machine's GPUs: processes take one after the other until the time is up, and the next call goes on."""

import argparse
import concurrent.futures
import csv
import ctypes
import json
import multiprocessing
import os
import time
from pathlib import Path


def parser_of(description):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("data", type=Path, metavar="DATA_DIR")
    add("-o", "--output", type=Path, required=True, metavar="OUT_DIR", help="a run in the same directory goes on")
    add("--device", default="cpu", help="cuda: processes are spread over all GPUs (default: %(default)s)")
    add("--dtype", default="float32", help="of autocast (default: %(default)s)")
    add("--processes", type=int, default=1, help="side by side (default: %(default)s)")
    add("--threads", type=int, help="of a process on the CPU (default: an equal share of the processors)")
    add("--seconds", type=float, default=1e9, help="after which runs stop with a checkpoint; what takes longer, by the runs before, is not begun")
    add("--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default=[0, 1, 2], help="(default: 0,1,2)")
    add("--steps", type=int, help="of every run")
    add("--batch", type=int, help="samples of a step")
    add("--only", default="", metavar="TEXT,...", help="runs whose name has one of these in it")
    add("--done", type=Path, metavar="CSV", help="a results.csv of runs that need not be made again")
    add("--list", action="store_true", help="names of the runs, and which are done")
    return parser


def name_of(job):
    return "_".join(str(value) for value in job.values()).replace("/", "-").replace(":", "-")


def run_jobs(jobs, work, args, stands=lambda job: True):
    """work(job, args, directory, deadline) -> {measure: number}, or None if the time was up. Jobs are dicts, the most wanted first; what they give,
    with the seconds of the last process that worked on them, goes into OUT_DIR/results.csv. stands(job): a result that is there is enough."""
    results = args.output / "results"
    results.mkdir(parents=True, exist_ok=True)
    if args.done is not None:
        take_done(args.done, jobs, results)
    jobs = [job for job in jobs if any(text in name_of(job) for text in args.only.split(","))]
    left = [job for job in jobs if not ((results / f"{name_of(job)}.json").exists() and stands(job))]
    if args.list:
        for job in jobs:
            print(name_of(job), "" if job in left else "done")
        return
    deadline = time.time() + args.seconds
    context = multiprocessing.get_context("forkserver")  # processes that have imported all of it, and opened no GPU
    context.set_forkserver_preload(["torch", "transformers", "transformers.models.bert.modeling_bert", "transformers.models.gpt2.modeling_gpt2",
                                    "coppice.training.recipes", "coppice.pruning"])
    with concurrent.futures.ProcessPoolExecutor(args.processes, context, _begin,
                                                (args.threads or max(1, len(os.sched_getaffinity(0)) // args.processes), args.device,
                                                 context.Value("i", 0))) as pool:
        running = {pool.submit(_one, work, job, args, deadline): job for job in left}
        for future in concurrent.futures.as_completed(running):
            name, error = name_of(running[future]), future.exception()
            if error is not None:
                print(f"{name} failed: {type(error).__name__}: {error}", flush=True)
            elif future.result() is not None:
                print(name, " ".join(f"{measure} {value:.5g}" for measure, value in future.result().items()), flush=True)
    done = write_table(jobs, args.output)
    print(f"{done} of {len(jobs)} runs are done")
    if any(future.exception() is not None for future in running):
        raise SystemExit("some runs failed")


def take_done(table, jobs, results):
    """The results of a table's rows that are not there yet."""
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for job in jobs:
        path = results / f"{name_of(job)}.json"
        row = next((row for row in rows if all(row[name] == str(value) for name, value in job.items())), None)
        if row is not None and not path.exists():
            path.write_text(json.dumps({**job, **{name: float(value) for name, value in row.items() if name not in job}}))


_own_device = None  # of a process, where runs are spread over several


def _begin(threads, device, begun):
    import torch
    import transformers

    if device == "cuda":
        global _own_device
        with begun.get_lock():
            number, begun.value = begun.value, begun.value + 1
        index = number % torch.cuda.device_count()
        _wait_without_spinning(index)
        _own_device = f"cuda:{index}"
        torch.cuda.set_device(index)
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(threads)


def _wait_without_spinning(index):
    """Processes that wait for a shared GPU leave the processors to those that prune: CU_CTX_SCHED_BLOCKING_SYNC of the device, before
    PyTorch opens it."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:  # PyTorch says what is missing
        return
    if driver.cuInit(0) == 0:
        driver.cuDevicePrimaryCtxSetFlags_v2(index, 4)


def expected(job, results):
    """Seconds that such a run takes at least: most of what the quickest of the same way took beside others; 0 if there was none."""
    kind = {name: job[name] for name in ("stage", "way") if name in job}
    rows = [json.loads(path.read_text()) for path in results.glob("*.json")]
    return 0.7 * min((row["seconds"] for row in rows if kind.items() <= row.items()), default=0)


def _one(work, job, args, deadline):
    if time.time() + expected(job, args.output / "results") >= deadline:
        return None
    args.device = _own_device or args.device
    begin = time.time()
    found = work(job, args, args.output / "runs" / name_of(job), deadline)
    if found is None:
        return None
    found["seconds"] = time.time() - begin
    path = args.output / "results" / f"{name_of(job)}.json"
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps({**job, **found}))
    os.replace(unfinished, path)
    return found


def write_table(jobs, output):
    """results.csv of all jobs that are done; returns how many."""
    paths = [output / "results" / f"{name_of(job)}.json" for job in jobs]
    rows = [json.loads(path.read_text()) for path in paths if path.exists()]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with open(output / "results.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    return len(rows)


def train(model, recipe, loss, method, options, directory, deadline):
    """Trains in the directory until the deadline: the finished model, or None."""
    from coppice.training import Trainer, TrainOptions

    options = TrainOptions(**{**options, "seconds": max(0.0, deadline - time.time()), "save_every": 0})
    trainer = Trainer(model, recipe.dataset, loss, options, directory, collate=recipe.collate, method=method)
    if not trainer.run():
        return None
    (directory / "checkpoint.pt").unlink()  # the result is what stays
    return trainer.finish()
