r"""lerobot's layout for pi0-FAST: the files that its PI0FastPolicy and its processor factory load.

It is for runs that only write FAST tokens.

    config.json                   PI0FastConfig (`train.exports.pi0_fast_config`)
    model.safetensors             vision and backbone, openpi's names under "model."; FAST rows where lerobot looks for them
    policy_preprocessor.json, policy_postprocessor.json, and their states
    text_tokenizer/               the run's text tokenizer, with a name for every row of the embedding
    action_tokenizer/             its FAST tokenizer, with a processor for AutoProcessor

Source: lerobot 0.6.1, policies/pi0_fast. It makes the prompt `<bos>Task: {task}, State: {state};\n`, appends another <bos>, and
lets the model write `Action: `, FAST tokens and `|`. The prompts of our runs already end with `Action: ` (`train.tokens`). So the
exported tokenizer appends `Action:` to each prompt, and the token that it calls <bos> is the last token of our prompt, the space
after `Action:`.
"""

import dataclasses
import inspect
import json
import tempfile
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, normalizers

from fasttok.errors import InputError
from train.acting.robots import Robot
from train.exports import action_processor
from train.exports.layout import Flat, Layout, LayoutFiles, check_acts
from train.exports.lerobot import prompt_rewrite
from train.exports.lerobot_config import TOKENIZER_LENGTH, inputs, outputs
from train.exports.lerobot_limits import of_grippers, of_images, of_numbers, of_prompts, of_subtasks
from train.exports.lerobot_processors import (
    BATCH,
    DEVICE,
    POST,
    PRE,
    RENAME,
    LerobotStep,
    normalizer,
    processor_files,
    robot_quantiles,
    tokenizer,
)
from train.exports.lerobot_stats import reads_state
from train.exports.pi0_fast_config import Pi0FastConfig
from train.exports.source import ExportSource
from train.exports.tensor_file import TensorToWrite
from train.exports.tensors import THEIR_VOCAB, differences, tensors
from train.exports.transformers_tokenizer import TOKENIZER_FOLDER, tokenizer_files
from train.tokens import END_OF_ACTION, robot_prompt
from train.weights.layouts import EXPERT_HEAD
from train.weights.matching import EMBEDDING, ReportRow, WeightsReport

ACTION_FOLDER = "action_tokenizer"
CODE = "processing_fasttok"
SKIP = 128
"""Number of rows after the FAST ids, as in lerobot and openpi for PaliGemma."""
STATE_PROMPT = LerobotStep("pi0_fast_prepare_state_tokenizer_processor_step", {})
PROMPT_END, OUR_END = r";\n\z", ";\nAction: "


def is_pi0_fast(source: ExportSource) -> bool:
    """Returns whether a run writes FAST tokens and has no other way to act."""
    return not source.config.model.flow and source.config.data.discrete == "fast"


def check(source: ExportSource) -> None:
    """Checks that lerobot's pi0-FAST would act as the run does.

    Raises:
        InputError: the run has another form of the state; several robots of which none is chosen; no cameras; actions or tokens
            that lerobot cannot bring back to raw units; a text tokenizer that does not fit lerobot's code; or a vocabulary that
            does not fit into that of the file.
    """
    where, instead = source.where, "serve the run with fasttok-serve, or use --layout fasttok"
    check_acts(source)
    if source.config.model.state != "text":
        raise InputError(
            f"{where} reads the state as {source.config.model.state} (--model.state), lerobot's pi0-FAST as text; {instead}"
        )
    robot = source.robot()
    if not robot.cameras:
        raise InputError(f"{robot.embodiment} has no camera in {where}, and lerobot's pi0-FAST needs one; {instead}")
    if robot.representation is not None:
        raise InputError(
            f"{where}: the actions of {robot.embodiment} are represented as {robot.representation.name}; lerobot's pi0-FAST "
            f"would bring each back with the newest state, not with that of its chunk's beginning; {instead}"
        )
    channels = source.tok.channels(source.tok.embodiment_argument(robot.embodiment))
    if not dataclasses.replace(channels, stats=None).plain:
        raise InputError(
            f"{where}: the tokenizer of {robot.embodiment} has a gain, a gripper of two values, or relative dims, which "
            f"lerobot's decoding does not know; {instead}"
        )
    if source.tok.transforms:
        raise InputError(
            f"{where}: its tokenizer turns chunks into coefficients by another transform than the DCT, which is the one that "
            f"lerobot's decoding knows; {instead}, or train with a tokenizer of `fasttok fit --transform dct`"
        )
    _check_text(source, instead)
    needed = source.encoder.placement.size + (SKIP if source.encoder.placement.skip is None else 0)
    if needed > _size(source):
        raise InputError(
            f"{where}: {source.encoder.text.size} text tokens, {source.tok.vocab_size} FAST ids and {SKIP} rows behind "
            f"them do not fit into {_size(source)} rows (lerobot builds {THEIR_VOCAB}); {instead}"
        )


