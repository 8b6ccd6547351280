"""What enters from outside: packages with their hashes, and data that can bring no code with it."""

import ast
import json
import re
import subprocess
import sys
import tomllib

import pytest

from xinstruct_utils.core.paths import REPO

sys.path.insert(0, str(REPO / "tools"))
import licences  # noqa: E402
import lock  # noqa: E402

LOCKS = {name: (REPO / name).read_text() for name in lock.NAMES}
PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]


def plain(name):
    """A package's name as all spellings of it are compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(text):
    """{name: (version, number of hashes)} of a lock."""
    found = {}
    for entry in lock.entries(text):
        name, version = re.match(r"([\w.-]+)==([^\s;]+)", entry).groups()
        found[plain(name)] = version, len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", entry))
    return found


def differing(requirements, text):
    """Requirements (name==version) that a lock does not have so."""
    have = {name: version for name, (version, _) in locked(text).items()}
    pairs = (requirement.split("==") for requirement in requirements)
    return [f"{name}=={version}" for name, version in pairs if have.get(plain(name)) != version]


def test_the_lock_has_exactly_the_versions_of_pyproject():
    wanted = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
    registry, cpu = (locked(LOCKS[name]) for name in lock.NAMES[1:])
    assert differing(wanted, LOCKS["requirements.lock"] + LOCKS["requirements-torch.lock"]) == []
    assert cpu["torch"][0] == registry["torch"][0] + "+cpu"


@pytest.mark.parametrize(
    "requirement", ["torch==2.12.0", "transformers==5.23.1", "a-package-of-nobody==1.0"]
)
def test_a_pin_that_the_lock_does_not_have_is_found(requirement):
    assert differing([requirement], "".join(LOCKS.values())) == [requirement]


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_in_a_lock_has_hashes_and_no_line_names_a_place(name):
    packages = locked(LOCKS[name])
    assert packages and all(hashes for _, hashes in packages.values())
    for line in LOCKS[name].splitlines():
        assert re.fullmatch(
            r"# .*|[\w.-]+==\S+( ; [^\\]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?", line
        ), line
    assert "://" not in LOCKS[name] and "--index" not in LOCKS[name] and " @ " not in LOCKS[name]


def test_builds_of_torch_have_files_of_their_own_and_a_cpu_needs_no_library_of_cuda():
    names = ("torch==2.0", "nvidia-nccl==1", "triton==3", "zipp==4")
    parts = lock.split("".join(f"{name} \\\n    --hash=sha256:aa\n" for name in names))
    found = [[entry.split()[0] for entry in lock.entries(parts[name])] for name in lock.NAMES]
    assert found == [["zipp==4"], ["torch==2.0", "nvidia-nccl==1", "triton==3"], ["torch==2.0+cpu"]]
    assert not any(lock.TORCH.match(name) for name in locked(LOCKS["requirements.lock"]))


def test_pip_refuses_a_file_with_another_hash(tmp_path):
    wheel = tmp_path / "toy-1.0-py3-none-any.whl"
    wheel.write_bytes(b"not what was locked")
    (tmp_path / "one.lock").write_text(f"toy==1.0 \\\n    --hash=sha256:{'0' * 64}\n")
    line = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--require-hashes",
        "--no-index",
        "--find-links",
        tmp_path,
        "-d",
        tmp_path / "out",
        "-r",
        tmp_path / "one.lock",
    ]
    made = subprocess.run(line, capture_output=True, text=True)
    assert made.returncode and "DO NOT MATCH THE HASHES" in made.stderr


class Toy:
    """A package's metadata, as importlib.metadata gives it."""

    def __init__(self, *classifiers, **fields):
        self.metadata, self.files, self.classifiers = (
            self,
            [],
            [f"License :: {c}" for c in classifiers],
        )
        self.get, self.get_all = fields.get, lambda name: self.classifiers


@pytest.mark.parametrize(
    "package, told",
    [
        (Toy(**{"License-Expression": "MIT"}), "MIT"),
        (Toy("OSI Approved :: BSD License"), "BSD"),
        (Toy("OSI Approved :: GNU Lesser General Public License v2 or later (LGPLv2+)"), "LGPL"),
        (Toy("OSI Approved :: GNU General Public License v3 (GPLv3)"), "GPL"),
        (Toy(License="Apache 2"), "Apache-2.0"),
        (Toy(**{"License-Expression": "GPL-2.0-only OR MIT"}), "GPL / MIT"),
        (Toy(), "not stated"),
        (Toy("OSI Approved"), "not stated"),
    ],
)
def test_a_licence_is_read_from_what_the_package_says(package, told):
    assert licences.licence(package) == told


def test_the_licences_of_all_installed_packages_are_listed():
    groups = licences.by_licence()
    packages = [package for names in groups.values() for package in names]
    assert len(packages) > 200 and sum(package.startswith("torch ") for package in packages) == 1
    assert not any("AGPL" in name or "proprietary" in name for name in groups)


# No code in data


def keywords(call):
    """{keyword: its literal value, or ...} of a call."""
    return {
        k.arg: k.value.value if isinstance(k.value, ast.Constant) else ... for k in call.keywords
    }


def safe_loaders(tree):
    """Names that a module may give to yaml.load: PyYAML's safe ones, and classes made of them."""
    names = {"SafeLoader", "CSafeLoader", "yaml.SafeLoader", "yaml.CSafeLoader"}
    return names | {
        c.name
        for c in ast.walk(tree)
        if isinstance(c, ast.ClassDef) and any(ast.unparse(b) in names for b in c.bases)
    }


