"""The truth of the Atlas stays out of the method: 01-05 and 08 write the same bytes when it is
removed.
"""

import os
import shutil
import subprocess
import sys

from xinstruct_utils.atlas import build
from xinstruct_utils.config.load import load_profile
from xinstruct_utils.core.files import read_jsonl
from xinstruct_utils.core.paths import REPO

STEPS = [
    ("01_seed_data",),
    ("02_corpus",),
    ("03_backtranslation",),
    ("04_refinement", "--iteration", "1"),
    ("04_refinement", "--iteration", "2"),
    ("05_diversification",),
    ("08_instruction_tuning",),
]
TIMED = {
    "measures.json",
    "manifest.json",
    "finish.json",
    "notebook.ipynb",
    "done.json",
    "started.json",
    "inputs.json",
}


def data_files(root):
    """Everything that the steps wrote, except what holds measures, clocks or paths."""
    files = [p for name, *_ in STEPS for p in sorted(root.glob(f"sw/{name}/**/*.*"))]
    return {str(p.relative_to(root)): p.read_bytes() for p in files
            if p.is_file() and p.name not in TIMED
            and not p.name.endswith((".log", ".settings.json", ".key"))
            and not {"logs", ".hashes"} & set(p.parts)}


def test_the_method_writes_the_same_bytes_without_the_truth(smoke, tmp_path):
    blind = tmp_path / "smoke"
    shutil.copytree(smoke.root / "smoke" / "world", blind / "world")
    shutil.copy(smoke.root / "smoke" / "run.json", blind / "run.json")
    for notebook, *more in STEPS:
        line = [
            sys.executable,
            "-m",
            "xinstruct_utils",
            "run",
            notebook,
            "--run",
            "smoke",
            "--lang",
            "sw",
            *more,
        ]
        made = subprocess.run(
            line,
            cwd=REPO,
            env=os.environ | {"XINSTRUCT_RUNS": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        assert made.returncode == 0, made.stderr[-2000:]
    assert (smoke.root / "smoke" / "truth").exists() and not (blind / "truth").exists()
    seen, unseen = data_files(smoke.root / "smoke"), data_files(blind)
    assert len(seen) > 20 and seen.keys() == unseen.keys()
    assert [name for name in seen if seen[name] != unseen[name]] == []


def test_rows_that_the_method_reads_hold_no_truth(tmp_path, monkeypatch):
    monkeypatch.setenv("XINSTRUCT_RUNS", str(tmp_path))
    paths = build.build_world("r", "sw", load_profile("smoke"))
    assert set(next(read_jsonl(paths["corpus"]))) == {"id", "language", "text"}
    assert set(next(read_jsonl(paths["seed"]))) == {"id", "language", "instruction", "output"}
