"""Timings that can be compared: all candidates in one process, interleaved, medians."""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType

NO_TARGETS: Mapping[str, float] = MappingProxyType({})

Candidates = Mapping[str, Callable[[], object]]


def interleaved_medians(candidates: Candidates, rounds: int, warm_up: int = 2, turn_s: float = 0.0) -> dict[str, float]:
    """Median seconds of a call of each candidate; each has its turn in every round, so that all see the same machine.

    A turn is one call, and more until ``turn_s`` are over. A core that idled while a candidate of one thread had its
    turn takes some tenths of a second to give its full speed again; a solver calls an operator hundreds of times.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(warm_up + rounds):
        for name, run in candidates.items():
            a_call = _turn(run, turn_s)
            if number >= warm_up:
                seconds[name].append(a_call)
    return {name: statistics.median(times) for name, times in seconds.items()}


def _turn(run: Callable[[], object], turn_s: float) -> float:
    calls, start = 0, time.perf_counter()
    while calls == 0 or time.perf_counter() - start < turn_s:
        run()
        calls += 1
    return (time.perf_counter() - start) / calls


def compare(
    candidates: Mapping[str, Callable[[], object]],
    rounds: int,
    warm_up: int = 2,
    targets: Mapping[str, float] = NO_TARGETS,
) -> dict[str, object]:
    """One case of a benchmark's JSON: the candidate ``"ours"`` against all others, ratio = ours / peer.

    ``targets`` has the largest ratio that is wanted against a peer.
    """
    medians = interleaved_medians(candidates, rounds, warm_up)
    ours = medians.pop("ours")
    ratio = {name: ours / seconds for name, seconds in medians.items()}
    return {"ours_s": ours, "peers": medians, "ratio": ratio, "targets": dict(targets)}


def report(run: Callable[[], dict[str, dict]], description: str | None) -> None:
    """The command line of a benchmark: a table, or with ``--json`` one document on stdout."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    as_json = parser.parse_args().json
    cases = run()
    if as_json:
        print(json.dumps(cases, indent=2))
        return
    for name, case in cases.items():
        print(f"{name}: ours {1e3 * case['ours_s']:.2f} ms{_noted(case, 'ours')}")
        for peer, seconds in case["peers"].items():
            verdict = _verdict(case["ratio"][peer], case["targets"].get(peer))
            print(f"  {peer:<40} {1e3 * seconds:9.2f} ms   ratio {verdict}{_noted(case, peer)}")
        for peer in case.get("steps", {}).keys() - case["peers"].keys() - {"ours"}:
            print(f"  {peer:<40} not reached within the budget of steps")
        for peer, budget_s in case.get("not_reached", {}).items():
            print(f"  {peer:<40} not reached within {budget_s:g} s")
        if memory := case.get("memory_mb"):
            verdict = "target" if memory["ours"] <= memory["limit"] else "MISSES the target"
            print(f"  {'working memory, ours':<40} {memory['ours']:9.0f} MB   ({verdict} {memory['limit']:g})")


def _noted(case: dict, name: str) -> str:
    """What else a case knows of a candidate: its steps, or the quality of its image."""
    steps, psnr = case.get("steps", {}).get(name), case.get("psnr_db", {}).get(name)
    return ("" if steps is None else f", {steps} steps") + ("" if psnr is None else f", {psnr:.2f} dB")


def _verdict(ratio: float, target: float | None) -> str:
    if target is None:
        return f"{ratio:.3f}"
    return f"{ratio:.3f} ({'target' if ratio <= target else 'MISSES the target'} {target:g})"
