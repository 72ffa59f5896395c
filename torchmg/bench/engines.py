"""Ways of running a network's forward pass on a CPU, each a name, whether it is there, and a prepared call."""

import copy
import importlib.util
import os
import shutil
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

import torchmg
from torchmg.bench.fold import folded
from torchmg.hierarchy import check_choice
from torchmg.kernels.choice import pinned

Prepared = Callable[[], Any]
"""Runs one forward pass and returns the output, a tensor or an array."""


class Engine(Protocol):
    """A way of running a network."""

    name: str

    def available(self) -> str | None:
        """None when it can be used here, otherwise one sentence that says what to install."""
        ...

    def prepare(self, model: nn.Module, x: Tensor) -> Prepared:
        """A forward pass of `model` over `x` with as many threads as torch has now; everything else is done here.

        Args:
            model: in any mode; left as it is.
            x: (batch, channels, height, width) in float32, on the CPU.
        """
        ...


class Eager:
    """A call of the network in PyTorch, on planes (batch, channels, height, width)."""

    name = "eager"

    def available(self) -> str | None:
        """Always."""
        return None

    def prepare(self, model: nn.Module, x: Tensor) -> Prepared:
        """Evaluation mode, without gradients."""
        return _quietly(copy.deepcopy(model).eval(), x)


class ChannelsLast(Eager):
    """PyTorch with weights and images in channels-last layout."""

    name = "channels_last"

    def prepare(self, model: nn.Module, x: Tensor) -> Prepared:
        """Evaluation mode, without gradients."""
        return _quietly(_last(copy.deepcopy(model).eval()), x.to(memory_format=torch.channels_last))


class Stock(ChannelsLast):
    """Channels last, with torch's own convolutions only: what a network takes without `torchmg.kernels`."""

    name = "stock"

    def prepare(self, model: nn.Module, x: Tensor) -> Prepared:
        """As channels last."""
        call = super().prepare(model, x)

        def pinned_call() -> Any:
            with pinned("aten"):
                return call()

        return pinned_call


class Folded(Eager):
    """Channels last, with batch normalisations folded into convolutions."""

    name = "folded"

    def prepare(self, model: nn.Module, x: Tensor) -> Prepared:
        """Fold what can be folded."""
        return _quietly(_last(folded(model, x)), x.to(memory_format=torch.channels_last))


class Compiled(Eager):
    """`torch.compile` with frozen weights; a minute or more of compilation."""

    name = "compile"

    def available(self) -> str | None:
        """A C++ compiler."""
        wanted = os.environ.get("CXX", "")
        if any(map(shutil.which, (wanted, "g++", "clang++", "c++", "cl"))):
            return None
        return "compile: torch.compile needs a C++ compiler: install g++ or clang++."

    def prepare(self, model: nn.Module, x: Tensor) -> Prepared:
        """Compile for this batch size and number of threads."""
        compiled = torch.compile(copy.deepcopy(model).eval(), dynamic=False, options={"freezing": True})
        run = _quietly(compiled, x, torch.no_grad)  # freezing knows no inference mode
        run()
        return run


class OnnxRuntime:
    """ONNX Runtime on the graph that torch's exporter writes."""

    name = "onnxruntime"

    def available(self) -> str | None:
        """The packages of the export extra."""
        return _missing(self.name, "torchmg[export]", "onnx", "onnxruntime", "onnxscript")

    def prepare(self, model: nn.Module, x: Tensor) -> Prepared:
        """A session for this batch size."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors; its warnings are about speed
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(onnx_bytes(model, x), options, providers=["CPUExecutionProvider"])
        feed = {session.get_inputs()[0].name: x.numpy()}
        return lambda: session.run(None, feed)[0]


class OpenVino:
    """OpenVINO in float32 with one stream, on the same ONNX graph."""

    name = "openvino"

    def available(self) -> str | None:
        """The package openvino, and those that write ONNX."""
        reason = _missing(self.name, "openvino", "openvino")
        return reason or _missing(self.name, "torchmg[export]", "onnx", "onnxscript")

    def prepare(self, model: nn.Module, x: Tensor) -> Prepared:
        """A request for this batch size."""
        import openvino  # pyright: ignore[reportMissingImports]

        options = {
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": "f32",
        }
        core = openvino.Core()
        request = core.compile_model(core.read_model(BytesIO(onnx_bytes(model, x))), "CPU", options)
        request = request.create_infer_request()
        feed = x.numpy()
        return lambda: request.infer({0: feed}, share_inputs=True, share_outputs=True)[0]


class Torchmg:
    """`torchmg.optimize`: folded, planned, and run by our own kernels."""

    name = "torchmg"

    def available(self) -> str | None:
        """Whether this version has it."""
        return None if "optimize" in torchmg.__all__ else "torchmg: this version has no torchmg.optimize yet."

    def prepare(self, model: nn.Module, x: Tensor) -> Prepared:
        """Optimise for images of this size."""
        optimize = vars(torchmg).get("optimize") or torchmg.__getattr__("optimize")
        return _quietly(optimize(model, for_="inference", input=tuple(x.shape[1:])), x)


ENGINES: dict[str, Engine] = {
    engine.name: engine
    for engine in (Stock(), Eager(), ChannelsLast(), Folded(), Compiled(), OnnxRuntime(), OpenVino(), Torchmg())
}
"""By name, in the order of tables."""


def engine(name: str) -> Engine:
    """An engine by name.

    Raises:
        UnknownNameError: no such engine; the message names the nearest.
    """
    check_choice("engine", name, tuple(ENGINES))
    return ENGINES[name]


def versions() -> dict[str, str | None]:
    """Of the packages behind the engines; None for what is not installed."""
    found: dict[str, str | None] = {}
    for package in ("onnxruntime", "openvino", "timm"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


_ONNX: WeakKeyDictionary[nn.Module, dict[tuple[int, ...], bytes]] = WeakKeyDictionary()


def onnx_bytes(model: nn.Module, x: Tensor) -> bytes:
    """The network as ONNX for this very shape; written once for each."""
    written = _ONNX.setdefault(model, {})
    shape = tuple(x.shape)
    if shape not in written:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter, about its own future
            program = torch.onnx.export(copy.deepcopy(model).eval(), (x,), dynamo=True, verbose=False)
        assert program is not None
        written[shape] = program.model_proto.SerializeToString()
    return written[shape]


def _quietly(run: Callable[[Tensor], Any], x: Tensor, mode: Callable[[], Any] = torch.inference_mode) -> Prepared:
    def call() -> Any:
        with mode():
            return run(x)

    return call


def _last(model: nn.Module) -> nn.Module:
    return model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def _missing(engine: str, install: str, *packages: str) -> str | None:
    gone = [package for package in packages if importlib.util.find_spec(package) is None]
    return f"{engine}: {', '.join(gone)} missing; install with: pip install '{install}'." if gone else None
