"""`tf.train.Example` without TensorFlow: the message is declared here, in a descriptor pool and package of its own.

(Importing TensorFlow for this one message would cost four seconds and 700 MB. The own pool keeps it from clashing with
TensorFlow's registration when both live in a process.)
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FIELD = descriptor_pb2.FieldDescriptorProto
_LISTS = (("BytesList", _FIELD.TYPE_BYTES), ("FloatList", _FIELD.TYPE_FLOAT), ("Int64List", _FIELD.TYPE_INT64))


def _declare() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="fasttok/example.proto", package="fasttok", syntax="proto3")

    def field(message: Any, name: str, number: int, kind: int, **more: Any) -> None:
        message.field.add(name=name, number=number, type=kind, label=more.pop("label", _FIELD.LABEL_OPTIONAL), **more)

    for name, kind in _LISTS:
        field(file.message_type.add(name=name), "value", 1, kind, label=_FIELD.LABEL_REPEATED)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, ((message, _), name) in enumerate(
        zip(_LISTS, ("bytes_list", "float_list", "int64_list"), strict=True), 1
    ):
        field(feature, name, number, _FIELD.TYPE_MESSAGE, type_name=f".fasttok.{message}", oneof_index=0)
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    field(entry, "key", 1, _FIELD.TYPE_STRING)
    field(entry, "value", 2, _FIELD.TYPE_MESSAGE, type_name=".fasttok.Feature")
    field(
        features,
        "feature",
        1,
        _FIELD.TYPE_MESSAGE,
        type_name=".fasttok.Features.FeatureEntry",
        label=_FIELD.LABEL_REPEATED,
    )
    field(file.message_type.add(name="Example"), "features", 1, _FIELD.TYPE_MESSAGE, type_name=".fasttok.Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("fasttok.Example"))


Example = _declare()
