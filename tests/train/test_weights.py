"""Weights in and out: every layout there and back to the bit, the golden checkpoints, and what is refused."""

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any, cast, get_args

import jax
import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from fasttok.errors import InputError
from tests.chain import Chain
from tests.train.parity import TINY
from tests.train.tiny_runs import TINY as TINY_RUN
from train import export, model, weights
from train.config import ModelConfig, OptimConfig, TrainConfig
from train.exports import command as exports_command
from train.params import count
from train.weights.layouts import canonical, flatten, mapped_tensors, spelled, unflatten
from train.weights.matching import PI0_WHY, WeightsReport, our_shapes, plan
from train.weights.sources import open_weights

# Every axis has its own length, so that two that were swapped do not fit.
SMALL = ModelConfig(
    image_size=28, patch=14, vision_width=22, vision_depth=3, vision_heads=2, vision_mlp=44, width=40, depth=2, heads=3,
    head_dim=8, mlp=56, expert_width=20, expert_mlp=36, vocab_size=70, horizon=4, action_dim=5, cameras=1,
)  # fmt: skip
VLM = dataclasses.replace(SMALL, flow=False)
KEY = jax.random.key(0)
Flat = dict[str, np.ndarray]


def random_params(config: ModelConfig, seed: int = 0) -> Flat:
    rng = np.random.default_rng(seed)
    return {path: rng.standard_normal(shape).astype(np.float32) for path, shape in our_shapes(config).items()}


def jax_tree(params: Flat, config: ModelConfig) -> Flat:
    """As openpi names it."""
    out = {p.name: p.to_theirs(params[p.path]) for p in mapped_tensors("jax", our_shapes(config))}
    return {f"PaliGemma/{n}" if n.startswith(("img/", "llm/")) else n: a for n, a in out.items()}


def save(params: Flat, config: ModelConfig, layout: Any, out: Path, dtype: Any = "float32") -> Path:
    """A checkpoint at `out` or below; returns what --weights would be given."""
    out.mkdir(parents=True, exist_ok=True)
    if layout == "npz":
        np.savez(out / "params.npz", **cast(Any, jax_tree(params, config)))
        return out / "params.npz"
    if layout.startswith("orbax"):
        tree = {name + "/value" * (layout == "orbax_nnx"): a for name, a in jax_tree(params, config).items()}
        with ocp.PyTreeCheckpointer() as writer:
            writer.save((out / "params").resolve(), {"params": unflatten(tree)})
        return out / "params" if layout == "orbax_params" else out
    listed, _ = export.tensors(params, config, layout.removesuffix("_new"))
    if layout == "paligemma_new":  # transformers >= 4.52
        new = {"language_model.model.": "model.language_model.", "vision_": "model.vision_", "multi_": "model.multi_"}
        listed = [
            dataclasses.replace(t, name=next(b + t.name[len(a) :] for a, b in new.items() if t.name.startswith(a)))
            for t in listed
        ]
    with (out / "model.safetensors").open("wb") as stream:
        export.write(stream, listed, dtype, export.metadata(layout, {}))
    return out


def load(path: Path, config: ModelConfig, **more: Any) -> tuple[Flat, WeightsReport]:
    todo = plan(path, config, **more)
    params = weights.start(todo, config, KEY)
    assert jax.tree.map(lambda x: x.shape, params) == unflatten(our_shapes(config))
    assert todo.report.total("loaded") + todo.report.total("initialised") == count(params)
    return {path: np.asarray(leaf) for path, leaf in flatten(params).items()}, todo.report


def same(ours: Flat, theirs: Flat) -> None:
    assert ours.keys() == theirs.keys()
    for path, leaf in ours.items():
        assert leaf.dtype == np.float32, path
        np.testing.assert_array_equal(leaf, theirs[path], err_msg=path)


FULL = ["fasttok", "openpi", "lerobot", "npz", "orbax", "orbax_params", "orbax_nnx"]


@pytest.mark.parametrize("layout", [*FULL, "paligemma", "paligemma_new"])
def test_there_and_back_to_the_bit(tmp_path: Path, layout: str) -> None:
    config = VLM if layout.startswith("paligemma") else SMALL
    params = random_params(config)
    path = save(params, config, layout, tmp_path)
    loaded, report = load(path, config, strict=True)
    same(loaded, params)
    assert {row.state for row in report.rows} <= {"loaded", "ignored"}
    again = save(loaded, config, layout, tmp_path / "again")
    if (path / "model.safetensors").is_file():
        assert (again / "model.safetensors").read_bytes() == (path / "model.safetensors").read_bytes()


