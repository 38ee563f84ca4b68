"""Frames of openpi's protocol: what is packed comes back, the bytes are openpi-client's, and no damaged frame does harm."""

import tracemalloc
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fasttok.errors import InputError
from fasttok.packed_arrays import DTYPES, MOST_BYTES, MOST_VALUES, pack, unpack, unpack_map

# What openpi-client 0.1.2's Packer makes of MESSAGE (tests/interop/test_openpi_client.py asks the client itself).
RECORDED = bytes.fromhex(
    "86b16f62736572766174696f6e2f696d61676584c40b5f5f6e6461727261795f5fc3c40464617461c40c000102030405060708090a0bc4"
    "056474797065a37c7531c405736861706593020203a5737461746584c40b5f5f6e6461727261795f5fc3c40464617461c4083f000000bf"
    "800000c4056474797065a33e6634c40573686170659102a16b83c40d5f5f6e7067656e657269635f5fc3c40464617461cb400000000000"
    "0000c4056474797065a33c6634a26f6b83c40d5f5f6e7067656e657269635f5fc3c40464617461c3c4056474797065a37c6231a670726f"
    "6d7074a76472c3bc636b65a16e9501fec0cb400400000000000081a161cb3ff0000000000000"
)
MESSAGE: dict[str, Any] = {
    "observation/image": np.arange(12, dtype=np.uint8).reshape(2, 2, 3),
    "state": np.array([0.5, -1.0], ">f4"),
    "k": np.float32(2.0),
    "ok": np.bool_(True),
    "prompt": "drücke",
    "n": [1, -2, None, 2.5, {"a": np.float64(1.0)}],
}

NUMBERS = st.sampled_from(sorted({dtype.str for dtype in DTYPES.values()})).map(np.dtype)
ARRAYS = NUMBERS.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0)))
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=40)
    | st.binary(max_size=40)
    | ARRAYS
    | NUMBERS.filter(lambda dtype: dtype.isnative).flatmap(hnp.from_dtype)
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)


def same(a: Any, b: Any) -> bool:
    """Equal to the bit, types of numpy included."""
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and (a.dtype.str, a.shape, a.tobytes()) == (b.dtype.str, b.shape, b.tobytes())
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):  # np.float64 is a float, and travels as one
        return isinstance(b, float) and np.array_equal(a, b, equal_nan=True)
    if isinstance(a, np.floating):
        return type(a) is type(b) and np.array_equal(a, b, equal_nan=True)
    return type(a) is type(b) and a == b


def packed(**fields: Any) -> bytes:
    """A frame {"x": an array}, of whatever fields."""
    array = {b"__ndarray__": True, b"data": bytes(8), b"dtype": "<f4", b"shape": [2]}
    return msgpack.packb({"x": array | {name.encode(): value for name, value in fields.items()}})


@given(VALUES)
def test_what_is_packed_comes_back(value: Any) -> None:
    assert same(value, unpack(pack(value)))


def test_the_bytes_are_those_of_openpi_client() -> None:
    assert pack(MESSAGE) == RECORDED
    assert same(unpack(RECORDED), MESSAGE)


def test_arrays_are_views_of_the_frame_and_cannot_be_written() -> None:
    frame = bytearray(pack({"a": np.zeros((4, 4, 3), np.uint8), "pad": "xyz", "b": np.ones(3, np.float64)}))
    seen = unpack_map(frame)
    for name in ("a", "b"):
        array = seen[name]
        assert isinstance(array, np.ndarray)
        assert array.flags.aligned
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    assert np.shares_memory(seen["a"], np.frombuffer(frame, np.uint8))