def _check_text(source: ExportSource, instead: str) -> None:
    """Checks that a text tokenizer fits lerobot's code.

    Raises:
        InputError: the end of a chunk is not the one token that lerobot looks for, or no names can be added to the vocabulary.
    """
    text = source.encoder.text
    if [text.tokenizer.token_to_id(END_OF_ACTION)] != text.end_of_action:
        raise InputError(
            f"{source.where}: its text tokenizer ends a chunk with {text.end_of_action}, and lerobot looks for the one token "
            f"{END_OF_ACTION!r} ({text.tokenizer.token_to_id(END_OF_ACTION)}); {instead}"
        )
    if not isinstance(json.loads(text.tokenizer.to_str())["model"].get("vocab"), dict):
        raise InputError(
            f"{source.where}: its text tokenizer is a {type(text.tokenizer.model).__name__}, whose vocabulary has no place for "
            f"names of FAST ids, which lerobot needs; {instead}"
        )


def files(source: ExportSource) -> LayoutFiles:
    """Returns all files except the weights, and what they cannot express."""
    robot = source.robot()
    config = pi0_fast_config(source, robot)
    quantiles = robot_quantiles(source, robot)
    into = [
        RENAME,
        BATCH,
        normalizer("normalizer_processor", config.input_features | config.output_features, quantiles),
        STATE_PROMPT,
        tokenizer(config.text_tokenizer_name, config.tokenizer_max_length),
        DEVICE,
    ]
    back = [normalizer("unnormalizer_processor", config.output_features, quantiles), DEVICE]
    return LayoutFiles(
        {"config.json": config.text()}
        | processor_files(PRE, into)
        | processor_files(POST, back)
        | _text_files(source, robot, config)
        | _action_files(source),
        _limits(source, robot, config.tokenizer_max_length),
        f"lerobot finds both tokenizers in {source.folder}, from any folder. If DIR moves, change them in its config.json, and "
        "give make_pre_post_processors:\n"
        f'  preprocessor_overrides={{"tokenizer_processor": {{"tokenizer_name": "NEW_DIR/{TOKENIZER_FOLDER}"}}}}',
    )


def pi0_fast_config(source: ExportSource, robot: Robot) -> Pi0FastConfig:
    """Returns config.json for one robot."""
    model = source.config.model
    longest = source.tok.completions(
        robot.horizon, robot.action_dim, source.tok.embodiment_argument(robot.embodiment)
    ).most
    return Pi0FastConfig(
        input_features=inputs(robot, model),
        output_features=outputs(robot),
        dtype=source.dtype,
        chunk_size=robot.horizon,
        n_action_steps=robot.horizon,
        max_action_dim=robot.action_dim,
        max_action_tokens=longest + 1,
        max_decoding_steps=longest + 1,
        action_feature_names=robot.action_names,
        image_resolution=(model.image_size, model.image_size),
        tokenizer_max_length=max(TOKENIZER_LENGTH, source.config.data.text_length),
        text_tokenizer_name=f"{source.folder}/{TOKENIZER_FOLDER}",
        action_tokenizer_name=f"{source.folder}/{ACTION_FOLDER}",
        fast_skip_tokens=_names(source)[1] - 1 - int(_rows(source)[0]),
    )


