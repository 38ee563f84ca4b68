"""Reads a mixture from a YAML file. Every error names the file, the line, what is there and what would be valid.

name: tabletop_demo
index: index                 # INDEX of `fasttok-pipelines index`, relative to this file; --index overrides
tokenizer: fit               # or a tokenizer folder, relative to this file; --tokenizer overrides
chunk: {seconds: 1.0}        # or {steps: 16}
unit: samples                # what weights count
seed: 0
policy: as_given             # or proportional, weight_times_frames, temperature (with `temperature: 2`); groups may have one too
sources:
  - {dataset: tabletop_planar, weight: 3}          # action: {form: relative, rotation: 6d} for another form of its actions
  - {include: openvla/oxe_magic_soup, weight: 4}   # another mixture, a preset or a file, as a group
  - {dataset: tabletop_planar, name: about_planar, weight: 1, questions: [task, motion]}
  - group: web
    weight: 2                # relative to its siblings (an only child needs none); its members share it
    sources:
      - {dataset: tabletop_vqa, weight: 2, split: train, resize: {height: 224, width: 224, fit: pad}}
      - {dataset: tabletop_captions, weight: 1, max_epochs: 2, filters: {matches: red}, prompt: "caption: {prompt}"}
schedule:                    # a curriculum: from these samples on, other weights
  - {after: 100_000, weights: {web: 1}}
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fasttok.common.action_forms import ACTION_FORMS, ROTATION_FORMS
from fasttok.common.kinds import CAMERA_SLOTS, CameraSlot
from fasttok.common.urls import is_url
from fasttok.errors import InputError, unknown_name
from mixtures.spec import (
    FITS,
    IMAGE_FORMATS,
    POLICIES,
    QUESTIONS,
    UNITS,
    Chunk,
    CurriculumPhase,
    Group,
    ImageEncoding,
    Mixture,
    Resize,
    Source,
    SourceFilters,
    Unit,
    walk,
)
from mixtures.yaml_lines import Keys, load
from mixtures.yaml_values import CheckedValues

POLICY_KEYS = ("policy", "temperature")
MIXTURE_KEYS = (
    *("name", "description", "index", "tokenizer", "chunk", "unit", "seed", "schedule", "sources"),
    *POLICY_KEYS,
)
SOURCE_KEYS = (
    *("dataset", "weight", "split", "name", "max_epochs", "action", "chunk", "cameras", "resize", "encode", "prompt"),
    *("filters", "questions", "subtask"),
)
GROUP_KEYS = ("group", "weight", "sources", *POLICY_KEYS)
INCLUDE_KEYS = ("include", "weight", "name")
MAX_DEPTH = 8
Find = Callable[[str, Path], Path]


def read_mixture(path: Path, find: Find | None = None, within: tuple[Path, ...] = ()) -> Mixture:
    """Reads and validates a mixture file.

    Args:
        path: the file.
        find: (value of `include:`, folder of the file that has it) -> the file; None takes the value as a path.
        within: files that include this one, outermost first.

    Raises:
        InputError: the file has a mistake; names file, line, what is there and what was expected.
    """
    top = load(path)
    reader = _MixtureReader(path, find or _as_path, (*within, path.resolve()))
    reader.check_keys(top, MIXTURE_KEYS, "mixture")
    name = reader.text(top, "name", path.stem)
    tokenizer = reader.text(top, "tokenizer", "fit")
    index = reader.text(top, "index", "") or None
    unit = reader.unit(top)
    seed = top.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
        raise reader.error(top, "seed", f"seed must be an integer >= 0, got {seed!r}")
    root = reader.group(top, name, 1.0, 0)
    if not within:
        reader.check_names(top, root)
    return Mixture(
        name=name,
        description=reader.text(top, "description", ""),
        index=_resolve(path, index),
        tokenizer=tokenizer if tokenizer == "fit" else str(_resolve(path, tokenizer)),
        chunk=reader.chunk(top) or Chunk(seconds=1.0),
        unit=unit,
        seed=seed,
        root=root,
        schedule=reader.schedule(top, root),
    )


class _MixtureReader(CheckedValues):
    """Turns `Keys` into dataclasses."""

    def __init__(self, path: Path, find: Find, within: tuple[Path, ...]) -> None:
        super().__init__(path)
        self.find, self.within = find, within

    def unit(self, top: Keys) -> Unit:
        said = self.text(top, "unit", "samples")
        for unit in UNITS:
            if unit == said:
                return unit
        raise self.error(top, "unit", f"{unknown_name('unit', said, UNITS)}: weights are shares of samples drawn")

    def check_names(self, top: Keys, root: Group) -> None:
        names = Counter(source.name for _, source in walk(root))
        for name, count in names.items():
            if count > 1:
                raise self.error(top, "sources", f"source {name!r} appears twice; give one of them another `name:`")

    def chunk(self, keys: Keys) -> Chunk | None:
        if "chunk" not in keys:
            return None
        value = keys["chunk"]
        if not isinstance(value, Keys) or len(value) != 1:
            raise self.error(keys, "chunk", f"chunk must be {{seconds: S}} or {{steps: N}}, got {value!r}")
        self.check_keys(value, ("seconds", "steps"), "chunk")
        if "seconds" in value:
            return Chunk(seconds=self.positive(value, "seconds", value["seconds"]))
        return Chunk(steps=self.whole(value, "steps", 1))

    def group(self, keys: Keys, name: str, weight: float, depth: int) -> Group:
        """Reads the members of one `sources:` list, and the policy that turns them into shares."""
        items = keys.get("sources")
        if not isinstance(items, list) or not items:
            raise self.error(keys, "sources", f"sources must be a list with at least one source, got {items!r}")
        if depth > MAX_DEPTH:
            raise self.error(keys, "sources", f"groups are nested deeper than {MAX_DEPTH}")
        policy = self.choice(keys, "policy", POLICIES, "as_given")
        if ("temperature" in keys) != (policy == "temperature"):
            raise self.error(keys, "temperature" if "temperature" in keys else "policy",
                             "policy: temperature and `temperature: T` go together")  # fmt: skip
        temperature = self.positive(keys, "temperature", keys["temperature"]) if "temperature" in keys else 1.0
        shell = Group(name, (), weight, policy, temperature)
        members = tuple(self.member(item, keys, shell, len(items), depth) for item in items)
        return replace(shell, members=members)

    def member(self, item: object, keys: Keys, group: Group, siblings: int, depth: int) -> Group | Source:
        if not isinstance(item, Keys):
            raise self.error(keys, "sources", f"a source is {{dataset: NAME, weight: W}}, got {item!r}")
        kinds = [kind for kind in ("dataset", "group", "include") if kind in item]
        if len(kinds) != 1:
            raise self.error(
                item, None, "a source has either `dataset:` or `group:` (with its own `sources:`) or `include:`"
            )
        kind = kinds[0]
        known = {"dataset": SOURCE_KEYS, "group": GROUP_KEYS, "include": INCLUDE_KEYS}[kind]
        self.check_keys(item, known, "source" if kind == "dataset" else kind)
        if "weight" in item and not group.weighted:
            raise self.error(
                item,
                "weight",
                f"`weight` has no effect under policy `{group.policy}`, which weights by dataset size; remove it",
            )
        if "weight" not in item and group.weighted and siblings > 1:
            raise self.error(item, None, "weight is missing; it is relative to the siblings, so 1 is a good start")
        weight = self.positive(item, "weight", item.get("weight", 1))
        if kind == "group":
            return self.group(item, self.own_name(item, "group"), weight, depth + 1)
        return self.include(item, weight) if kind == "include" else self.source(item, weight)

    def include(self, item: Keys, weight: float) -> Group:
        """Reads another mixture's tree as a group. Its sources keep the chunk that their own file asks for."""
        said = self.text(item, "include", "")
        try:
            path = self.find(said, self.path.parent)
        except InputError as error:
            raise self.error(item, "include", str(error)) from None
        if path.resolve() in self.within or len(self.within) > MAX_DEPTH:
            raise self.error(item, "include", f"{said} includes this file again; a mixture cannot contain itself")
        other = read_mixture(path, self.find, self.within)
        if other.schedule:
            raise self.error(item, "include", f"{said} has a schedule; only the outermost mixture may have one")
        chunk = other.chunk if "chunk" in load(path) else None
        return replace(_with_chunk(other.root, chunk), name=self.own_name(item, "name", other.name), weight=weight)

    def own_name(self, item: Keys, key: str, default: str = "") -> str:
        """Reads the name of a source or group, which is printed in tables and stored in every row."""
        name = self.filled(item, key) if key in item else default
        if not name.isprintable():
            raise self.error(item, key, f"{key} is {name!r}, expected a text of one line without control characters")
        return name

    def source(self, item: Keys, weight: float) -> Source:
        dataset = self.text(item, "dataset", "")
        most = item.get("max_epochs")
        action = self.mapping(item, "action", ("form", "rotation"), "{form: relative, rotation: 6d} or one of these")
        action = action or Keys()
        return Source(
            name=self.own_name(item, "name", dataset),
            dataset=dataset,
            split=self.text(item, "split", "train"),
            weight=weight,
            max_epochs=None if most is None else self.positive(item, "max_epochs", most),
            form=self.choice(action, "form", ACTION_FORMS, "stored"),
            rotation=self.choice(action, "rotation", ROTATION_FORMS, "stored"),
            chunk=self.chunk(item),
            cameras=self.cameras(item),
            resize=self.resize(item),
            encode=self.encode(item),
            prompts=self.prompts(item),
            filters=self.filters(item),
            questions=self.names(item, "questions", QUESTIONS) if "questions" in item else (),
            subtask=self.flag(item, "subtask"),
            where=f"{self.path}: line {item.line}",
        )

    def cameras(self, item: Keys) -> tuple[tuple[CameraSlot, CameraSlot], ...] | None:
        value = item.get("cameras")
        if value is None:
            return None
        pairs = tuple(value.items()) if isinstance(value, dict) else ()
        if isinstance(value, list):
            pairs = tuple((slot, slot) for slot in self.names(item, "cameras", CAMERA_SLOTS))
        if not pairs:
            raise self.error(item, "cameras", f"cameras must be [primary, wrist] or {{primary: wrist}}, got {value!r}")
        for slot in (slot for pair in pairs for slot in pair):
            if slot not in CAMERA_SLOTS:
                raise self.error(item, "cameras", str(unknown_name("camera slot", str(slot), CAMERA_SLOTS)))
        return pairs

    def resize(self, item: Keys) -> Resize | None:
        example = "{height: 224, width: 224} with fit: inside, pad or stretch"
        value = self.mapping(item, "resize", ("height", "width", "fit", "quality"), example)
        if value is None:
            return None
        for key in ("height", "width"):
            if key not in value:
                raise self.error(value, None, f"{key} is missing; resize must be {example}")
        quality = self.whole(value, "quality", 1, 100) if "quality" in value else Resize.quality
        height, width = (self.whole(value, key, 1, 8192) for key in ("height", "width"))
        return Resize(height, width, self.choice(value, "fit", FITS, Resize.fit), quality)

    def encode(self, item: Keys) -> ImageEncoding | None:
        value = self.mapping(item, "encode", ("format", "quality"), "{format: webp, quality: 90}")
        if value is None:
            return None
        chosen = self.choice(value, "format", IMAGE_FORMATS, ImageEncoding.format)
        if chosen == "png" and "quality" in value:
            raise self.error(value, "quality", "quality is of jpeg and webp; png keeps every pixel")
        quality = self.whole(value, "quality", 1, 100) if "quality" in value else ImageEncoding.quality
        return ImageEncoding(chosen, quality)

    def prompts(self, item: Keys) -> tuple[str, ...]:
        value = item.get("prompt", [])
        templates = [value] if isinstance(value, str) else value
        if not isinstance(templates, list) or not all(isinstance(t, str) for t in templates):
            raise self.error(item, "prompt", f"prompt must be a text or a list of texts, got {value!r}")
        for template in templates:
            if set(template.replace("{prompt}", "")) & set("{}"):
                raise self.error(item, "prompt", f"the only field of a template is {{prompt}}, got {template!r}")
        return tuple(templates)

    def filters(self, item: Keys) -> SourceFilters:
        known = tuple(SourceFilters.__dataclass_fields__)
        value = self.mapping(item, "filters", known, "such as {min_steps: 10, matches: block}")
        if value is None:
            return SourceFilters()
        numbers = {k: self.whole(value, k, 1) for k in ("min_steps", "max_steps", "records") if k in value}
        patterns = {k: self.text(value, k, "") for k in ("matches", "excludes") if k in value}
        cameras = self.names(value, "cameras", CAMERA_SLOTS) if "cameras" in value else ()
        if numbers.get("min_steps", 1) > numbers.get("max_steps", numbers.get("min_steps", 1)):
            raise self.error(value, "max_steps", "max_steps is less than min_steps: no episode passes")
        return SourceFilters(
            min_steps=numbers.get("min_steps"),
            max_steps=numbers.get("max_steps"),
            language=self.flag(value, "language"),
            matches=patterns.get("matches"),
            excludes=patterns.get("excludes"),
            cameras=cameras,
            part=self.part(value),
            records=numbers.get("records"),
        )

    def part(self, item: Keys) -> tuple[float, float] | None:
        if "part" not in item:
            return None
        ends = item["part"]
        numeric = isinstance(ends, list) and len(ends) == 2 and all(type(x) in (int, float) for x in ends)
        if not numeric or not 0 <= ends[0] < ends[1] <= 1:
            raise self.error(item, "part", f"part is [low, high] with 0 <= low < high <= 1, got {ends!r}")
        return float(ends[0]), float(ends[1])

    def schedule(self, top: Keys, root: Group) -> tuple[CurriculumPhase, ...]:
        items = top.get("schedule", [])
        if not isinstance(items, list):
            raise self.error(
                top, "schedule", f"schedule must be a list of {{after: N, weights: {{...}}}}, got {items!r}"
            )
        parents = _parents(root)
        phases: list[CurriculumPhase] = []
        for item in items:
            if not isinstance(item, Keys) or set(item) != {"after", "weights"} or not isinstance(item["weights"], Keys):
                where = item if isinstance(item, Keys) else top
                raise self.error(where, None, f"a phase is {{after: SAMPLES, weights: {{NAME: W}}}}, got {item!r}")
            after = self.whole(item, "after", phases[-1].after + 1 if phases else 0)
            weights: Keys = item["weights"]
            for name, weight in weights.items():
                if name not in parents:
                    raise self.error(weights, name, str(unknown_name("source or group", name, parents)))
                if len(parents[name]) > 1:
                    raise self.error(weights, name, f"{len(parents[name])} sources and groups are called {name!r}")
                if not parents[name][0].weighted:
                    raise self.error(weights, name, f"{name!r} has no weight: its policy is {parents[name][0].policy}")
                if weight != 0 or isinstance(weight, bool):
                    self.positive(weights, name, weight)
            phases.append(CurriculumPhase(after, tuple((name, float(weight)) for name, weight in weights.items())))
        if phases and phases[0].after:
            phases.insert(0, CurriculumPhase(0, ()))
        return tuple(phases)


def _with_chunk(node: Group, chunk: Chunk | None) -> Group:
    """Returns the tree with this chunk for every source that has none of its own."""
    members = [
        _with_chunk(member, chunk) if isinstance(member, Group) else replace(member, chunk=member.chunk or chunk)
        for member in node.members
    ]
    return replace(node, members=tuple(members))


def _parents(group: Group) -> dict[str, list[Group]]:
    """Returns name of each node below a group -> the groups that contain nodes of this name."""
    found: dict[str, list[Group]] = {}
    for member in group.members:
        found.setdefault(member.name, []).append(group)
        if isinstance(member, Group):
            for name, parents in _parents(member).items():
                found.setdefault(name, []).extend(parents)
    return found


def _as_path(said: str, folder: Path) -> Path:
    path = folder / said
    if not path.is_file():
        raise InputError(f"include: {path} does not exist")
    return path


def _resolve(path: Path, value: str | None) -> str | None:
    """Resolves a place named in a mixture file: URLs and absolute paths stay as they are, others are relative to the file."""
    if value is None or is_url(value) or Path(value).is_absolute():
        return value
    return str(path.parent / value)
