"""Flags that neither a command nor Beam has are refused with the nearest name, before anything is written."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from fasttok.errors import InputError
from pipelines.__main__ import main
from pipelines.common.beam_flags import check_flags
from tests.chain import MIXTURE, Chain
from tests.pipelines.indexing import PLANAR, first_file

OURS = ("out", "max-bad", "resume")


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--runer=DataflowRunner", r"unknown flag --runer; did you mean --runner\?"),
        ("--direct_num_worker=8", r"--direct_num_workers\?"),
        ("--direct-num-workers=8", r"--direct_num_workers\?"),
        ("--temp_locaton=gs://b/x", r"--temp_location\?"),
        ("--max_bda=1", r"--max-bad\?"),
        ("--xyzzy=1", "unknown flag --xyzzy"),
        ("-n=8", "unknown flag -n"),
        ("--direct_num_workers=many", "Beam refuses its flags"),
        ("--direct_running_mode=multi_procesing", "Beam refuses its flags.*multi_processing"),
        ("--runner=FlinkRuner", "unknown runner 'FlinkRuner'; did you mean 'FlinkRunner'"),
        ("--runner=no.such.Runner", "cannot start here: No module named 'no'"),
    ],
)
def test_what_nobody_has_is_refused(flag: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_flags([flag], OURS, "x --help")


def test_flags_of_beam_pass() -> None:
    check_flags([], OURS, "x --help")
    direct = ["--direct_num_workers=2", "--direct_running_mode=multi_processing"]
    remote = ["--runner=PortableRunner", "--job_endpoint=localhost:1", "--environment_type=LOOPBACK"]
    cloud = ["--project=p", "--region=r", "--temp_location=gs://b/tmp", "--num_workers=3", "--save_main_session"]
    for flags in (direct, remote, cloud, ["--experiments=a", "--experiments=b"]):
        check_flags(flags, OURS, "x --help")


def test_a_typo_leaves_no_trace(tmp_path: Path) -> None:
    for flag in ("--runer=DataflowRunner", "--direct_num_worker=8"):
        with pytest.raises(InputError, match="did you mean"):
            main(["index", str(tmp_path), "--out", str(tmp_path / "index"), flag])
    with pytest.raises(InputError, match="give one of them"):
        main(["index", str(tmp_path), "--out", str(tmp_path / "index"), "--resume", "--overwrite"])
    assert not (tmp_path / "index").exists()


def test_a_runner_that_cannot_start_is_one_sentence(tmp_path: Path, monkeypatch: Any) -> None:
    import apache_beam as beam

    from pipelines.common import beam as jobs

    def run(*_: Any, **__: Any) -> Any:
        raise RuntimeError("Java must be installed\nand more")

    monkeypatch.setattr(beam.Pipeline, "run", run)
    stage = jobs.Stage("indexing", str(tmp_path), list, print, "files", "records")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="--runner=FlinkRunner cannot start here: Java must be installed; install"):
        jobs.run_stage(stage, ["--runner=FlinkRunner"], 1)


def test_what_a_runner_still_needs_is_asked_before_anything_is_written(chain: Chain, tmp_path: Path) -> None:
    index = tmp_path / "index"
    shutil.copytree(chain.index, index)
    before = sorted(index.rglob("*"))
    words = ["index", str(chain.data / "tabletop_vqa"), "--out", str(index), "--overwrite", "--runner=DataflowRunner"]
    with pytest.raises(InputError, match=r"^--runner=DataflowRunner cannot start.*project|No module named") as caught:
        main(words)
    assert "\n" not in str(caught.value)
    assert sorted(index.rglob("*")) == before


def test_a_runner_that_does_not_start_costs_no_output(chain: Chain, tmp_path: Path, monkeypatch: Any) -> None:
    import apache_beam as beam

    def run(*_: Any, **__: Any) -> Any:
        raise RuntimeError("nobody answers at localhost:1")

    index, shards = tmp_path / "index", tmp_path / "shards"
    shutil.copytree(chain.index, index)
    shutil.copytree(chain.shards, shards)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    monkeypatch.setattr(beam.Pipeline, "run", run)
    flags = ["--overwrite", "--runner=PortableRunner", "--job_endpoint=localhost:1"]
    given = ["--index", str(chain.index), "--tokenizer", str(chain.tokenizer), "--samples", "50"]
    for words in (
        ["index", str(chain.data / "tabletop_vqa"), "--out", str(index)],
        ["build", MIXTURE, "--out", str(shards), *given],
    ):
        with pytest.raises(InputError, match="cannot start here: nobody answers"):
            main([*words, *flags])
        assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


def test_a_workers_user_error_is_its_message_alone(own_data: Path, tmp_path: Path, caplog: Any, capfd: Any) -> None:
    (own_data / PLANAR / first_file(own_data).name).write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(InputError, match=f"{first_file(own_data).name}: this is a Git LFS pointer"):
        main(["index", str(own_data / PLANAR), "--out", str(tmp_path / "index")])
    assert "Traceback" not in caplog.text
    assert "Traceback" not in capfd.readouterr().err