@settings(max_examples=25)
@given(
    sizes=st.fixed_dictionaries(
        {name: st.integers(1, 3) for name in ("vision_depth", "vision_heads", "depth", "heads", "head_dim", "patch")}
        | {
            name: st.integers(1, 5)
            for name in ("vision_mlp", "width", "mlp", "expert_width", "expert_mlp", "action_dim")
        }
    ),
    family=st.sampled_from(["jax", "torch"]),
)
def test_every_number_has_exactly_one_place(sizes: dict[str, Any], family: Any) -> None:
    even = {"vision_width": 2 * sizes["vision_heads"]} | {n: 2 * sizes[n] for n in ("expert_width", "head_dim")}
    config = dataclasses.replace(SMALL, image_size=2 * sizes["patch"], **sizes | even)
    shapes = our_shapes(config)
    ends = np.cumsum([0, *(int(np.prod(shape)) for shape in shapes.values())])
    params = {p: np.arange(a, b).reshape(shapes[p]) for p, a, b in zip(shapes, ends[:-1], ends[1:], strict=True)}
    back = {path: np.full(shape, -1) for path, shape in shapes.items()}
    seen = []
    for piece in mapped_tensors(family, shapes):
        theirs = piece.to_theirs(params[piece.path])
        assert theirs.shape == piece.shape
        seen.append(theirs.ravel())
        back[piece.path][piece.index] = piece.to_ours(theirs, back[piece.path][piece.index].shape)
    assert np.array_equal(np.sort(np.concatenate(seen)), np.arange(ends[-1]))
    for path in shapes:
        assert np.array_equal(back[path], params[path]), path


def test_names_of_the_pytorch_layouts() -> None:
    """Written out from the sources that `train.weights.layouts` cites, for a model of one layer each."""
    config = dataclasses.replace(SMALL, depth=1, vision_depth=1)
    vlm = "paligemma_with_expert.paligemma."
    vision, text = vlm + "model.vision_tower.vision_model.", vlm + "model.language_model."
    expert = "paligemma_with_expert.gemma_expert."
    both = [f"self_attn.{x}_proj.weight" for x in "qkvo"] + [f"mlp.{x}_proj.weight" for x in ("gate", "up", "down")]
    block = [f"self_attn.{x}_proj" for x in ("q", "k", "v", "out")] + [
        "layer_norm1",
        "layer_norm2",
        "mlp.fc1",
        "mlp.fc2",
    ]
    expected = {
        vlm + "lm_head.weight",
        expert + "lm_head.weight",
        vision + "embeddings.position_embedding.weight",
        *(
            f"{vision}{name}.{leaf}"
            for name in ("embeddings.patch_embedding", "post_layernorm")
            for leaf in ("weight", "bias")
        ),
        *(f"{vision}encoder.layers.0.{name}.{leaf}" for name in block for leaf in ("weight", "bias")),
        *(f"{vlm}model.multi_modal_projector.linear.{leaf}" for leaf in ("weight", "bias")),
        text + "norm.weight",
        *(f"{text}layers.0.{name}" for name in (*both, "input_layernorm.weight", "post_attention_layernorm.weight")),
        *(f"{expert}model.layers.0.{name}" for name in both),
        *(
            f"{expert}model.layers.0.{n}_layernorm.dense.{x}"
            for n in ("input", "post_attention")
            for x in ("weight", "bias")
        ),
        *(f"{expert}model.norm.dense.{leaf}" for leaf in ("weight", "bias")),
        *(
            f"{n}.{x}"
            for n in ("action_in_proj", "action_out_proj", "time_mlp_in", "time_mlp_out")
            for x in ("weight", "bias")
        ),
    }
    assert {t.name for t in export.tensors(random_params(config), config, "openpi")[0]} == expected
    assert {t.name for t in export.tensors(random_params(config), config, "lerobot")[0]} == {
        f"model.{n}" for n in expected
    }


