"""ONNX files, written by torch's exporter and read by onnxruntime on the CPU."""

import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from torchmg.errors import ExportError, MissingExtraError
from torchmg.exporting.formats import Facts, Format
from torchmg.inference.capture import reason

OPSET = 18
"""Version of the operators: the lowest that torch's exporter writes, hence the one that most runtimes know."""


class OnnxFile(Format):
    """`.onnx`: one file with input `input` (batch, ...) and output `output`, weights inside."""

    name = f"ONNX, opset {OPSET}"
    opset = OPSET

    def versions(self) -> dict[str, str]:
        """Of torch, onnx, onnxscript and onnxruntime."""
        try:
            import onnx
            import onnxruntime
            import onnxscript
        except ImportError as error:
            raise MissingExtraError("Writing ONNX and checking it in onnxruntime", "export") from error
        packages = {"torch": torch, "onnx": onnx, "onnxscript": onnxscript, "onnxruntime": onnxruntime}
        return {name: str(package.__version__) for name, package in packages.items()}

    def write(self, program: ExportedProgram, path: Path, facts: Facts) -> None:
        """Convert and save; facts become metadata properties `torchmg.<name>`."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # torch 2.11's exporter uses what torch 2.11 deprecates
                converted = torch.onnx.export(
                    program,
                    opset_version=OPSET,
                    dynamo=True,
                    verbose=False,
                    input_names=["input"],
                    output_names=["output"],
                    dynamic_shapes=({0: Dim("batch")},),
                )
        except Exception as error:
            raise ExportError(f"ONNX cannot hold this model, says torch's exporter: {reason(error)}") from error
        assert converted is not None
        for node in converted.model.graph.all_nodes():
            node.metadata_props.clear()  # names and places of Python code, many times the size of a small network
        converted.model.metadata_props.update({f"torchmg.{name}": text for name, text in facts.items()})
        try:
            converted.save(str(path), external_data=False)
        except ValueError as error:
            raise ExportError(f"ONNX holds at most 2 GiB in one file: {reason(error)}") from error

    def read(self, path: Path, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        """A session of onnxruntime with as many threads as torch has here."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors; its warnings are about speed
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            way_out = "" if dtype is torch.float32 else " Export model.float(), or write a .pt2, which holds any type."
            raise ExportError(
                f"onnxruntime cannot run this model in {_plain(dtype)} on a CPU, so the file cannot be verified: "
                f"{reason(error)}.{way_out}"
            ) from error
        return lambda x: torch.from_numpy(session.run(None, {"input": x.numpy()})[0])


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