def test_strided_and_subclassed_arrays_are_packed_in_order() -> None:
    array = np.arange(24).reshape(4, 6)[::2, ::-3]
    assert same(unpack(pack(array)), np.ascontiguousarray(array))
    assert same(unpack(pack(np.asfortranarray(array))), np.ascontiguousarray(array))
    assert same(unpack(pack((1, "a"))), [1, "a"])


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"a": {"b": [0, np.array(["x"], object)]}}, r"message\['a'\]\['b'\]\[1\] is an array of dtype object"),
        ({"a": np.zeros(2, "V3")}, r"message\['a'\] is an array of dtype \|V3"),
        ({"a": np.zeros(2, "M8[s]")}, r"dtype datetime64\[s\]; expected bool"),
        ({"a": np.array(["push"])}, "send text as str"),
        ({"a": np.zeros(2, complex)}, "dtype complex128"),
        ({"a": np.zeros(2, [("b", "f4")])}, "dtype"),
        ({3: "a"}, "the key 3; expected keys that are texts"),
        ({"a": {1, 2}}, r"message\['a'\] is of type set"),
        ({"a": 2**64}, "integers of 64 bits"),
        ({"a": "\ud800"}, "valid text"),
    ],
)
def test_what_cannot_be_packed_is_named(value: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        pack(value)


def test_what_holds_itself_is_too_deep() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(InputError, match="nested too deep"):
        pack(loop)


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (packed(dtype="O"), "message\\['x'\\] is an array of dtype 'O'"),
        (packed(dtype="|O8"), "dtype"),
        (packed(dtype="V4"), "dtype"),
        (packed(dtype="<M8[s]"), "dtype"),
        (packed(dtype="<U2"), "dtype"),
        (packed(dtype="<c8"), "dtype"),
        (packed(dtype="f4,f4"), "dtype"),
        (packed(dtype="(1000000000,1000000000)f4"), "dtype"),
        (packed(dtype=["f4"]), "dtype"),
        (packed(dtype=None), "dtype None"),
        (packed(shape=[3]), "is 8 bytes; expected 12 for the shape"),
        (packed(shape=[-2]), "integers of 0 or more"),
        (packed(shape=[-1, -2]), "integers of 0 or more"),
        (packed(shape=[2.0]), "integers of 0 or more"),
        (packed(shape=[True, True]), "integers of 0 or more"),
        (packed(shape="2"), "integers of 0 or more"),
        (packed(shape=2), "integers of 0 or more"),
        (packed(shape=[2**62, 2**62]), "elements"),
        (packed(shape=[0, 2**62], data=b""), "elements"),
        (packed(shape=[1] * 9), "9 dimensions"),
        (packed(data="01234567"), "whose data is a text"),
        (packed(data=[0, 0]), "whose data is a list"),
        (packed(__ndarray__=1), "byte keys"),
        (packed(more=1), "byte keys"),
        (packed(nd=True), "byte keys"),
        (msgpack.packb({"x": {b"data": b"", b"dtype": "u1"}}), "byte keys"),
        (msgpack.packb({b"x": 1}), "byte keys"),
        (msgpack.packb({"x": 1, b"y": 1}), "keys that are texts"),
        (msgpack.packb({1: 1}), "keys that are texts"),
        (msgpack.packb({None: 1}), "keys that are texts"),
        (b"\x81\x90\x01", "nested too deep|keys"),
        (msgpack.packb({"x": {b"__npgeneric__": True, b"data": 300, b"dtype": "u1"}}), "0 to 255"),
        (msgpack.packb({"x": {b"__npgeneric__": True, b"data": "a", b"dtype": "f4"}}), "whose data is a text"),
        (msgpack.packb({"x": {b"__npgeneric__": True, b"data": b"\0\0\0\0", b"dtype": "f4"}}), "whose data is bytes"),
        (b"\x82\xa1a\x01\xa1a\x02", "'a' twice"),
        (
            msgpack.packb({"a": {"b" * 1001: 1}}),
            r"message\['a'\] is a map with a key of 1,001 characters; expected at most",
        ),
        (pack({"a": 1}) + b"\x00", "ends after 4 bytes, but 5 came"),
        (b"", "cut"),
        (b"\xc1", "type 0xc1"),
        (msgpack.packb(msgpack.ExtType(5, b"abc")), "extension types"),
        (msgpack.packb(msgpack.Timestamp(1)), "extension types"),
        (b"\xdd\xff\xff\xff\xff", "cut"),
        (b"\xdf\xff\xff\xff\xff", "cut"),
        (b"\xc6\xff\xff\xff\xff", "cut"),
        (b"\xdb\xff\xff\xff\xffabc", "cut"),
        (b"\xa2\xff\xff", "not UTF-8"),
        (b"\x91" * 1000 + b"\x01", "nested too deep"),
        (b"\x81\xa1a" * 40 + b"\x01", "nested too deep"),
        (msgpack.packb([0] * (MOST_VALUES + 1)), "send numbers as an array"),
        (msgpack.packb([[0] * 1000] * 101), "send numbers as an array"),
    ],
)
def test_a_wrong_frame_is_refused(frame: bytes, says: str) -> None:
    with pytest.raises(InputError, match=says) as error:
        unpack(frame)
    assert len(str(error.value)) < 400


def test_only_maps_are_messages_and_long_frames_are_not_read() -> None:
    wrong: list[tuple[Any, str]] = [
        ([1], "is a list"), ("a", "is a text"), (np.zeros(2), "ndarray"), (3, "type int"),
    ]  # fmt: skip
    for value, says in wrong:
        with pytest.raises(InputError, match=says):
            unpack_map(pack(value))
    with pytest.raises(InputError, match="has 9 bytes; expected at most 8"):
        unpack(bytes(9), max_bytes=8)
    assert MOST_BYTES == 64 * 2**20


def test_damaged_frames_are_refused_or_read_in_little_memory() -> None:
    """Cut, with changed, dropped or added bytes: InputError or a value, and no more memory than the frame is worth."""
    rng = np.random.default_rng(5)
    image = rng.integers(0, 256, (64, 64, 3), np.uint8)
    good = [RECORDED, pack(MESSAGE | {"wrist": image}), pack({"state": np.zeros(8, np.float32), "prompt": "push"})]
    refused = 0
    tracemalloc.start()
    for turn in range(2000):
        frame = bytearray(good[turn % len(good)])
        match turn % 4:
            case 0:
                del frame[rng.integers(len(frame)) :]
            case 1:  # most in the beginning, where heads are
                for _ in range(rng.integers(1, 8)):
                    frame[int(len(frame) * rng.random() ** 4)] = rng.integers(256)
            case 2:
                frame[: rng.integers(20)] = rng.bytes(int(rng.integers(20)))
            case _:
                frame = bytearray(rng.bytes(int(rng.integers(1, 300))))
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        try:
            unpack(bytes(frame))
        except InputError:
            refused += 1
        assert tracemalloc.get_traced_memory()[1] - before < 4 * len(frame) + 100_000
    tracemalloc.stop()
    assert refused > 1000


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(frame: bytes) -> None:
    try:
        value = unpack(frame)
    except InputError:
        return
    assert same(unpack(pack(value)), value)