def robot_tensors(flat: Flat, source: ExportSource) -> tuple[list[TensorToWrite], WeightsReport]:
    """Returns the tensors of vision and backbone, with the rows of FAST ids where lerobot looks for them."""
    ours, text = np.asarray(flat[EMBEDDING]), source.encoder.text.size
    place, count = source.encoder.placement, np.arange(source.tok.vocab_size)
    table = np.zeros((_size(source), ours.shape[1]), ours.dtype)
    table[:text] = ours[:text]
    table[_rows(source)] = ours[place.place(count)]
    config = dataclasses.replace(source.config.model, vocab_size=_size(source))
    listed, report = tensors({**flat, EMBEDDING: table}, config, "lerobot")
    head = next(
        one.name for one in listed if one.name.endswith(EXPERT_HEAD.removeprefix("expert_")) and "expert.lm" in one.name
    )
    rows = [row for row in report.rows if row.what != head and not row.what.startswith("expert_")]
    if place.skip is None:
        unused = _size(source) - ours.shape[0]
        note = f"FAST ids count down from row {int(_rows(source)[0])}; {unused:,} rows of no token are zeros"
        rows.append(ReportRow("differs", EMBEDDING, 0, 0, note))
    return [one for one in listed if one.name != head], WeightsReport(report.title, tuple(rows))


def trained_rows(source: ExportSource) -> int:
    """Returns how many rows, from the first on, are where they were in training.

    These are all rows; or only the text's, if the FAST ids had rows of their own after it.
    """
    return source.config.model.vocab_size if source.encoder.placement.skip is not None else source.encoder.text.size


def _size(source: ExportSource) -> int:
    """Returns the number of rows of the embedding in the file."""
    return source.vocab_size or THEIR_VOCAB


def _rows(source: ExportSource) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """Returns the row of each FAST id in lerobot's embedding.

    FAST ids that already count down in the run's vocabulary keep their rows; others get those of lerobot's default.
    """
    ids = np.arange(source.tok.vocab_size)
    place = source.encoder.placement
    return np.asarray(place.place(ids) if place.skip is not None else _size(source) - 1 - SKIP - ids, np.int64)


def _names(source: ExportSource) -> tuple[dict[str, int], int]:
    """Returns names for the rows that have none in the text tokenizer, and the size of its vocabulary with these names.

    lerobot turns tokens into their names and back, so each row that the model can choose needs a name. The size does not count
    added tokens.
    """
    text = source.encoder.text.tokenizer
    known, taken = text.get_vocab(with_added_tokens=True), set(text.get_vocab(with_added_tokens=True).values())
    actions = (
        {} if source.encoder.placement.skip is not None else {row: i for i, row in enumerate(_rows(source).tolist())}
    )
    named = {
        f"<action_{actions[row]}>" if row in actions else f"<row_{row}>": row
        for row in range(_size(source))
        if row not in taken
    }
    twice = [name for name in named if name in known]
    if twice:
        raise InputError(f"the text tokenizer has a token {twice[0]} already, which the export would add; rename it")
    return named, text.get_vocab_size(with_added_tokens=False) + len(named)