def test_experts_linear_maps_are_the_same_maps() -> None:
    """The golden checkpoint has no expert in PyTorch's names: here y = x W^T is compared with our einsums."""
    params = random_params(SMALL)
    theirs = {t.name: t.make() for t in export.tensors(params, SMALL, "openpi")[0]}
    rng = np.random.default_rng(1)
    x, heads = rng.standard_normal((6, SMALL.expert_width)), rng.standard_normal((6, SMALL.heads, SMALL.head_dim))
    hidden = rng.standard_normal((6, SMALL.expert_mlp))
    for layer in range(SMALL.depth):
        ours = {
            name: params[f"expert/layers/{name}"][layer] for name in ("query", "key_value", "output", "gate_up", "down")
        }
        base = f"paligemma_with_expert.gemma_expert.model.layers.{layer}."

        def apply(name: str, x: np.ndarray, base: str = base) -> np.ndarray:
            return x @ theirs[base + name + ".weight"].T.astype(np.float64)

        np.testing.assert_allclose(
            apply("self_attn.q_proj", x).reshape(6, SMALL.heads, -1), np.einsum("tw,nwk->tnk", x, ours["query"])
        )
        for part, name in enumerate("kv"):
            np.testing.assert_allclose(apply(f"self_attn.{name}_proj", x), x @ ours["key_value"][part])
        np.testing.assert_allclose(
            apply("self_attn.o_proj", heads.reshape(6, -1)), np.einsum("tnk,nkw->tw", heads, ours["output"])
        )
        for part, name in enumerate(("gate", "up")):
            np.testing.assert_allclose(apply(f"mlp.{name}_proj", x), x @ ours["gate_up"][part])
        np.testing.assert_allclose(apply("mlp.down_proj", hidden), hidden @ ours["down"])
        for ours_name, name in (("attention_norm", "input"), ("mlp_norm", "post_attention")):
            kernel = params[f"expert/layers/{ours_name}/kernel"][layer]
            np.testing.assert_allclose(apply(f"{name}_layernorm.dense", x), x @ kernel)
    for ours_name, name in (
        ("action_in", "action_in_proj"),
        ("time_out", "time_mlp_out"),
        ("action_out", "action_out_proj"),
    ):
        assert np.array_equal(theirs[f"{name}.weight"].T, params[f"expert/{ours_name}/kernel"])


def test_paligemma_reproduces_its_forward(shared_data: Path) -> None:
    """transformers' own outputs from its own file, padded table and all, within the bounds of the reference's README."""
    folder = shared_data / "parity" / "paligemma_tiny"
    config = dataclasses.replace(TINY, mlp=512, vocab_size=576, cameras=1, flow=False)
    loaded, report = load(folder, config, strict=True)
    with np.load(folder / "inputs.npz") as file:
        inputs = dict(file)
    with np.load(folder / "outputs.npz") as file:
        golden = dict(file)
    batch = {
        "images": inputs["pixel_values"].transpose(0, 2, 3, 1)[:, None],
        "image_mask": np.ones((3, 1), bool),
        "tokens": inputs["input_ids"][:, 16:],
        "token_mask": inputs["attention_mask"][:, 16:] == 1,
        "token_ar": inputs["token_type_ids"][:, 16:] == 1,
    }
    with jax.default_matmul_precision("highest"):
        params: Any = unflatten(loaded)
        context = model.run_backbone(params, batch, config)
        logits = model.logits(params, context.hidden)
    valid = inputs["attention_mask"] == 1
    for ours, theirs in ((context.hidden, golden["hidden_states/03"]), (logits, golden["logits"])):
        error = np.abs(np.asarray(ours) - theirs)[valid]
        assert error.max() <= 1e-5 * max(1.0, np.abs(theirs[valid]).max())
    assert report.total("initialised") == 0


def test_paligemma_is_the_renamed_archive(shared_data: Path) -> None:
    """Two converters, one result: the safetensors file and the reference's own renaming of it; 64 rows are padding."""
    folder = shared_data / "parity" / "paligemma_tiny"
    config = dataclasses.replace(TINY, mlp=512, cameras=1, flow=False)
    ours, report = load(folder, config)
    theirs, _ = load(folder / "weights_openpi_names.npz", config, strict=True)
    same(ours, theirs)
    assert "512 of its 576 rows; the others are padding" in {row.note for row in report.rows}


