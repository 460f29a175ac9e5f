"""Checks that a graph only computes. They refuse operations that could reach files, processes or the network.

Both formats are protocol buffers, and the numbers below are their field numbers. A file may repeat a field that should
come once: one reader takes the first, another the last. These checks therefore cover each occurrence.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from service.artifact.protobuf import fields, messages, strings

#: TensorFlow operations that only compute outputs from inputs and weights.
COMPUTES: Final = frozenset(
    """
    Const Identity IdentityN NoOp Placeholder PlaceholderWithDefault StopGradient PreventGradient Snapshot
    VarHandleOp ReadVariableOp ResourceGather DisableCopyOnRead
    PartitionedCall StatefulPartitionedCall If StatelessIf Case StatelessCase While StatelessWhile
    Switch RefSwitch Merge Enter Exit NextIteration LoopCond
    EmptyTensorList TensorListConcatV2 TensorListElementShape TensorListFromTensor TensorListGather TensorListGetItem
    TensorListLength TensorListPopBack TensorListPushBack TensorListReserve TensorListResize TensorListScatter
    TensorListScatterV2 TensorListSetItem TensorListSplit TensorListStack
    Abs Acos Acosh Add AddN AddV2 Asin Asinh Atan Atan2 Atanh Ceil ClipByValue Cos Cosh Cumprod Cumsum Div DivNoNan Elu
    Erf Erfc Exp Expm1 Floor FloorDiv FloorMod Inv LeakyRelu Log Log1p Maximum Minimum Mod Mul MulNoNan Neg
    NextAfter Pow RealDiv Reciprocal Relu Relu6 Rint Round Rsqrt Selu Sigmoid Sign Sin Sinh Softplus Softsign Sqrt
    Square SquaredDifference Sub Tan Tanh TruncateDiv TruncateMod Xdivy Xlog1py Xlogy
    Equal Greater GreaterEqual IsFinite IsInf IsNan Less LessEqual LogicalAnd LogicalNot LogicalOr NotEqual
    Select SelectV2 Where
    All Any ArgMax ArgMin Bincount DenseBincount EuclideanNorm Max Mean Min Prod SegmentMax SegmentMean SegmentMin
    SegmentProd SegmentSum Sum TopKV2 UnsortedSegmentMax UnsortedSegmentMin UnsortedSegmentSum
    BatchMatMul BatchMatMulV2 BatchMatMulV3 BiasAdd Einsum L2Loss LogSoftmax MatMul Softmax _FusedMatMul
    AvgPool AvgPool3D Conv2D Conv3D DepthwiseConv2dNative FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 MaxPool
    MaxPool3D MaxPoolV2 BlockLSTM BlockLSTMV2 GRUBlockCell LSTMBlockCell CudnnRNN CudnnRNNV3
    BatchToSpaceND Bitcast BroadcastArgs BroadcastTo Cast Concat ConcatOffset ConcatV2 DynamicPartition DynamicStitch
    EnsureShape ExpandDims Fill Gather GatherNd GatherV2 InvertPermutation LinSpace MatrixBandPart MatrixDiagV3
    MirrorPad OneHot OnesLike Pack Pad PadV2 Range Rank Reshape Reverse ReverseSequence ReverseV2 Roll ScatterNd
    Shape ShapeN Size Slice SpaceToBatchND Split SplitV Squeeze StridedSlice TensorScatterUpdate Tile
    Transpose Unique UniqueV2 Unpack ZerosLike
    """.split()
)
#: Operations that read and write weights. Every SavedModel holds functions of them, for saving it again. Loading and
#: signatures must not reach them.
SAVES: Final = frozenset(
    "AssignVariableOp MergeV2Checkpoints RestoreV2 SaveV2 ShardedFilename StaticRegexFullMatch StringJoin".split()
)
#: The domains of ONNX's own operators, which only compute. Operators of other domains come from libraries.
ONNX_DOMAINS: Final = frozenset({b"", b"ai.onnx"})
#: ONNX operators whose outputs differ from run to run. A check of one run would say nothing about the next.
ONNX_RANDOM: Final = frozenset(
    "Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike".split()
)
#: ONNX operators that hold graphs. A loop may have any number of steps.
ONNX_CONTROL: Final = frozenset({"If", "Loop", "Scan"})
#: Most characters of a name in an ONNX graph. ONNX Runtime's errors show names, and logs show errors.
LONGEST_NAME: Final = 1000
#: Limit of the nesting of graphs, and of attributes.
DEEPEST: Final = 16


@lru_cache(maxsize=8)  # versions that were trained with the same options have the same graph
def check_saved_model(saved_model: bytes) -> None:
    """Check that a SavedModel, the content of `saved_model.pb`, only computes.

    Raises:
        ValueError: it is not a SavedModel of TensorFlow 2, or it holds an operation that may do more.
    """
    meta_graphs = list(messages(saved_model, 2))
    if len(meta_graphs) != 1:  # TensorFlow loads several as TensorFlow 1 did
        raise ValueError(f"holds {len(meta_graphs)} graphs, expected 1")
    _check_meta_graph(meta_graphs[0])


def check_onnx(model: bytes) -> None:
    """Check that an ONNX model only computes, and holds all its weights.

    Raises:
        ValueError: it is not an ONNX model, it holds functions or an operator of a library, or it keeps weights in
            another file.
    """
    graphs = list(messages(model, 7))
    if len(graphs) != 1:
        raise ValueError(f"holds {len(graphs)} graphs, expected 1")
    if any(number in (20, 25) for number, _ in fields(memoryview(model))):  # training_info and functions
        raise ValueError("holds functions, expected one graph of operators")
    _check_onnx_graph(graphs[0], DEEPEST)


def may_loop(model: bytes) -> bool:
    """Return whether an ONNX model holds graphs in its nodes, so that a run may never end. Other bytes cannot run."""
    try:
        nodes = (node for graph in messages(model, 7) for node in messages(graph, 1))
        return any(operation in ONNX_CONTROL for node in nodes for operation in strings(node, 4))
    except ValueError:
        return False


class _Node(NamedTuple):
    """One node of a TensorFlow graph: the occurrences of its name, operation and attributes."""

    names: list[str]
    operations: list[str]
    attributes: list[memoryview]

    @classmethod
    def of(cls, message: memoryview) -> "_Node":
        parts: dict[int, list[memoryview]] = {1: [], 2: [], 5: []}
        for number, value in fields(message):
            if number in parts and not isinstance(value, int):
                parts[number].append(value)
        names, operations = ([str(part, errors="replace") for part in parts[number]] for number in (1, 2))
        return cls(names, operations, parts[5])


def _check_meta_graph(meta_graph: memoryview) -> None:
    graphs = list(messages(meta_graph, 2))
    main = [_Node.of(node) for graph in graphs for node in messages(graph, 1)]
    functions: dict[str, list[_Node]] = {}
    for function in (one for graph in graphs for library in messages(graph, 2) for one in messages(library, 1)):
        nodes = list(map(_Node.of, messages(function, 3)))
        for name in (name for signature in messages(function, 1) for name in strings(signature, 1)):
            functions.setdefault(name, []).extend(nodes)
    # TensorFlow 2 lists the functions that it calls. A SavedModel without a list is one of TensorFlow 1, which may name
    # any node to run on loading.
    called = [
        name for objects in messages(meta_graph, 7) for entry in messages(objects, 2) for name in strings(entry, 1)
    ]
    if not called:
        raise ValueError("lists no functions: expected a SavedModel of TensorFlow 2")
    savers = {
        name.partition(":")[0]
        for saver in messages(meta_graph, 3)
        for field in (2, 3)
        for name in strings(saver, field)
    }
    # Nodes that a saver names run only when weights are saved or restored.
    runs = [node for node in main if not node.names or not savers.issuperset(node.names)]
    reached = _reachable([*called, *_called_by(runs)], functions)
    for nodes in (runs, *(functions[name] for name in reached)):
        _check_operations(nodes, COMPUTES)
    for nodes in (main, *functions.values()):
        _check_operations(nodes, COMPUTES | SAVES)


def _check_operations(nodes: Iterable[_Node], allowed: Collection[str]) -> None:
    for node in nodes:
        for operation in node.operations:
            if operation not in allowed:
                raise ValueError(f"holds the operation {operation[:80]!r}, which may reach outside the model")


def _reachable(names: Iterable[str], functions: Mapping[str, Iterable[_Node]]) -> set[str]:
    """Return the names of the functions that the functions `names` may call, themselves included."""
    reached: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in functions and name not in reached:
            reached.add(name)
            waiting.extend(_called_by(functions[name]))
    return reached


def _called_by(nodes: Iterable[_Node]) -> Iterator[str]:
    """Yield the names of the functions that nodes call. Operations take them as attributes."""
    for node in nodes:
        yield from _functions_in(node.attributes, DEEPEST)


def _functions_in(attributes: Iterable[memoryview], deepest: int) -> Iterator[str]:
    """Yield the names of the functions in attributes. Functions may have attributes, too."""
    if not deepest:
        raise ValueError(f"has attributes more than {DEEPEST} deep in each other")
    for value in (value for attribute in attributes for value in messages(attribute, 2)):
        listed = (function for several in messages(value, 1) for function in messages(several, 9))
        for function in (*messages(value, 10), *listed):
            yield from strings(function, 1)
            yield from _functions_in(messages(function, 2), deepest - 1)


def _check_onnx_graph(graph: memoryview, deepest: int) -> None:
    if not deepest:
        raise ValueError(f"has graphs more than {DEEPEST} deep in each other")
    for node in messages(graph, 1):
        _check_onnx_node(node, deepest)
    for tensor in messages(graph, 5):
        _check_onnx_tensor(tensor)
    for sparse in messages(graph, 15):
        _check_sparse_onnx_tensor(sparse)


def _check_onnx_node(node: memoryview, deepest: int) -> None:
    for domain in messages(node, 7):
        if bytes(domain) not in ONNX_DOMAINS:
            name = bytes(domain[:80]).decode(errors="replace")
            raise ValueError(f"holds an operator of the library {name!r}, which may reach outside the model")
    for name in (name for field in (1, 2, 3) for name in strings(node, field)):
        if not name.isprintable() or len(name) > LONGEST_NAME:
            raise ValueError(f"holds the name {name[:80]!r}, expected at most {LONGEST_NAME} printable characters")
    for operation in strings(node, 4):
        if operation in ONNX_RANDOM:
            raise ValueError(f"holds the operation {operation!r}, whose outputs differ from run to run")
    for attribute in messages(node, 5):
        for tensor in (*messages(attribute, 5), *messages(attribute, 10)):
            _check_onnx_tensor(tensor)
        for sparse in (*messages(attribute, 22), *messages(attribute, 23)):
            _check_sparse_onnx_tensor(sparse)
        for graph in (*messages(attribute, 6), *messages(attribute, 11)):
            _check_onnx_graph(graph, deepest - 1)


def _check_sparse_onnx_tensor(sparse: memoryview) -> None:
    for part in (1, 2):  # values and indices
        for tensor in messages(sparse, part):
            _check_onnx_tensor(tensor)


def _check_onnx_tensor(tensor: memoryview) -> None:
    # external_data and data_location, which is 0 if the model holds the data
    if any(number == 13 or (number == 14 and value) for number, value in fields(tensor)):
        raise ValueError("keeps weights in another file, which may be any")