def _text_files(source: ExportSource, robot: Robot, config: Pi0FastConfig) -> dict[str, bytes]:
    """Returns the files of the text tokenizer, which turns lerobot's prompt into ours."""
    ours = source.encoder.text
    [whole] = ours.encode([robot_prompt("x", "0")])
    last = whole[-1]
    written = tokenizer_files(ours, config.tokenizer_max_length)
    own = Tokenizer.from_str(written[f"{TOKENIZER_FOLDER}/tokenizer.json"].decode())
    rewrite = prompt_rewrite(source, robot)
    steps = [normalizers.Replace(Regex(PROMPT_END), OUR_END)]
    steps += [normalizers.Replace(Regex(rewrite.pattern), rewrite.text)] if rewrite is not None else []
    steps.append(normalizers.Replace(Regex(rf"{OUR_END[-1]}\z"), ""))
    own.normalizer = normalizers.Sequence([*steps, *([own.normalizer] if own.normalizer is not None else [])])
    read = Tokenizer.from_str(own.to_str())
    read.add_special_tokens([ours.tokenizer.id_to_token(last)])  # as transformers does with the <bos> token
    for task, state in (("x", "0"), ("put the cup on the plate", "-1 128 255")):
        theirs = read.encode(f"Task: {task}, State: {state};\n").ids
        control = source.encoder.control.get(robot.embodiment, "")
        prompt = robot_prompt(task, state if reads_state(source, robot) else "", control=control)
        if [*theirs, last] != [ours.bos, *ours.encode([prompt])[0]]:
            raise InputError(
                f"{source.where}: its text tokenizer cuts prompts otherwise where they end in 'Action:' without the space, so "
                "lerobot would read other tokens; serve the run with fasttok-serve"
            )
    data = json.loads(own.to_str())
    data["model"]["vocab"].update(_names(source)[0])
    said = json.loads(written[f"{TOKENIZER_FOLDER}/tokenizer_config.json"])
    said["bos_token"] = ours.tokenizer.id_to_token(last)
    return {
        f"{TOKENIZER_FOLDER}/tokenizer.json": json.dumps(data, ensure_ascii=False).encode(),
        f"{TOKENIZER_FOLDER}/tokenizer_config.json": (json.dumps(said, indent=2) + "\n").encode(),
    }


def _action_files(source: ExportSource) -> dict[str, bytes]:
    """Returns the files of the FAST tokenizer and the code that loads it."""
    with tempfile.TemporaryDirectory() as folder:
        source.tok.save(Path(folder) / "tok")
        found = {
            f"{ACTION_FOLDER}/{file.relative_to(Path(folder) / 'tok')}": file.read_bytes()
            for file in (Path(folder) / "tok").rglob("*")
            if file.is_file()
        }
    name = f"{ACTION_FOLDER}/processor_config.json"
    said = json.loads(found[name])
    said["processor_class"] = action_processor.ActionProcessor.__name__
    said["auto_map"] = {"AutoProcessor": f"{CODE}.{action_processor.ActionProcessor.__name__}"}
    found[name] = (json.dumps(said, indent=2) + "\n").encode()
    return found | {f"{ACTION_FOLDER}/{CODE}.py": inspect.getsource(action_processor).encode()}


def _limits(source: ExportSource, robot: Robot, length: int) -> tuple[str, ...]:
    """Lists everything that lerobot's files cannot express."""
    model = source.config.model  # lerobot's pi0.5 builds any number of patches, its pi0-FAST only those of 224 x 224
    wrong = {name: note for name, note in differences(model, _size(source)).items() if not name.startswith("expert_")}
    said = []
    if wrong:
        sizes = ", ".join(f"{name} {note.replace(', their classes build', ', not')}" for name, note in wrong.items())
        said.append(
            f"a model of other sizes than PaliGemma's ({sizes}). lerobot loads config.json and both processors, but "
            "PI0FastPolicy.from_pretrained cannot take the weights: it prints a warning and goes on with random ones. Run the "
            "policy with fasttok-serve, or in a lerobot whose table of sizes is changed"
        )
    if source.encoder.placement.size < _size(source):
        said.append(
            "a vocabulary that is not PaliGemma's: rows of no token are zeros, which a sampling policy may draw; under "
            "fasttok.logits_mask none is"
        )
    said += [*of_numbers(source, robot), *of_subtasks(source, robot)]
    said += [*of_prompts(robot, "lerobot"), *of_grippers(robot, "lerobot"), *of_images(source, robot)]
    return (
        *said,
        "chunks that are whole whatever the model writes: lerobot fills up, cuts or zeroes others. fasttok.logits_mask keeps "
        "them whole",
        "training by lerobot: it would put 'Action: ' behind the prompt once more, so the processor that makes its training "
        "tokens is left out",
        f"prompts of more than {length} tokens: lerobot cuts them at their end, and says nothing",
    )


LAYOUT = Layout(check=check, files=files, tensors=robot_tensors, trained_rows=trained_rows)