def test_pi05_reproduces_its_velocity(shared_data: Path) -> None:
    folder = shared_data / "parity" / "pi05_tiny"
    loaded, _ = load(folder / "params.npz", TINY, strict=True)
    with np.load(folder / "inputs.npz") as file:
        inputs = dict(file)
    with np.load(folder / "outputs.npz") as file:
        golden = dict(file)
    cameras = ("base_0_rgb", "left_wrist_0_rgb", "right_wrist_0_rgb")
    mask = inputs["tokenized_prompt_mask"]
    batch = {
        "images": np.stack([inputs[f"images/{c}"] for c in cameras], axis=1),
        "image_mask": np.stack([inputs[f"image_masks/{c}"] for c in cameras], axis=1),
        "tokens": inputs["tokenized_prompt"],
        "token_mask": mask,
        "token_ar": np.zeros_like(mask),
    }
    with jax.default_matmul_precision("highest"):
        params: Any = unflatten(loaded)
        context = model.run_backbone(params, batch, TINY)
        velocity = model.run_expert(params, context, golden["x_t"], inputs["time"], TINY)
    assert np.abs(np.asarray(velocity) - golden["v_t"]).max() <= 1e-4 * max(1.0, np.abs(golden["v_t"]).max())


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_becomes_float32(tmp_path: Path, dtype: Any) -> None:
    params = random_params(VLM)
    path = save(params, VLM, "paligemma", tmp_path) / "model.safetensors"
    save_file({name: array.astype(dtype) for name, array in load_file(path).items()}, path)
    loaded, _ = load(tmp_path, VLM, strict=True)
    same(loaded, {p: a.astype(dtype).astype(np.float32) for p, a in params.items()})


def shard(folder: Path, edit: Any = lambda weight_map: None) -> Path:
    """Cuts folder/model.safetensors into two files and an index."""
    arrays = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(arrays)
    weight_map = {name: f"model-{1 + i % 2:05d}-of-00002.safetensors" for i, name in enumerate(names)}
    for file in set(weight_map.values()):
        save_file({name: arrays[name] for name in names if weight_map[name] == file}, folder / file)
    edit(weight_map)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder


def test_shards(tmp_path: Path) -> None:
    params = random_params(SMALL)
    folder = shard(save(params, SMALL, "lerobot", tmp_path))
    same(load(folder, SMALL)[0], params)
    same(load(folder / "model.safetensors.index.json", SMALL)[0], params)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(InputError, match="1 files that are not there"):
        plan(folder, SMALL)


