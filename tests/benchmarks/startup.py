"""How long the command and the library take to start, each in a fresh process.

Targets: `recon --help` under 0.3 s, the interpreter included; `import recon` adds under 0.3 s to `import torch`.
"""

import subprocess
import sys
from pathlib import Path

from timing import interleaved_medians, report

ROUNDS, WARM_UP, LIMIT_S = 10, 1, 0.3


def run() -> dict[str, dict]:
    command = str(Path(sys.executable).with_name("recon"))
    solvers = "import torch, recon.operators, recon.priors, recon.solvers, recon.certificates"
    peers = {"python -c pass": "pass", "import torch": "import torch", "import deepinv": "import deepinv"}
    programs = {"import recon": "import torch, recon", "its solvers": solvers, **peers}
    candidates = {name: lambda code=code: start(sys.executable, "-c", code) for name, code in programs.items()}
    seconds = interleaved_medians({"recon --help": lambda: start(command, "--help"), **candidates}, ROUNDS, WARM_UP)
    started, imported, solving = (seconds.pop(name) for name in ("recon --help", "import recon", "its solvers"))
    torch_s = seconds["import torch"]
    return {
        "recon --help": case(started, seconds),
        "import recon, beyond torch": case(imported - torch_s, seconds),
        "import its operators, priors and solvers, beyond torch": case(solving - torch_s, seconds),
    }


def case(ours: float, peers: dict[str, float]) -> dict:
    """A case whose target is a time of our own, stated as the peer it is compared with."""
    peers = {f"the limit of {LIMIT_S} s": LIMIT_S, **peers}
    ratio = {name: ours / seconds for name, seconds in peers.items()}
    return {"ours_s": ours, "peers": peers, "ratio": ratio, "targets": {f"the limit of {LIMIT_S} s": 1.0}}


def start(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


if __name__ == "__main__":
    report(run, __doc__)