def risky(source):
    """Calls and imports by which data could bring code with it: ["line: what", ...]."""
    tree, found = ast.parse(source), []
    loaders = safe_loaders(tree)
    for node in ast.walk(tree):
        why = None
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.name for a in node.names] + [getattr(node, "module", None) or ""]
            loads = {a.name for a in node.names} & {"load", "loads", "Unpickler"}
            told = {n.split(".")[0] for n in names}
            why = next(
                (
                    f"import {n}"
                    for n in ("joblib", "dill", "cloudpickle", "shelve", "marshal")
                    if n in told
                ),
                None,
            )
            if getattr(node, "module", None) in ("pickle", "yaml", "torch") and loads:
                why = f"import {node.module} as a whole, so that its load can be checked"
        elif isinstance(node, ast.Call):
            why = risky_call(
                ast.unparse(node.func), keywords(node), [ast.unparse(a) for a in node.args], loaders
            )
        if why:
            found.append(f"{node.lineno}: {why}")
    return found


def risky_call(name, given, args, loaders):
    """Why a call is not allowed, or None."""
    last = name.rpartition(".")[2]
    if name in (
        "eval",
        "exec",
        "os.system",
        "os.popen",
        "builtins.eval",
        "builtins.exec",
    ) or name.startswith(("joblib.", "dill.")):
        return name
    if name in (
        "pickle.load",
        "pickle.loads",
        "pickle.Unpickler",
        "pandas.read_pickle",
        "pd.read_pickle",
    ):
        return name
    if last == "load" and name in ("torch.load",) and given.get("weights_only") is not True:
        return "torch.load without weights_only=True"
    if name in (
        "yaml.unsafe_load",
        "yaml.full_load",
        "yaml.load_all",
        "yaml.unsafe_load_all",
        "yaml.full_load_all",
    ):
        return name
    if name == "yaml.load" and not (set(args[1:]) & loaders):
        return "yaml.load without a SafeLoader"
    if (
        last == "from_pretrained"
        and name.startswith("AutoModel")
        and given.get("use_safetensors") is not True
    ):
        return f"{name} without use_safetensors=True"
    for keyword, bad in (
        ("trust_remote_code", True),
        ("allow_pickle", True),
        ("shell", True),
        ("use_safetensors", False),
    ):
        if keyword in given and given[keyword] in (bad, ...):
            return f"{keyword}={given[keyword]}"
    return None


def sources():
    """{name: source} of all that runs for a user: the package, tools, and the notebooks' cells."""
    found = {
        str(p.relative_to(REPO)): p.read_text(encoding="utf-8")
        for folder in ("xinstruct_utils", "tools")
        for p in (REPO / folder).rglob("*.py")
    }
    for path in (REPO / "notebooks").glob("*.ipynb"):
        cells = [
            c
            for c in json.loads(path.read_text(encoding="utf-8"))["cells"]
            if c["cell_type"] == "code"
        ]
        found[f"notebooks/{path.name}"] = "\n".join("".join(c["source"]) for c in cells)
    return found


def test_nothing_that_is_read_can_bring_code_with_it():
    read = sources()
    assert len(read) > 60
    assert {name: bad for name, source in read.items() if (bad := risky(source))} == {}


@pytest.mark.parametrize(
    "line",
    [
        "AutoTokenizer.from_pretrained(x, trust_remote_code=True)",
        "f(trust_remote_code=given)",
        "torch.load(x)",
        "torch.load(x, weights_only=False)",
        "pickle.load(f)",
        "pickle.loads(b)",
        "pickle.Unpickler(f)",
        "from pickle import load",
        "import joblib",
        "from joblib import Memory",
        "joblib.load(f)",
        "f(use_safetensors=False)",
        "AutoModelForCausalLM.from_pretrained(x, trust_remote_code=False)",
        "yaml.load(t)",
        "yaml.load(t, yaml.Loader)",
        "yaml.unsafe_load(t)",
        "from yaml import load",
        "np.load(f, allow_pickle=True)",
        "subprocess.run(x, shell=True)",
        "eval(text)",
        "exec(text)",
        "os.system(text)",
        "import dill",
        "pd.read_pickle(f)",
        "import marshal",
    ],
)
def test_each_way_for_code_to_come_in_would_be_found(line):
    assert len(risky(f"x = 1\n{line}\n")) == 1


@pytest.mark.parametrize(
    "line",
    [
        "AutoModelForCausalLM.from_pretrained(x, trust_remote_code=False, use_safetensors=True)",
        "torch.load(x, weights_only=True)",
        "yaml.safe_load(t)",
        "yaml.load(t, yaml.SafeLoader)",
        "class L(yaml.SafeLoader):\n    pass\nyaml.load(t, L)",
        "subprocess.run([x])",
        "ast.literal_eval(t)",
        "model.eval()",
        "json.load(f)",
        "pickle.UnpicklingError",
    ],
)
def test_what_is_safe_is_let_through(line):
    assert risky(line) == []


def test_the_snakefile_runs_no_text_of_a_users_through_a_shell():
    assert not re.search(
        r"\b(eval|exec)\(|shell\s*=\s*True|os\.system",
        (REPO / "Snakefile").read_text(encoding="utf-8"),
    )