@pytest.mark.parametrize(
    "name", ["../secret.safetensors", "/etc/passwd", "a/b.safetensors", "..\\x.safetensors", "x.bin", 7]
)
def test_an_index_does_not_leave_its_folder(tmp_path: Path, name: Any) -> None:
    folder = save(random_params(VLM), VLM, "paligemma", tmp_path / "in")
    (tmp_path / "secret.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    shard(folder, lambda weight_map: weight_map.update({next(iter(weight_map)): name}))
    with pytest.raises(InputError, match="in the same folder"):
        plan(folder, VLM)


@pytest.mark.parametrize("text", ["{", "[]", '{"weight_map": 3}', '{"weight_map": {"a": ["x"]}}', "{}"])
def test_an_index_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(InputError, match="index of safetensors"):
        plan(tmp_path, VLM)


def test_new_rows_start_as_the_mean_and_padding_is_not_text(tmp_path: Path) -> None:
    """60 text tokens, a table padded to 70 rows, 20 FAST ids of ours behind the text."""
    params = random_params(VLM)
    folder = save(params, VLM, "paligemma", tmp_path)
    config = dataclasses.replace(VLM, vocab_size=80)
    loaded, report = load(folder, config, text_rows=60)
    table = params["backbone/embedding"]
    assert np.array_equal(loaded["backbone/embedding"][:60], table[:60])
    np.testing.assert_allclose(loaded["backbone/embedding"][60:], np.tile(table[:60].mean(axis=0), (20, 1)), atol=1e-6)
    new = next(row for row in report.rows if row.state == "initialised")
    assert (new.what, new.parameters, new.note) == ("backbone/embedding", 20 * 40, "20 new rows: mean of those loaded")
    with pytest.raises(InputError, match="strict, but not everything"):
        plan(folder, config, text_rows=60, strict=True)


def test_another_tokenizers_table_is_refused(tmp_path: Path) -> None:
    folder = save(random_params(VLM), VLM, "paligemma", tmp_path)
    with pytest.raises(InputError, match=r"70 rows, our text tokenizer 5 tokens.*--data\.text-tokenizer"):
        plan(folder, dataclasses.replace(VLM, vocab_size=25), text_rows=5)


def test_our_fast_rows_need_our_tokenizer(tmp_path: Path) -> None:
    params = random_params(SMALL)
    with (tmp_path / "model.safetensors").open("wb") as stream:
        described = {"tokenizer": "abc", "text_rows": 50}
        export.write(
            stream, export.tensors(params, SMALL, "fasttok")[0], "float32", export.metadata("fasttok", described)
        )
    same(load(tmp_path, SMALL, text_rows=50, tokenizer="abc", strict=True)[0], params)
    loaded, report = load(tmp_path, SMALL, text_rows=50, tokenizer="def")
    assert np.array_equal(loaded["backbone/embedding"][:50], params["backbone/embedding"][:50])
    assert np.array_equal(loaded["backbone/embedding"][50], loaded["backbone/embedding"][69])
    assert report.total("initialised") == 20 * 40


@pytest.mark.slow
def test_what_a_checkpoint_lacks_is_initialised_and_said(tmp_path: Path) -> None:
    params = random_params(VLM)
    folder = save(params, VLM, "paligemma", tmp_path)
    loaded, report = load(folder, SMALL)
    assert {p: a for p, a in loaded.items() if not p.startswith("expert")}.keys() == params.keys()
    expert = flatten(model.init(KEY, SMALL)["expert"])
    for path, leaf in expert.items():
        np.testing.assert_allclose(loaded[f"expert/{path}"], leaf, atol=1e-6)
    assert [(r.what, r.note) for r in report.rows if r.state == "initialised"] == [("expert", "not in the checkpoint")]
    with pytest.raises(InputError, match="expert initialised"):
        plan(folder, SMALL, strict=True)


def test_what_we_have_no_place_for_is_ignored_and_said(tmp_path: Path) -> None:
    save(random_params(SMALL), SMALL, "openpi", tmp_path)
    _, report = load(tmp_path, VLM)
    ignored = [row for row in report.rows if row.state == "ignored"]
    assert all("no expert" in row.note or "reads" in row.note for row in ignored)
    assert sum(row.tensors for row in ignored) == 2 * 11 + 2 + 8 + 1
    assert "expert.layers.*.mlp.up_proj.weight" in {row.what for row in ignored}
    with pytest.raises(InputError, match="ignored"):
        plan(tmp_path, VLM, strict=True)


@pytest.mark.parametrize("layout", ["npz", "openpi"])
def test_pi0s_expert_is_not_ours(tmp_path: Path, layout: str) -> None:
    """Plain norms and other projections: backbone and vision are taken, the expert starts anew, and the report says why."""
    params = random_params(SMALL)
    path = save(params, SMALL, layout, tmp_path)
    if layout == "npz":
        arrays = {
            n: a
            for n, a in jax_tree(params, SMALL).items()
            if "Dense_0" not in n.removeprefix("PaliGemma/llm") or "img" in n
        }
        arrays |= {
            f"PaliGemma/llm/layers/pre_{n}_norm_1/scale": np.zeros((2, 20), np.float32) for n in ("attention", "ffw")
        }
        arrays |= {"state_proj/kernel": np.zeros((5, 20), np.float32)}
        np.savez(path, **cast(Any, arrays))
    else:
        file = path / "model.safetensors"
        arrays = {n: a for n, a in load_file(file).items() if "dense" not in n and "time_mlp" not in n}
        save_file(arrays | {"state_proj.weight": np.zeros((20, 5), np.float32)}, file)
    loaded, report = load(path, SMALL)
    for name in params:
        if not name.startswith("expert"):
            assert np.array_equal(loaded[name], params[name])
    assert [(r.what, r.note) for r in report.rows if r.state == "initialised"] == [("expert", PI0_WHY)]
    assert {r.note for r in report.rows if r.state == "ignored"} <= {
        "pi0's expert",
        "copy or filler: nothing reads the expert's head",
    }
    with pytest.raises(InputError, match="strict"):
        plan(path, SMALL, strict=True)


def change(folder: Path, edit: Any, **more: Any) -> Path:
    file = folder / "model.safetensors"
    arrays = load_file(file)
    edit(arrays)
    save_file({name: np.ascontiguousarray(a) for name, a in arrays.items()}, file, **more)
    return folder


NORM, Q1 = (
    spelled("paligemma", "language.norm.weight"),
    spelled("paligemma", "language.layers.1.self_attn.q_proj.weight"),
)


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda a: a.pop(Q1), r"1 of the 20 tensors of backbone are missing: language\.layers\.1\.self_attn\.q_proj"),
        (
            lambda a: a.update({Q1: a[Q1].T}),
            r"1 tensors have other shapes.*q_proj\.weight is \(40, 24\), expected \(24, 40\)",
        ),
        (lambda a: a.update({Q1: a[Q1].ravel()}), r"is \(960,\), expected \(24, 40\)"),
        (lambda a: a.update({NORM: a[NORM].astype(np.int32)}), r"norm\.weight is I32, expected one of float32"),
        (lambda a: a.update({Q1.replace(".1.", ".2."): a[Q1]}), r"this model only 2 such layers"),
        (lambda a: a.update({"model.language_model.norm.weight": a[NORM]}), r"are the same tensor"),
    ],
)
def test_what_does_not_fit_is_refused_before_reading(tmp_path: Path, edit: Any, says: str) -> None:
    folder = change(save(random_params(VLM), VLM, "paligemma", tmp_path), edit)
    with pytest.raises(InputError, match=says):
        plan(folder, VLM)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", [NORM, Q1, spelled("paligemma", "language.embed_tokens.weight")])
