"""May a command write to OUT? One rule for all: it looks into the folder, and deletes only files that it wrote."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from fasttok.common.output_folder import Mark, OutputKind, check_output
from fasttok.errors import InputError

LETTERS = OutputKind(
    "bundle of letters",
    marks=(Mark("index.json", ("format_version", "letters"), 2),),
    files=("index.json", "letter-*.txt", "stamps/*.json", "logs/[0-9]*/**"),
    begun=".unfinished",
    resume="flag",
)
INNER = OutputKind("desk", (Mark("desk.json", ("owner/name",)),), ("desk.json",), inner={"letters": LETTERS})
RESUMED = OutputKind("diary", LETTERS.marks, LETTERS.files, begun=".unfinished", resume="always")


def written(out: Path, version: int = 2) -> Path:
    """A finished bundle."""
    (out / "stamps").mkdir(parents=True)
    (out / "logs" / "7" / "a").mkdir(parents=True)
    for name in ("letter-1.txt", "stamps/1.json", "logs/7/a/b", ".letter-2.txt.part", f".letter-3.txt.{32 * '0'}.tmp"):
        (out / name).write_text("ours")
    (out / "index.json").write_text(json.dumps({"format_version": version, "letters": []}))
    return out


def names(out: Path) -> list[str]:
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file() or path.is_symlink())


@pytest.mark.parametrize("flags", [{}, {"overwrite": True}, {"resume": True}])
def test_what_is_not_there_or_empty_may_be_written(tmp_path: Path, flags: dict[str, Any]) -> None:
    (tmp_path / "empty").mkdir()
    for out in (tmp_path / "new" / "deeper", tmp_path / "empty"):
        place = check_output(out, LETTERS, **flags)
        assert place.state == "new"
        assert out.exists() == (out.name == "empty")  # the check alone writes nothing
        place.begin()
        assert names(out) == [".unfinished/.begun.json"]
        assert check_output(out, LETTERS, resume=True).state == "unfinished"


def test_a_kill_before_the_mark_leaves_a_folder_that_is_still_new(tmp_path: Path) -> None:
    (tmp_path / ".unfinished").mkdir()
    (tmp_path / ".unfinished" / f"..begun.json.{32 * '0'}.tmp").touch()
    (tmp_path / ".letter-1.txt.part").touch()
    assert check_output(tmp_path, LETTERS).state == "new"


def test_ours_finished_asks_what_to_do(tmp_path: Path) -> None:
    out = written(tmp_path / "out")
    with pytest.raises(
        InputError, match="is a finished bundle of letters; pass --resume to go on, --overwrite to replace it, or"
    ):
        check_output(out, LETTERS)
    with pytest.raises(
        InputError, match="is a finished diary; pass --overwrite to replace it, or choose another --out"
    ):
        check_output(out, RESUMED)
    assert check_output(out, LETTERS, resume=True).state == "finished"
    before = names(out)
    check_output(out, LETTERS, resume=True).begin()
    assert names(out) == sorted([".unfinished/.begun.json", *before])
    check_output(out, LETTERS, overwrite=True).begin()
    assert names(out) == [".unfinished/.begun.json"]
    assert not (out / "logs").exists()


def test_ours_unfinished(tmp_path: Path) -> None:
    for kind in (LETTERS, RESUMED):
        out = tmp_path / kind.name
        check_output(out, kind).begin()
        (out / "letter-1.txt").touch()
    with pytest.raises(InputError, match="is an unfinished bundle of letters; pass --resume"):
        check_output(tmp_path / LETTERS.name, LETTERS)
    assert check_output(tmp_path / LETTERS.name, LETTERS, overwrite=True).replaces
    place = check_output(tmp_path / RESUMED.name, RESUMED, overwrite=True)  # nothing finished is there to be replaced
    place.begin()
    assert (tmp_path / RESUMED.name / "letter-1.txt").exists()
    with pytest.raises(InputError, match=r"not a diary \(its .unfinished/.begun.json is that of another command\)"):
        check_output(tmp_path / LETTERS.name, RESUMED)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "it has no index.json"),
        ("{", "its index.json is not JSON"),
        ("3", "its index.json has no keys"),
        ('{"letters": []}', "its index.json lacks format_version"),
        ('{"format_version": 1, "pages": []}', "its index.json lacks letters"),
    ],
)
@pytest.mark.parametrize("flags", [{}, {"overwrite": True}, {"resume": True}])
def test_what_is_not_ours_is_left_alone(tmp_path: Path, content: str | None, why: str, flags: dict[str, Any]) -> None:
    (tmp_path / "letter-to-mum.txt").write_text("dear mum")  # a name that the command writes too
    if content is not None:
        (tmp_path / "index.json").write_text(content)
    before = names(tmp_path)
    with pytest.raises(
        InputError,
        match=rf"is not a bundle of letters \({why}\), so it will not be overwritten, not even with --overwrite",
    ):
        check_output(tmp_path, LETTERS, **flags)
    assert names(tmp_path) == before


def test_a_newer_format_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"written by a newer fasttok \(index.json\)"):
        check_output(written(tmp_path / "out", version=3), LETTERS, overwrite=True)
    assert check_output(written(tmp_path / "old", version=1), LETTERS, overwrite=True).state == "finished"


def test_a_strangers_file_in_our_folder_survives(tmp_path: Path) -> None:
    out = written(tmp_path / "out")
    strange = ["letters/old.txt", "logs/readme", "notes.md", "stamps/rare.png"]
    for name in strange:
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("mine")
    check_output(out, LETTERS, overwrite=True).begin()
    assert names(out) == [".unfinished/.begun.json", *strange]
    assert all((out / name).read_text() == "mine" for name in strange)


def test_links(tmp_path: Path) -> None:
    real = written(tmp_path / "real")
    (tmp_path / "link").symlink_to(real)
    check_output(tmp_path / "link", LETTERS, overwrite=True).begin()
    assert (tmp_path / "link").is_symlink()
    assert names(real) == [".unfinished/.begun.json"]
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    with pytest.raises(InputError, match="is a link to nothing"):
        check_output(tmp_path / "dangling", LETTERS)
    # A file of ours that is a link: the link goes, what it leads to stays.
    out = written(tmp_path / "out")
    (tmp_path / "elsewhere.txt").write_text("precious")
    (out / "letter-9.txt").symlink_to(tmp_path / "elsewhere.txt")
    check_output(out, LETTERS, overwrite=True).begin()
    assert not (out / "letter-9.txt").is_symlink()
    assert (tmp_path / "elsewhere.txt").read_text() == "precious"
    # A folder that is a link is never entered: what is to be replaced would stay, so the command refuses and names it.
    again = written(tmp_path / "again")
    (tmp_path / "scratch" / "8").mkdir(parents=True)
    (again / "logs" / "8").symlink_to(tmp_path / "scratch" / "8")
    with pytest.raises(InputError, match="again/logs/8 is a link"):
        check_output(again, LETTERS, overwrite=True)
    assert (again / "letter-1.txt").exists()


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(InputError, match="exists and is not a folder"):
        check_output(tmp_path / "out", LETTERS, overwrite=True)


def test_a_path_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x\\udcff': this path is not UTF-8, .*; choose another --out"):
        check_output(tmp_path / "x\udcff", LETTERS)


def test_inner_outputs_go_with_the_outer_one(tmp_path: Path) -> None:
    written(tmp_path / "letters")
    (tmp_path / "letters" / "mine.md").touch()
    (tmp_path / "desk.json").write_text('{"owner": {"name": "me"}}')
    check_output(tmp_path, INNER, overwrite=True).begin()
    assert names(tmp_path) == ["letters/mine.md"]


def test_without_a_mark_a_folder_is_ours_if_it_holds_nothing_else(tmp_path: Path) -> None:
    kind = OutputKind("pile", (), ("*.txt",))
    (tmp_path / "a.txt").touch()
    assert check_output(tmp_path, kind, overwrite=True).state == "finished"
    (tmp_path / "b.md").touch()
    with pytest.raises(InputError, match=r"is not a pile \(it contains b.md\)"):
        check_output(tmp_path, kind, overwrite=True)


def test_a_finished_folder_is_put_in_place(tmp_path: Path) -> None:
    for name, before in (("new", []), ("empty", []), ("ours", ["letter-1.txt", "mine.md"])):
        out, made = tmp_path / name, tmp_path / f".{name}"
        if name == "empty":
            out.mkdir()
        if before:
            written(out)
            (out / "mine.md").touch()
        (made / "stamps").mkdir(parents=True)
        (made / "index.json").write_text("{}")
        (made / "stamps" / "2.json").touch()
        check_output(out, LETTERS, overwrite=True).install(made, last="index.json")
        assert names(out) == ["index.json", *[n for n in before if n == "mine.md"], "stamps/2.json"]
        assert not made.exists()


class KilledError(BaseException):
    """Stands for a kill: nothing after it is run."""


@pytest.mark.parametrize("note", [False, True])
def test_a_kill_while_an_output_is_replaced_loses_nothing(
    note: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each step, the old files or all new ones are there, and OUT is recognised; the next run replaces it."""
    kind = OutputKind("desk", (Mark("desk.json", ("owner",)),), ("desk.json", "pens.txt", "ink.txt", "drawer/*.txt"))
    texts = {"old": ("desk.json", "ink.txt", "drawer/1.txt"), "new": ("desk.json", "pens.txt", "drawer/1.txt")}

    def fill(folder: Path, which: str) -> Path:
        (folder / "drawer").mkdir(parents=True)
        for name in texts[which]:
            (folder / name).write_text(json.dumps({"owner": which}))
        return folder

    def contents(out: Path) -> dict[str, str]:
        return {name: (out / name).read_text() for name in names(out)}

    renames, deletions, left = Path.replace, LocalFileSystem.rm_file, [0]

    def mortal(step: Callable[..., Any]) -> Callable[..., Any]:
        def one(*given: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise KilledError
            return step(*given)

        return one

    monkeypatch.setattr(Path, "replace", mortal(renames))
    monkeypatch.setattr(LocalFileSystem, "rm_file", mortal(deletions))
    mine = {"mine.md": "mine"} if note else {}
    steps = 0
    for steps in range(20):
        out, left[0] = fill(tmp_path / f"{steps}" / "out", "old"), 99
        for name, text in mine.items():
            (out / name).write_text(text)
        old, place = contents(out), check_output(out, kind, overwrite=True)
        aside = fill(tmp_path / f"{steps}" / "aside", "new")
        new = contents(aside) | mine
        left[0] = steps
        try:
            place.install(aside, last="desk.json")
        except KilledError:
            found = contents(out)
            whole = {
                name: found.get(str(Path(name).parent / f".{Path(name).name}.part"), found.get(name)) for name in old
            }
            assert whole == old or new.items() <= found.items()
            assert ("desk.json" in found) == (found == old or new.items() <= found.items())
            left[0] = 99
            check_output(out, kind, overwrite=True).install(fill(tmp_path / f"{steps}" / "again", "new"), "desk.json")
            assert contents(out) == new
        else:
            assert contents(out) == new
            break
    assert steps == 9  # three files are set aside, three moved, three deleted


def test_urls() -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe(
        {
            "/desk/out/index.json": b'{"format_version": 2, "letters": []}',
            "/desk/out/letter-1.txt": b"",
            "/desk/out/b": b"",
        }
    )
    with pytest.raises(InputError, match="--overwrite"):
        check_output("memory://desk/out", LETTERS)
    check_output("memory://desk/out/", LETTERS, overwrite=True).begin()
    assert sorted(fs.find("/desk/out")) == ["/desk/out/.unfinished/.begun.json", "/desk/out/b"]
    fs.pipe("/desk/other/a", b"")
    with pytest.raises(InputError, match="will not be overwritten"):
        check_output("memory://desk/other", LETTERS, overwrite=True)
    assert check_output("memory://desk/nothing", LETTERS).state == "new"
    fs.rm("/desk", recursive=True)


def test_an_output_that_holds_an_input_is_not_replaced(tmp_path: Path) -> None:
    out = written(tmp_path / "out")
    (out / "mine").mkdir()
    for given in (out, out / "letter-1.txt", out / "logs", out / "logs" / "7", f"file://{out}/stamps"):
        with pytest.raises(InputError, match="would delete it before it is read"):
            check_output(out, LETTERS, overwrite=True, reads=[given])
    harmless = (out / "mine", tmp_path, tmp_path / "out2", out / "letter", "nowhere://x", "https://example.org/x")
    assert check_output(out, LETTERS, overwrite=True, reads=harmless).replaces
    assert check_output(out, LETTERS, resume=True, reads=[out]).state == "finished"  # nothing is deleted


@pytest.mark.parametrize("out", ["file/out", "file/a/out", "a" * 300, "new/" + "a" * 300, "/proc/out", "/proc/new/out"])
def test_an_out_that_cannot_be_written_is_noticed_at_once(tmp_path: Path, out: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot be written: .*; choose another --out"):
        check_output(tmp_path / out, LETTERS)
    assert names(tmp_path) == ["file"]


def test_a_mark_that_cannot_be_read_or_is_too_deep_is_no_mark(tmp_path: Path) -> None:
    for number, text in enumerate((b"\xff\xfe", b"[" * 100_000, b'"x"', b"3")):
        out = tmp_path / str(number)
        out.mkdir()
        (out / "index.json").write_bytes(text)
        with pytest.raises(InputError, match="will not be overwritten"):
            check_output(out, LETTERS, overwrite=True)


def test_a_mark_may_be_a_text(tmp_path: Path) -> None:
    kind = OutputKind("dataset", (Mark("dataset.yaml", text="name: a\n"),), ("dataset.yaml", "*.txt"))
    (tmp_path / "dataset.yaml").write_text("name: b\n")
    with pytest.raises(InputError, match=r"its dataset\.yaml is another one"):
        check_output(tmp_path, kind, overwrite=True)
    (tmp_path / "dataset.yaml").write_text("name: a\n")
    assert check_output(tmp_path, kind, overwrite=True).replaces


def test_two_processes_never_write_one_out(tmp_path: Path) -> None:
    code = (
        "import sys; from tests.fasttok.test_output_folder import *; place = check_output(sys.argv[1], RESUMED); "
        "place.begin(); print('begun', flush=True); sys.stdin.read()"
    )
    out = tmp_path / "out"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "begun\n"
        before = names(out)
        with pytest.raises(InputError, match="another process is writing"):
            check_output(out, RESUMED).begin()
        assert names(out) == before
        other.communicate("")
    check_output(out, RESUMED).begin()  # it has ended
    check_output(out, RESUMED).begin()  # one process may go on in its own


def old_and_note(folder: Path) -> dict[str, str]:
    for name, text in {"index.json": OLD, "a/b/x.summary.json": "{}", "note.txt": "mine"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return everything(folder)


OLD = '{"format_version": 3, "digest": "d", "datasets": {}}'


def everything(folder: Path) -> dict[str, str]:
    return {str(f.relative_to(folder)): f.read_text() for f in sorted(folder.rglob("*")) if f.is_file()}


def fail(out: Path, started: bool) -> None:
    from pipelines.index.output_kind import INDEX

    with check_output(out, INDEX, overwrite=True).replacing() as under_way:
        assert "index.json" not in {f.name for f in out.iterdir()}
        if started:
            under_way()
        (out / "a/b").mkdir(parents=True, exist_ok=True)
        (out / "a/b/y.summary.json").write_text("new")
        raise RuntimeError("no runner")


def test_the_old_output_comes_back_if_the_new_one_does_not_start(tmp_path: Path) -> None:
    before = old_and_note(tmp_path)
    with pytest.raises(RuntimeError, match="no runner"):
        fail(tmp_path, started=False)
    assert everything(tmp_path) == before
    with pytest.raises(RuntimeError, match="no runner"):
        fail(tmp_path, started=True)
    assert "index.json" not in everything(tmp_path)
    assert "a/b/y.summary.json" in everything(tmp_path)


def test_the_old_output_is_gone_when_the_new_one_is_there(tmp_path: Path) -> None:
    from pipelines.index.output_kind import INDEX

    old_and_note(tmp_path)
    with check_output(tmp_path, INDEX, overwrite=True).replacing():
        pass
    assert set(everything(tmp_path)) == {"note.txt", f"{INDEX.begun}/.begun.json"}


def test_an_old_output_that_a_killed_process_set_aside_comes_back(tmp_path: Path) -> None:
    from pipelines.index.output_kind import INDEX

    before = old_and_note(tmp_path)
    killed = check_output(tmp_path, INDEX, overwrite=True)
    killed._move(tmp_path, tmp_path / INDEX.begun / "replaced")
    (tmp_path / INDEX.begun / ".begun.json").write_text('{"writes": "INDEX", "format_version": 3}')
    (tmp_path / "statistics.json").write_text("new")
    with pytest.raises(RuntimeError):
        fail(tmp_path, started=False)
    assert everything(tmp_path) == before


def test_what_another_process_wrote_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    """Both found an empty folder. The second one would have replaced the first one's output without --overwrite."""
    first, second = check_output(tmp_path / "out", LETTERS), check_output(tmp_path / "out", LETTERS)
    for place in (first, second):
        made = place.aside()
        (made / "index.json").write_text(json.dumps({"letters": 1, "format_version": 1}))
        if place is first:
            place.install(made, last="index.json")
    with pytest.raises(
        InputError, match=r"another process has written .*out since this one began; choose another --out"
    ):
        second.install(made, last="index.json")