def test_numbers_that_are_none_are_refused(tmp_path: Path, bad: float, name: str) -> None:
    folder = change(
        save(random_params(VLM), VLM, "paligemma", tmp_path), lambda a: a[name].reshape(-1).__setitem__(3, bad)
    )
    with pytest.raises(InputError, match=rf"{name} has 1 of \d+ numbers that are NaN"):
        load(folder, VLM)


def test_a_head_of_its_own_is_refused(tmp_path: Path) -> None:
    folder = save(random_params(VLM), VLM, "paligemma", tmp_path)
    embedding = spelled("paligemma", "language.embed_tokens.weight")
    change(folder, lambda a: a.update({"lm_head.weight": a[embedding].copy()}))
    load(folder, VLM, strict=True)
    change(folder, lambda a: a["lm_head.weight"].__setitem__((3, 3), 9.0))
    with pytest.raises(InputError, match=r"lm_head\.weight is not its embedding"):
        load(folder, VLM)


def test_widths_and_depths_of_another_model(tmp_path: Path) -> None:
    path = save(random_params(SMALL), SMALL, "npz", tmp_path)
    with pytest.raises(
        InputError, match=r"action_in_proj/kernel is \(5, 20\), expected \(3, 20\).*--model\.action-dim"
    ):
        plan(path, dataclasses.replace(SMALL, action_dim=3))
    with pytest.raises(InputError, match=r"--model sizes"):
        plan(path, dataclasses.replace(SMALL, depth=1))


def test_positions_are_resampled_only_when_asked(tmp_path: Path) -> None:
    params = random_params(SMALL)
    grid = np.add.outer(np.arange(2), 10 * np.arange(2)).reshape(4, 1).astype(np.float32)
    params["vision/position"] = grid + np.zeros((4, 22), np.float32)
    folder = save(params, SMALL, "openpi", tmp_path)
    larger = dataclasses.replace(SMALL, image_size=56)
    with pytest.raises(
        InputError, match=r"is \(4, 22\), expected \(16, 22\); use its --model.image-size, or pass --weights-resample"
    ):
        plan(folder, larger)
    loaded, report = load(folder, larger, resample=True)
    ours = loaded["vision/position"].reshape(4, 4, 22)[..., 0]
    line = np.array([0.0, 0.25, 0.75, 1.0])
    np.testing.assert_allclose(ours, np.add.outer(line, 10 * line), atol=1e-5)
    assert "resampled from (4, 22) to (16, 22)" in {row.note for row in report.rows}
    npz = save(params, SMALL, "npz", tmp_path / "npz")
    np.testing.assert_array_equal(load(npz, larger, resample=True)[0]["vision/position"], loaded["vision/position"])


@pytest.mark.parametrize("keep", [0, 5, 60, -3])
def test_truncated_safetensors(tmp_path: Path, keep: int) -> None:
    file = save(random_params(VLM), VLM, "paligemma", tmp_path) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(InputError, match="not a whole safetensors file"):
        plan(tmp_path, VLM)


def test_damaged_archives(tmp_path: Path) -> None:
    file = save(random_params(SMALL), SMALL, "npz", tmp_path)
    whole = file.read_bytes()
    file.write_bytes(whole[:-40])
    with pytest.raises(InputError, match=r"not a whole \.npz"):
        plan(file, SMALL)
    middle = len(whole) // 2
    file.write_bytes(whole[:middle] + bytes(64) + whole[middle + 64 :])
    with pytest.raises(InputError, match="cannot be read"):
        load(file, SMALL)
    np.savez(file, **cast(Any, jax_tree(random_params(SMALL), SMALL) | {"time_mlp_in/bias": np.array([{}], object)}))
    with pytest.raises(InputError, match="object"):
        load(file, SMALL)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_flipped_bit_of_a_compressed_archive_is_one_line(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("npz") / "params.npz"
    np.savez_compressed(file, **cast(Any, {"img/embedding/bias": np.arange(50.0), "img/head/bias": np.ones(9)}))
    whole = bytearray(file.read_bytes())
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(whole)
    with contextlib.suppress(InputError):
        stored = open_weights(file)
        for name in stored.headers:
            stored.read(name)


def test_bfloat16_in_an_archive_is_read(tmp_path: Path) -> None:
    """numpy stores bfloat16 as two bytes without a meaning, also if big_vision saves it."""
    tree = {name: array.astype(ml_dtypes.bfloat16) for name, array in jax_tree(random_params(SMALL), SMALL).items()}
    np.savez(tmp_path / "params.npz", **cast(Any, tree))
    loaded, _ = load(tmp_path / "params.npz", SMALL, strict=True)
    for path, array in random_params(SMALL).items():
        assert np.array_equal(loaded[path], array.astype(ml_dtypes.bfloat16).astype(np.float32)), path


@pytest.mark.parametrize("damage", ["_METADATA", "array"])
def test_damaged_orbax(tmp_path: Path, damage: str) -> None:
    folder = save(random_params(SMALL), SMALL, "orbax", tmp_path) / "params"
    files = (
        [folder / "_METADATA"]
        if damage == "_METADATA"
        else [f for f in folder.rglob("*") if f.is_file() and "/d/" in str(f)]
    )
    for file in files:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(InputError, match=r"orbax|cannot be read"):
        load(tmp_path, SMALL)


def test_pickles_and_strangers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        plan(tmp_path / "nowhere", VLM)
    with pytest.raises(InputError, match="contains no checkpoint"):
        plan(tmp_path, VLM)
    for name in ("pytorch_model.bin", "model.pt"):
        (tmp_path / name).write_bytes(b"\x80\x04.")
        for path in (tmp_path / name, tmp_path):
            with pytest.raises(InputError, match=r"not read: it may hold code.*safetensors\.torch\.save_file"):
                plan(path, VLM)
    (tmp_path / "a.txt").touch()
    with pytest.raises(InputError, match="is no checkpoint"):
        plan(tmp_path / "a.txt", VLM)
    save_file({"bert.embeddings": np.zeros(3, np.float32)}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match=r"none of its 1 tensors has a name.*bert\.embeddings"):
        plan(tmp_path, VLM)
    save_file({"b": np.zeros(3, np.float32)}, tmp_path / "y.safetensors")
    with pytest.raises(InputError, match="2 safetensors files and no"):
        plan(tmp_path, VLM)


def test_each_tensor_is_read_once(tmp_path: Path) -> None:
    """Streaming: nothing reads a checkpoint twice, or what it does not use."""
    todo = plan(save(random_params(SMALL), SMALL, "openpi", tmp_path), VLM)
    asked, real = [], todo.stored.read

    def read(name: str) -> Any:
        asked.append(name)
        return real(name)

    todo.stored.read = read  # type: ignore[method-assign]
    weights.read(todo)
    assert sorted(asked) == sorted(
        n for n in todo.stored.headers if not canonical("torch", n).startswith(("expert", "action", "time"))
    )


def test_exported_file_is_safetensors(tmp_path: Path) -> None:
    """The library reads what our own writer wrote, metadata and bfloat16 included."""
    params = random_params(SMALL)
    listed, report = export.tensors(params, SMALL, "lerobot", vocab_size=64)
    with (tmp_path / "model.safetensors").open("wb") as stream:
        export.write(stream, listed, "bfloat16", export.metadata("lerobot", {"step": 3}))
    with safe_open(tmp_path / "model.safetensors", "numpy") as file:
        assert file.metadata() == {"format": "pt", "step": "3"}
    theirs = load_file(tmp_path / "model.safetensors")
    head = theirs["model.paligemma_with_expert.paligemma.lm_head.weight"]
    assert np.array_equal(head, params["backbone/embedding"][:64].astype(ml_dtypes.bfloat16))
    assert not theirs["model.paligemma_with_expert.gemma_expert.lm_head.weight"].any()
    assert sum(row.parameters for row in report.rows if row.state in ("written", "filled")) == sum(
        a.size for a in theirs.values()
    )
    notes = {row.what: row.note for row in report.rows}
    assert notes["width"] == "40, their classes build 2048"
    assert notes["backbone/embedding"] == "70 rows cut to 64"
    larger = {t.name: t for t in export.tensors(params, SMALL, "openpi", vocab_size=100)[0]}
    padded = larger["paligemma_with_expert.paligemma.lm_head.weight"].make()
    assert padded.shape == (100, 40)
    assert not padded[70:].any()


@pytest.mark.slow
def test_a_run_out_and_in_again(chain: Chain, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Train, export in each layout, start from it: the first step's losses are those of the run's own parameters."""
    from train.config import DataConfig
    from train.initial_params import initial_params
    from train.loop import run
    from train.runs.checkpoint import load_params
    from train.setup import prepare

    small = TrainConfig(
        chain.shards,
        tmp_path / "run",
        model=ModelConfig(**TINY_RUN),
        data=DataConfig(text_vocab=600),
        steps=2,
        batch_size=8,
    )
    run(small)
    config = prepare(small).model
    trained = flatten(load_params(small.out)[1])
    for layout in get_args(export.ExportLayout):
        out = tmp_path / layout
        robot = ["--embodiment", "arm"] if layout == "lerobot" else []
        exports_command.main(["--run", str(small.out), "--out", str(out), "--layout", layout, *robot])
        assert "left out" not in capsys.readouterr().out
        again = dataclasses.replace(small, out=tmp_path / "new", weights=out, weights_strict=True)
        same(flatten(jax.tree.map(np.asarray, initial_params(prepare(again)))), trained)
        with pytest.raises(InputError, match="--overwrite"):
            exports_command.main(["--run", str(small.out), "--out", str(out), "--layout", layout, *robot])
    described = json.loads((tmp_path / "lerobot" / "config.json").read_text())
    assert (described["type"], described["max_action_dim"]) == ("pi05", config.action_dim)
    from_weights = dataclasses.replace(small, out=tmp_path / "new", weights=tmp_path / "lerobot", steps=1)
    with pytest.raises(InputError, match=r"learning-rate 0\.001 is above 0\.0002, and this run starts from --weights"):
        run(from_weights)
    run(dataclasses.replace(from_weights, optim=OptimConfig(high_rate=True)))
    assert "weights from" in capsys.readouterr().out
    with pytest.raises(InputError, match="is a run; start from it with --init-from"):
        plan(small.out, config)
    with pytest.raises(InputError, match="not an export"):
        exports_command.main(["--run", str(small.out), "--out", str(small.out), "--overwrite"])
    with pytest.raises(InputError, match="exclude each other"):
        dataclasses.replace(small, weights=tmp_path, init_from=tmp_path)
    (tmp_path / "lerobot" / "text_tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"--data\.text-tokenizer"):
        prepare(dataclasses.replace(small, weights=tmp_path / "lerobot"))
